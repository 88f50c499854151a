"""What the commands share that run a biLM over text files."""

import sys
from contextlib import contextmanager
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Iterator, List, Optional

import typer

from ._util import split_pair

if TYPE_CHECKING:
    from ..bilm import BiLM
    from ..text.tokenization import Tokenization


class Precision(str, Enum):
    float32 = "float32"
    bfloat16 = "bfloat16"
    auto = "auto"


ModelOption = Annotated[
    Optional[str],
    typer.Option(
        "--model",
        "-m",
        metavar="WEIGHTS",
        help="Weights of any known format: a folder, an NLPL zip, or "
        "OPTIONS.json,WEIGHTS.hdf5; by default those that ship",
    ),
]
TokenizerOption = Annotated[
    Optional[str],
    typer.Option(
        "--tokenizer",
        help="whitespace, a language code or a spaCy pipeline; by default that of the "
        "weights' training text, or whitespace where they do not tell",
    ),
]
SentencesOption = Annotated[
    Optional[str],
    typer.Option(
        "--sentences",
        help="lines (each is a sentence) or split (paragraphs); by default as in the "
        "training text",
    ),
]
PrecisionOption = Annotated[
    Precision, typer.Option("--precision", "-p", help="Of the network's arithmetic")
]
BatchTokensOption = Annotated[
    int, typer.Option("--batch-tokens", "-b", help="Words in work at once")
]
GPUOption = Annotated[int, typer.Option("--gpu-id", "-g", help="GPU; -1: the CPU")]


def weights_paths(model: Optional[str]) -> List[str]:
    """What `load_bilm` takes.

    model: None: the weights that ship.

    Raises WeightsError where this version ships none.
    """
    from ..formats import WeightsError
    from ..layers.weights import BUNDLED

    if model is not None:
        return split_pair(model)
    if not BUNDLED.is_dir():
        raise WeightsError(
            f"{BUNDLED}: expected the weights that ship with spacy-elmo, found no such "
            "folder: this version ships none. Name your own: --model WEIGHTS."
        )
    return [str(BUNDLED)]


def tokenization(
    paths: List[str], tokenizer: Optional[str], sentences: Optional[str]
) -> "Tokenization":
    """What the options say and, where they do not, how the weights' training text was
    tokenised.

    paths: of the weights.
    """
    from ..text.tokenization import Tokenization

    default = known_tokenization(paths) or Tokenization()
    if tokenizer == "whitespace" and sentences is None:
        sentences = "lines"  # a training text that was split had another tokenizer
    return Tokenization(tokenizer or default.tokenizer, sentences or default.sentences)


def known_tokenization(paths: List[str]) -> Optional["Tokenization"]:
    """That of the weights' training text, however their path is spelled; None where
    nothing tells it.

    paths: of the weights.

    Raises ValueError for a damaged file.
    """
    from ..layers.weights import BUNDLED
    from ..text.tokenization import Tokenization, read_tokenization, weights_folder

    known = read_tokenization(paths[0])
    if known is None and weights_folder(paths[0]).resolve() == BUNDLED.resolve():
        return Tokenization("en")  # what ships is English, read by spaCy's rules
    return known


def load_model(paths: List[str], gpu_id: int) -> "BiLM":
    """The biLM on its device. Raises ValueError for a GPU that is not there."""
    from ..formats import load_bilm
    from ..pretraining.distributed import Group

    return load_bilm(*paths).to(Group.join(gpu_id).device)


@contextmanager
def reading(text: List[str], how: "Tokenization") -> Iterator[Iterator[List[str]]]:
    """The sentences of text files, with a progress bar in a terminal."""
    from tqdm import tqdm  # type: ignore[import-untyped]

    shown = sys.stderr.isatty()
    with tqdm(unit="B", unit_scale=True, disable=not shown, leave=False) as bar:

        def progress(n_bytes: int, total: int) -> None:
            bar.total = total
            bar.update(n_bytes)

        yield how.read_sentences(text, progress)
