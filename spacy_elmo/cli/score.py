"""python -m spacy elmo score."""

from pathlib import Path
from typing import Annotated, Optional

import typer
from wasabi import msg

from ._docs import read_docs
from ._util import (
    TEXT_HELP,
    BatchTokensOption,
    ForceOption,
    GPUOption,
    Precision,
    PrecisionOption,
    SentencesOption,
    TextFieldOption,
    TokenizerOption,
    choose_tokenization,
    command,
    progress_bar,
    weights_paths,
)

MAX_WORDS = 1024
"""Maximum length of a sentence of a text. Longer ones are text whose boundaries were
missed, and are split, which bounds memory."""


def score_cli(
    text: Annotated[
        str,
        typer.Argument(metavar="IN", help=f"{TEXT_HELP}. Or docs: a .spacy file"),
    ],
    output: Annotated[
        Path,
        typer.Argument(metavar="OUT", help="Output file (.csv, .jsonl or .parquet)"),
    ],
    model: Annotated[
        Optional[str],
        typer.Option(
            "--model",
            "-m",
            metavar="MODEL",
            help="model-best or model-last of a training. Default: the English weights "
            "that ship with spacy-elmo",
        ),
    ] = None,
    bits: Annotated[
        bool, typer.Option("--bits", help="Write bits instead of nats")
    ] = False,
    tokenizer: TokenizerOption = None,
    sentences: SentencesOption = None,
    text_field: TextFieldOption = "text",
    precision: PrecisionOption = Precision.float32,
    batch_tokens: BatchTokensOption = 4096,
    gpu_id: GPUOption = -1,
    force: ForceOption = False,
) -> None:
    """
    Write the log-probabilities of all words of a text.

    One row per word: document, sentence, index in the document, text, log-probability
    given the words before it (forward) and after it (backward), entropies of the two
    distributions, and whether the vocabulary has the word. Natural logarithms.

    If the command is interrupted, run it again to resume.
    """
    from ..formats.output_layer import hash_model
    from ..parts import open_parts
    from ..pretraining.distributed import Group
    from ..scoring.score_file import identify, select_format, write_scores
    from ..scoring.scorer import Scorer
    from ..text.documents import read_documents
    from ..text.tokenization import weights_folder

    with command():
        select_format(output)
        paths = weights_paths(model)
        is_docbin = Path(text).suffix == ".spacy"
        if is_docbin and (tokenizer or sentences):
            raise ValueError(
                f"{text}: expected no --tokenizer and no --sentences, because docs are "
                "tokenized already. Remove them."
            )
        tokenization = choose_tokenization(paths, tokenizer, sentences, text_field)
        scorer = Scorer.load(",".join(paths)).to(Group.join(gpu_id).device)
        settings = {
            "weights": hash_model(weights_folder(paths[0])),
            "tokenizer": None if is_docbin else tokenization.tokenizer,
            "bits": bits,
            "precision": precision.value,
        }
        with (
            open_parts(output, settings, identify, force=force) as parts,
            progress_bar("docs" if is_docbin else "B") as progress,
        ):
            if parts.n_items:
                msg.info(f"Resuming after {parts.n_items:,} sentences")
            stream = (
                read_docs(Path(text), progress)
                if is_docbin
                else read_documents(
                    tokenization, [text], max_words=MAX_WORDS, progress=progress
                )
            )
            n_sentences = write_scores(
                output,
                parts,
                scorer,
                stream,
                bits=bits,
                batch_tokens=batch_tokens,
                precision=precision.value,
            )
        msg.good(f"{n_sentences:,} sentences", str(output))
