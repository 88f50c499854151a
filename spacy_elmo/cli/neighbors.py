"""python -m spacy elmo neighbors: a word in its sentence, and what is nearest to it."""

import sys
from enum import Enum
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Dict, Iterable, List, Optional, Tuple

import typer
from wasabi import color, msg
from wasabi.util import supports_ansi

from ._text import (
    BatchTokensOption,
    GPUOption,
    ModelOption,
    Precision,
    PrecisionOption,
    SentencesOption,
    TokenizerOption,
    load_model,
    reading,
    tokenization,
    weights_paths,
)
from ._util import errors_as_messages

if TYPE_CHECKING:
    from ..embedding.neighbors import Neighbors, Occurrence
    from ..text.tokenization import Tokenization

CONTEXT = 8
"""Words shown at each side."""
_WIDEST = 100
"""Letters of a column's line."""


class Among(str, Enum):
    all = "all"
    same = "same"
    other = "other"


def neighbors_cli(
    word: Annotated[str, typer.Argument(metavar="WORD", help="In upper or lower case")],
    text: Annotated[
        List[str],
        typer.Argument(
            metavar="TEXT", help="Files, folders or globs (.txt, .jsonl, compressed)"
        ),
    ],
    at: Annotated[
        Optional[str],
        typer.Option("--at", "-a", help="A sentence of yours with the word"),
    ] = None,
    number: Annotated[
        Optional[int],
        typer.Option("--sentence", "-s", help="Or the text's sentence of this number"),
    ] = None,
    nth: Annotated[
        int, typer.Option("--nth", help="Which one, if the word is there several times")
    ] = 1,
    n: Annotated[int, typer.Option("--n", "-n", help="Neighbors to show")] = 10,
    layer: Annotated[
        str,
        typer.Option(
            "--layer",
            "-l",
            help="top, mean, or one by its number, 0 for the words by themselves",
        ),
    ] = "top",
    among: Annotated[
        Among,
        typer.Option(
            "--words", "-w", help="Neighbors: all words, the same word, other words"
        ),
    ] = Among.all,
    model: ModelOption = None,
    tokenizer: TokenizerOption = None,
    sentences: SentencesOption = None,
    precision: PrecisionOption = Precision.float32,
    batch_tokens: BatchTokensOption = 4096,
    gpu_id: GPUOption = -1,
    output: Annotated[
        Optional[Path], typer.Option("--json", "-j", help="Write them as JSON too")
    ] = None,
) -> None:
    """
    Print the words of a text that are nearest, in their sentences, to a word in its
    sentence, by the cosine of a layer (Peters et al. 2018, table 4).

    Without --at and --sentence: the sentences of the text that have the word, with
    their numbers, which count from 0.
    """
    from ..embedding.neighbors import find_neighbors
    from ..files import write_json

    with errors_as_messages():
        if n < 1:
            raise ValueError(f"--n: expected a whole number from 1, found {n}.")
        paths = weights_paths(model)
        how = tokenization(paths, tokenizer, sentences)
        figures: Dict[str, Any] = {"word": word, **how.to_json()}
        if at is None and number is None:
            found, n_found = _list(word, text, how, n)
            figures["n_occurrences"] = n_found
            figures["occurrences"] = [occurrence.to_json() for occurrence in found]
            _print_list(word, found, n_found)
        else:
            query = _query(word, text, how, at, number, nth)
            bilm = load_model(paths, gpu_id)
            with reading(text, how) as stream:
                result = find_neighbors(
                    bilm,
                    query,
                    stream,
                    n=n,
                    layer=layer,
                    among=among.value,
                    batch_tokens=batch_tokens,
                    precision=precision.value,
                )
            figures.update(
                model=",".join(paths),
                layer=layer,
                among=among.value,
                query=query.to_json(),
                n_sentences=result.n_sentences,
                n_compared=result.n_compared,
                neighbors=[
                    {"cosine": cosine, **occurrence.to_json()}
                    for cosine, occurrence in result.nearest
                ],
            )
            _print_neighbors(query, result, layer, how)
        if output is not None:
            write_json(output, figures)


