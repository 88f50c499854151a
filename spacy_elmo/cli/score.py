"""python -m spacy elmo score."""

from pathlib import Path
from typing import Annotated, Optional

import typer
from wasabi import msg

from ._input import Input, InputArgument
from ._util import (
    BatchTokensOption,
    ForceOption,
    GPUOption,
    Precision,
    PrecisionOption,
    SentencesOption,
    TextFieldOption,
    TokenizerOption,
    check_not_input,
    command,
    progress_bar,
    resumable,
    weights_paths,
)


def score_cli(
    text: InputArgument,
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
    from ..bilm.device import select_device
    from ..formats.output_layer import hash_model
    from ..resumable_output import open_parts
    from ..scoring.score_file import select_format, write_scores
    from ..scoring.scorer import Scorer
    from ..text.documents import identify
    from ..text.tokenization import weights_folder

    with command():
        select_format(output)
        paths = weights_paths(model)
        source = Input(text, paths, tokenizer, sentences, text_field)
        check_not_input(output, [text])
        scorer = Scorer.load(",".join(paths)).to(select_device(gpu_id))
        settings = {
            "weights": hash_model(weights_folder(paths[0])),
            "tokenizer": source.tokenizer,
            "bits": bits,
            "precision": precision.value,
        }
        with (
            open_parts(output, settings, identify, force=force) as parts,
            progress_bar(source.unit) as progress,
            resumable(parts),
        ):
            n_sentences = write_scores(
                output,
                parts,
                scorer,
                source.read(progress),
                bits=bits,
                batch_tokens=batch_tokens,
                precision=precision.value,
            )
        msg.good(f"{n_sentences:,} sentences", str(output))
