"""Options and helpers that commands share."""

import io
import signal
import sys
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Callable,
    Iterator,
    List,
    Optional,
    Sequence,
)

import typer
from wasabi import msg

from ..text.files import find_files

if TYPE_CHECKING:
    from spacy.language import Language

    from ..bilm import BiLM
    from ..resumable_output import Parts
    from ..text.tokenization import Tokenization
    from ..text.tokenizers import Tokenizer

TEXT_HELP = (
    "Plain text or JSON lines, compressed or not (.gz, .xz, .bz2, .zst): a file, a "
    "folder, or a quoted glob"
)
WEIGHTS_HELP = (
    "Weights in any supported format: a folder, an NLPL archive, or "
    "OPTIONS.json,WEIGHTS.hdf5"
)


class Precision(str, Enum):
    float32 = "float32"
    bfloat16 = "bfloat16"
    int8 = "int8"
    auto = "auto"
    fastest = "fastest"


ModelOption = Annotated[
    Optional[str],
    typer.Option(
        "--model",
        "-m",
        metavar="WEIGHTS",
        help=f"{WEIGHTS_HELP}. Default: the English weights that ship with spacy-elmo",
    ),
]
TokenizerOption = Annotated[
    Optional[str],
    typer.Option(
        "--tokenizer",
        help="whitespace, a language code, or a spaCy pipeline. Default: the tokenizer "
        "of the training text if the weights store it, else whitespace",
    ),
]
SentencesOption = Annotated[
    Optional[str],
    typer.Option(
        "--sentences",
        help="lines (one sentence per line) or split (lines are paragraphs). Default: "
        "as in the training text",
    ),
]
TextFieldOption = Annotated[
    str, typer.Option("--text-field", help="Key of the text in JSON lines")
]
LAYER_HELP = "top, mean, or a layer's number, 0 being the context-free word vectors"
PrecisionOption = Annotated[
    Precision, typer.Option("--precision", "-p", help="Precision of matrix products")
]
BatchTokensOption = Annotated[
    int, typer.Option("--batch-tokens", "-b", help="Maximum tokens per batch")
]
GPUOption = Annotated[int, typer.Option("--gpu-id", "-g", help="GPU ID or -1 for CPU")]
ForceOption = Annotated[
    bool, typer.Option("--force", "-F", help="Overwrite existing output")
]


@contextmanager
def command() -> Iterator[None]:
    """Run the body of a command. Invalid input ends it with a message and status 1
    instead of a traceback. Characters that the terminal cannot show become "?"."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        yield
    except (ImportError, OSError, ValueError) as error:
        # wasabi would join the lines of a multi-line message.
        typer.echo(f"\u2718 {error}", err=True)
        raise typer.Exit(1) from error


@contextmanager
def resumable(parts: "Parts[Any]") -> Iterator[None]:
    """Say where a run resumes, and after Ctrl-C, how to resume it. Ctrl-C ends the
    command with status 130."""
    if parts.n_items:
        msg.info(f"Resuming after {parts.n_items:,} sentences")
    try:
        yield
    except KeyboardInterrupt as error:
        typer.echo(
            f"\u2718 Stopped after {parts.n_items:,} sentences. Run the same command "
            "again to resume.",
            err=True,
        )
        raise typer.Exit(128 + signal.SIGINT) from error


def split_pair(argument: str) -> List[str]:
    """Split "options.json,weights.hdf5" into its two paths. Any other path is returned
    as it is, in a list.

    RAISES: ValueError if there is more than one comma, or an empty path.
    """
    parts = argument.split(",")
    if len(parts) > 2 or not all(parts):
        raise ValueError(
            f"{argument}: expected a path, or two paths separated by a comma "
            f"(options.json,weights.hdf5), found {len(parts)}."
        )
    return parts


def weights_paths(model: Optional[str]) -> List[str]:
    """The paths to pass to `load_bilm`.

    model (Optional[str]): The --model option, or None for the weights that ship.
    RAISES: WeightsError if none ship with this version.
    """
    from ..formats.bundled import bundled_folder

    return [str(bundled_folder())] if model is None else split_pair(model)


def choose_tokenization(
    paths: List[str],
    tokenizer: Optional[str],
    sentences: Optional[str],
    text_field: str = "text",
) -> "Tokenization":
    """Fill in --tokenizer and --sentences from what is stored with the weights."""
    from ..text.tokenization import Tokenization, read_tokenization

    default = read_tokenization(paths[0]) or Tokenization()
    if tokenizer == "whitespace" and sentences is None:
        sentences = "lines"  # a default of "split" belonged to another tokenizer
    return Tokenization(
        tokenizer or default.tokenizer,
        sentences or default.sentences,
        text_field=text_field,
    )


def load_model(paths: List[str], gpu_id: int) -> "BiLM":
    """Load a biLM onto its device. RAISES: ValueError if there is no such GPU."""
    from ..bilm.device import select_device
    from ..formats import load_bilm

    return load_bilm(*paths).to(select_device(gpu_id))


def load_pipeline(model: str) -> "Optional[Language]":
    """Load a spaCy pipeline: a folder or the name of a package.

    RETURNS (Optional[Language]): The pipeline; None if the argument names none.
    RAISES: ValueError if a package it needs is not installed, or if the package of this
        name is not a pipeline.
    """
    from spacy import util

    from ..text.tokenizers import is_unrelated_package

    path = Path(model)
    is_folder = all((path / name).is_file() for name in ("meta.json", "config.cfg"))
    if not is_folder and (path.exists() or not util.is_package(model)):
        return None
    if not is_folder and is_unrelated_package(model):
        raise ValueError(
            f"{model}: expected weights, or a spaCy pipeline (a folder or a package), "
            "found an installed package that is not a pipeline. Give another path or "
            "package."
        )
    try:
        # If this were a string, a package of the same name would win over the folder.
        return util.load_model(path if is_folder else model)
    except ImportError as error:
        raise ValueError(
            f"{model}: expected a pipeline whose packages are installed, found one "
            f"that needs a missing package: {error}"
        ) from error


@contextmanager
def progress_bar(unit: str = "B") -> Iterator[Callable[..., None]]:
    """Show a progress bar on a terminal.

    YIELDS (Callable): To be called with the number of units since the last call, and
        the total, if it is known.
    """
    from tqdm import tqdm  # type: ignore[import-untyped]

    is_shown = sys.stderr.isatty()
    with tqdm(
        unit=unit, unit_scale=unit == "B", disable=not is_shown, leave=False
    ) as bar:

        def progress(n: int, total: Optional[int] = None) -> None:
            bar.total = total
            bar.update(n)

        yield progress


def check_not_input(output: Optional[Path], text: Sequence[str]) -> None:
    """RAISES: ValueError if an output is one of the input files, which it would
    replace."""
    if output is None or not output.exists():
        return
    if output.resolve() in {path.resolve() for path in find_files(text)}:
        raise ValueError(
            f"{output}: expected an output that is not one of the input files, found "
            "one of them. Choose another name, outside the folder of the input."
        )


@contextmanager
def read_text(
    text: List[str],
    tokenization: "Tokenization",
    tokenize: Optional["Tokenizer"] = None,
) -> Iterator[Iterator[List[str]]]:
    """Stream the sentences of text files, with a progress bar on a terminal.

    tokenize (Optional[Tokenizer]): The tokenizer, if it is loaded already.
    """
    with progress_bar() as progress:
        yield tokenization.read_sentences(text, progress, tokenize)
