"""Convert a WNUT-17 file to spaCy's binary format."""

from pathlib import Path
from typing import Annotated, Iterable, Iterator, List, NoReturn, Tuple

import spacy
import typer
from spacy.tokens import Doc, DocBin
from spacy.vocab import Vocab
from wasabi import msg

LABELS = ("corporation", "creative-work", "group", "location", "person", "product")
TAGS = {"O", *(f"{prefix}-{label}" for prefix in "BI" for label in LABELS)}


def main(
    source: Annotated[
        Path, typer.Argument(help="File in WNUT-17's format.", exists=True)
    ],
    target: Annotated[Path, typer.Argument(help=".spacy file to write.")],
) -> None:
    """Write one Doc a text, its tokens as they are, with its entities.

    A line is TOKEN<TAB>TAG, tags are BIO; lines that are empty or white space
    stand between texts.
    """
    vocab = spacy.blank("en").vocab
    try:
        with source.open(encoding="utf8") as lines:
            docs = list(read_docs(lines, vocab))
    except ValueError as error:
        fail(f"Cannot read {source}", str(error))
    target.parent.mkdir(parents=True, exist_ok=True)
    DocBin(docs=docs).to_disk(target)
    n_tokens = sum(len(doc) for doc in docs)
    n_entities = sum(len(doc.ents) for doc in docs)
    msg.good(
        f"{target}: {len(docs):,} texts, {n_tokens:,} tokens, {n_entities:,} entities"
    )


def read_docs(lines: Iterable[str], vocab: Vocab) -> Iterator[Doc]:
    """Where a text's white space is not known, spaCy trains on its tokens."""
    for text in read_texts(lines):
        words, tags = zip(*text)
        yield Doc(vocab, words=list(words), ents=list(tags))


def read_texts(lines: Iterable[str]) -> Iterator[List[Tuple[str, str]]]:
    """Yield the (token, tag) pairs of each text. Raises ValueError, with the number
    of the line, where a line is neither white space nor a token and its tag."""
    text: List[Tuple[str, str]] = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                text.append(parse_line(line, text[-1][1] if text else "O"))
            except ValueError as error:
                raise ValueError(f"line {number}: {error}: {line!r}") from error
        elif text:
            yield text
            text = []
    if text:
        yield text


def parse_line(line: str, previous: str) -> Tuple[str, str]:
    """Split a line into token and tag; `previous` is the tag before it."""
    fields = [field.strip() for field in line.split("\t")]
    if len(fields) != 2:
        raise ValueError(f"expected 2 fields between tabs, found {len(fields)}")
    token, tag = fields
    if token.split() != [token]:
        raise ValueError("expected a token without white space")
    if tag not in TAGS:
        raise ValueError(f"expected O, or B- or I- with one of {', '.join(LABELS)}")
    if tag.startswith("I-") and previous[2:] != tag[2:]:
        raise ValueError(f"{tag} continues no entity, the tag before it is {previous}")
    return token, tag


def fail(title: str, text: str) -> NoReturn:
    msg.fail(title, text)
    raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
