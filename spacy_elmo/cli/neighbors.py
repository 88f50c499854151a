"""python -m spacy elmo neighbors."""

import sys
from enum import Enum
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Dict, List, Optional

import typer
from wasabi import color, msg
from wasabi.util import supports_ansi

from ._util import (
    LAYER_HELP,
    TEXT_HELP,
    BatchTokensOption,
    GPUOption,
    ModelOption,
    Precision,
    PrecisionOption,
    SentencesOption,
    TextFieldOption,
    TokenizerOption,
    check_not_input,
    choose_tokenization,
    command,
    load_model,
    read_text,
    weights_paths,
)

if TYPE_CHECKING:
    from ..bilm import BiLM
    from ..embedding.neighbors import Neighbors, Occurrence, Occurrences
    from ..text.tokenization import Tokenization

CONTEXT = 8
"""Number of words shown on each side."""
_MAX_COLUMN = 100
"""Maximum width of a table column, in characters."""


class Among(str, Enum):
    all = "all"
    same = "same"
    other = "other"


def neighbors_cli(
    word: Annotated[
        str, typer.Argument(metavar="WORD", help="The word; its case is ignored")
    ],
    text: Annotated[List[str], typer.Argument(metavar="TEXT", help=TEXT_HELP)],
    at: Annotated[
        Optional[str],
        typer.Option("--at", "-a", help="A sentence that contains the word"),
    ] = None,
    number: Annotated[
        Optional[int],
        typer.Option(
            "--sentence", "-s", help="Number of a sentence of the text, instead of --at"
        ),
    ] = None,
    nth: Annotated[
        int, typer.Option("--nth", help="Which occurrence of the word in the sentence")
    ] = 1,
    n: Annotated[int, typer.Option("--n", "-n", help="Number of neighbors")] = 10,
    layer: Annotated[str, typer.Option("--layer", "-l", help=LAYER_HELP)] = "top",
    among: Annotated[
        Among,
        typer.Option(
            "--words",
            "-w",
            help="Words to compare with: all, the same word in other sentences, or "
            "other words",
        ),
    ] = Among.all,
    model: ModelOption = None,
    tokenizer: TokenizerOption = None,
    sentences: SentencesOption = None,
    text_field: TextFieldOption = "text",
    precision: PrecisionOption = Precision.float32,
    batch_tokens: BatchTokensOption = 4096,
    gpu_id: GPUOption = -1,
    output: Annotated[
        Optional[Path],
        typer.Option("--output", "-o", "--json", "-j", help="Output JSON file"),
    ] = None,
) -> None:
    """
    Find the nearest neighbors of a word in context.

    Compares the word, in its sentence, with the words of a text in theirs, by the
    cosine similarity of a layer's vectors (Peters et al. 2018, table 4).

    Without --at or --sentence, list the sentences of the text that contain the word,
    with their numbers, starting from 0.
    """
    from ..files import write_json

    with command():
        if n < 1:
            raise ValueError(f"--n: expected a positive number, found {n}.")
        check_not_input(output, text)
        paths = weights_paths(model)
        tokenization = choose_tokenization(paths, tokenizer, sentences, text_field)
        figures: Dict[str, Any] = {"word": word, **tokenization.to_json()}
        if at is None and number is None:
            figures.update(_list_occurrences(word, text, tokenization, n))
        else:
            query = _find_query(word, text, tokenization, at, number, nth)
            bilm = load_model(paths, gpu_id)
            settings = {
                "n": n,
                "layer": layer,
                "among": among.value,
                "batch_tokens": batch_tokens,
                "precision": precision.value,
            }
            figures["model"] = ",".join(paths)
            figures.update(_find_neighbors(bilm, query, text, tokenization, settings))
        if output is not None:
            write_json(output, figures)


