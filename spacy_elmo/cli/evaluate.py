"""python -m spacy elmo evaluate: the perplexity of any text."""

import sys
import tempfile
from pathlib import Path
from typing import Annotated, List, Optional

import typer
from wasabi import msg

from ._util import errors_as_messages


def evaluate_cli(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL", help="model-best or model-last, as pretraining wrote it"
        ),
    ],
    text: Annotated[
        List[str],
        typer.Argument(
            metavar="TEXT",
            help="Files, folders or globs (.txt, .jsonl, compressed)",
        ),
    ],
    tokenizer: Annotated[
        Optional[str],
        typer.Option(
            "--tokenizer",
            help="whitespace, a language code or a spaCy pipeline; by default that of "
            "the training text",
        ),
    ] = None,
    sentences: Annotated[
        Optional[str],
        typer.Option(
            "--sentences", help="lines or split; by default as in the training text"
        ),
    ] = None,
    output: Annotated[
        Optional[Path], typer.Option("--output", "-o", help="Write the figures as JSON")
    ] = None,
    n_process: Annotated[int, typer.Option("--n-process", "-n")] = 1,
    gpu_id: Annotated[int, typer.Option("--gpu-id", "-g")] = -1,
) -> None:
    """
    Print the forward, backward and mean perplexity of a text, by the full softmax, and
    how many of its words the vocabulary does not know.
    """
    from ..files import write_json
    from ..pretraining.data.corpus import load_text
    from ..pretraining.distributed import Group
    from ..pretraining.evaluation import evaluate
    from ..pretraining.output.model_folder import read_model
    from ..pretraining.settings import CorpusSettings

    with errors_as_messages(), tempfile.TemporaryDirectory() as cache:
        found = read_model(model)
        group = Group.join(gpu_id)
        settings = CorpusSettings.from_dict(
            {
                "train": text,
                "tokenizer": tokenizer or found.meta["tokenizer"],
                "sentences": sentences or found.meta["sentences"],
                "n_process": n_process,
            }
        )
        shown = sys.stderr.isatty()
        held_out = load_text(
            text,
            settings,
            Path(cache),
            found.model.bilm.characters,
            name="text",
            show=shown,
        )
        result = evaluate(
            found.model.to(group.device),
            held_out.shards,
            held_out.table,
            found.vocabulary,
            group=group,
        )
        del held_out  # its files are to be removed
        figures = {**result.to_json(), "n_vocabulary": len(found.vocabulary)}
        if output is not None:
            write_json(output, figures)
    msg.divider(f"{model}")
    msg.table(
        [
            ("forward perplexity", f"{result.forward:,.2f}"),
            ("backward perplexity", f"{result.backward:,.2f}"),
            ("mean perplexity", f"{result.mean:,.2f}"),
            ("words", f"{result.n_words:,}"),
            ("vocabulary", f"{len(found.vocabulary):,} words"),
            ("out of vocabulary", f"{result.oov_rate:.2%} of the words"),
        ]
    )