def _list(
    word: str, text: List[str], how: "Tokenization", n: int
) -> Tuple[List["Occurrence"], int]:
    """The first n occurrences, and how many there are."""
    from ..embedding.neighbors import occurrences

    found: List[Occurrence] = []
    n_found = n_sentences = 0
    with reading(text, how) as stream:
        for number, words in enumerate(stream):
            n_sentences += 1
            for occurrence in occurrences(word, words, number):
                n_found += 1
                if len(found) < n:
                    found.append(occurrence)
    if not found:
        raise ValueError(
            f"{word!r}: expected a word of the text, found it in none of its "
            f"{n_sentences:,} sentences (tokenizer: {how.tokenizer}, sentences: "
            f"{how.sentences}). Name a word as the tokenizer cuts it."
        )
    return found, n_found


def _query(
    word: str,
    text: List[str],
    how: "Tokenization",
    at: Optional[str],
    number: Optional[int],
    nth: int,
) -> "Occurrence":
    """The occurrence that the options name."""
    from ..embedding.neighbors import occurrences

    if at is not None and number is not None:
        raise ValueError("Expected --at or --sentence, found both. Leave one out.")
    if at is not None:
        found = [o for words in how.split_text(at) for o in occurrences(word, words)]
        where, shown = "--at", repr(at)
    else:
        words = _sentence(text, how, number or 0)
        found = list(occurrences(word, words, number))
        where, shown = f"--sentence {number}", repr(" ".join(words))
    if not 1 <= nth <= len(found):
        raise ValueError(
            f"{where}: expected a sentence with the word {word!r}, its occurrence "
            f"number {nth} (--nth), found {len(found)} of them in {shown} (tokenizer: "
            f"{how.tokenizer})."
        )
    return found[nth - 1]


def _sentence(text: List[str], how: "Tokenization", number: int) -> List[str]:
    with reading(text, how) as stream:
        if number >= 0:
            for words in islice(stream, number, None):
                return words
    raise ValueError(
        f"--sentence: expected the number, from 0, of a sentence of the text, found "
        f"{number}. Without --sentence the numbers are shown."
    )


def _print_list(word: str, found: Iterable["Occurrence"], n_found: int) -> None:
    msg.table(
        [(occurrence.sentence, _marked(occurrence)) for occurrence in found],
        header=("sentence", f"{word} ({n_found:,} times)"),
        divider=True,
        aligns=("r", "l"),
        max_col=_WIDEST,
    )
    msg.info("For the neighbors of one: --sentence NUMBER, or --at 'a sentence'")


def _print_neighbors(
    query: "Occurrence", result: "Neighbors", layer: str, how: "Tokenization"
) -> None:
    rows = [
        (f"{cosine:.3f}", occurrence.sentence, _marked(occurrence))
        for cosine, occurrence in result.nearest
    ]
    msg.divider(
        f"Layer {layer}, {result.n_compared:,} words (tokenizer: {how.tokenizer})"
    )
    if not rows:
        msg.warn("The text has no other occurrence to compare with")
        return
    msg.table(
        rows,
        header=("cosine", "sentence", _marked(query)),
        divider=True,
        aligns=("r", "r", "l"),
        max_col=_WIDEST,
    )


def _marked(occurrence: "Occurrence") -> str:
    """The word between brackets, with some words to each side."""
    words, place = occurrence.words, occurrence.position
    before = list(words[max(0, place - CONTEXT) : place])
    after = list(words[place + 1 : place + 1 + CONTEXT])
    if place > CONTEXT:
        before.insert(0, "\u2026")
    if place + 1 + CONTEXT < len(words):
        after.append("\u2026")
    marked = f"[{occurrence.word}]"
    if sys.stdout.isatty() and supports_ansi():
        marked = color(marked, fg="green", bold=True)
    return " ".join([*before, marked, *after])