def _list_occurrences(
    word: str, text: List[str], tokenization: "Tokenization", n: int
) -> Dict[str, Any]:
    """Print the first sentences with the word, and return the figures."""
    from ..embedding.neighbors import list_occurrences

    with read_text(text, tokenization) as stream:
        listed = list_occurrences(word, stream, n)
    if not listed.first:
        raise ValueError(
            f"{word!r}: expected a word of the text, found it in none of the "
            f"{listed.n_sentences:,} sentences ({tokenization.describe()}). Give a "
            "word as the tokenizer splits it."
        )
    _print_occurrences(word, listed)
    return {
        "n_occurrences": listed.n_occurrences,
        "occurrences": [found.to_json() for found in listed.first],
    }


def _find_neighbors(
    bilm: "BiLM",
    query: "Occurrence",
    text: List[str],
    tokenization: "Tokenization",
    settings: Dict[str, Any],
) -> Dict[str, Any]:
    """Print the nearest words, and return the figures."""
    from ..embedding.neighbors import find_neighbors

    with read_text(text, tokenization) as stream:
        result = find_neighbors(bilm, query, stream, **settings)
    _print_neighbors(query, result, settings["layer"], tokenization)
    return {
        "layer": settings["layer"],
        "among": settings["among"],
        "query": query.to_json(),
        "n_sentences": result.n_sentences,
        "n_compared": result.n_compared,
        "neighbors": [
            {"cosine": cosine, **occurrence.to_json()}
            for cosine, occurrence in result.nearest
        ],
    }


def _find_query(
    word: str,
    text: List[str],
    tokenization: "Tokenization",
    at: Optional[str],
    number: Optional[int],
    nth: int,
) -> "Occurrence":
    """The occurrence that --at or --sentence, and --nth, select."""
    from ..embedding.neighbors import occurrences

    if at is not None and number is not None:
        raise ValueError("Expected --at or --sentence, found both. Remove one of them.")
    if at is not None:
        sentences = tokenization.split_text(at)
        option, shown = "--at", repr(at)
    else:
        with read_text(text, tokenization) as stream:
            start = -1 if number is None else number
            sentences = list(islice(stream, start, start + 1)) if start >= 0 else []
        if not sentences:
            raise ValueError(
                "--sentence: expected the number of a sentence of the text, starting "
                f"from 0, found {number}. Omit --sentence to list the numbers."
            )
        option, shown = f"--sentence {number}", repr(" ".join(sentences[0]))
    found = [o for words in sentences for o in occurrences(word, words, number)]
    if not 1 <= nth <= len(found):
        raise ValueError(
            f"{option}: expected a sentence with at least {nth} occurrences of {word!r}"
            f" (--nth), found {len(found)} in {shown} ({tokenization.describe()})."
        )
    return found[nth - 1]


def _print_occurrences(word: str, listed: "Occurrences") -> None:
    msg.table(
        [(occurrence.sentence, _mark(occurrence)) for occurrence in listed.first],
        header=("sentence", f"{word} ({listed.n_occurrences:,} times)"),
        divider=True,
        aligns=("r", "l"),
        max_col=_MAX_COLUMN,
    )
    msg.info("To find neighbors, add --sentence NUMBER or --at 'SENTENCE'")


def _print_neighbors(
    query: "Occurrence", result: "Neighbors", layer: str, tokenization: "Tokenization"
) -> None:
    msg.divider(
        f"Layer {layer}, {result.n_compared:,} words ({tokenization.describe()})"
    )
    if not result.nearest:
        msg.warn("The text has no other occurrence to compare with")
        return
    msg.table(
        [
            (f"{cosine:.3f}", occurrence.sentence, _mark(occurrence))
            for cosine, occurrence in result.nearest
        ],
        header=("cosine", "sentence", _mark(query)),
        divider=True,
        aligns=("r", "r", "l"),
        max_col=_MAX_COLUMN,
    )


def _mark(occurrence: "Occurrence") -> str:
    """The word in brackets, with some of its context."""
    from ..visual.sentences import Context

    before, word, after = Context.of(occurrence, CONTEXT)
    marked = f"[{word}]"
    if sys.stdout.isatty() and supports_ansi():
        marked = color(marked, fg="green", bold=True)
    return " ".join(filter(None, (before, marked, after)))
