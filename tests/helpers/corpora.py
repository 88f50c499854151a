"""Corpora for the tests of pretraining: packed, read back, refused."""

from __future__ import annotations

import bz2
import gzip
import lzma
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator, Sequence

import numpy as np
import pytest
import zstandard

from spacy_elmo.pretraining.data.shards import Shards, read_sentences
from spacy_elmo.text.files import CorpusError
from spacy_elmo.text.tokenizers import Tokenized

PACKINGS = ("", ".gz", ".xz", ".bz2", ".zst")

Documents = list[list[list[str]]]
"""Documents of sentences of words."""


def pack(data: bytes, packing: str) -> bytes:
    if packing == ".zst":
        return zstandard.ZstdCompressor(write_checksum=True).compress(data)
    compress = {
        "": bytes,
        ".gz": gzip.compress,
        ".xz": lzma.compress,
        ".bz2": bz2.compress,
    }
    return compress[packing](data)


def write(path: Path, text: str) -> Path:
    """As UTF-8, packed as the name says; line ends stay what they are."""
    packing = path.suffix if path.suffix in PACKINGS else ""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pack(text.encode("utf8"), packing))
    return path


def documents_of(*texts: str) -> Documents:
    """What the texts of .txt files are, one word after another."""
    documents: Documents = []
    for text in texts:
        documents.append([])
        for line in text.split("\n"):
            if words := line.split():
                documents[-1].append(words)
            else:
                documents.append([])
    return [document for document in documents if document]


def read_back(shards: Shards) -> Documents:
    """A prepared corpus by its ids and its ends of documents."""
    documents: Documents = []
    rest: list[Any] = []
    for tokens, ends in zip(shards.tokens, shards.documents):
        pieces = np.split(tokens, ends)
        for piece in pieces[:-1]:
            documents.append(read_sentences(shards, [*rest, *piece]))
            rest = []
        rest += list(pieces[-1])
    assert not rest, "words behind the last document's end"
    return documents


def sentences_of(chunk: Tokenized) -> list[list[str]]:
    """The words of a chunk of text by its own types."""
    sentences: list[list[str]] = [[]]
    for number in chunk.ids:
        if number:
            sentences[-1].append(chunk.types[number - 1])
        else:
            sentences.append([])
    assert not sentences.pop(), "words behind the last sentence's end"
    return sentences


def contents(folder: Path) -> dict[str, bytes]:
    """All files below a folder."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@contextmanager
def corpus_refused(*parts: Any, kind: type[ValueError] = CorpusError) -> Iterator[None]:
    """The block must raise an error that says what was expected, what was found, and
    each of `parts`: the file, the line, the values."""
    with pytest.raises(kind) as caught:
        yield
    message = str(caught.value)
    found: Sequence[Any] = ("expected", "found", *parts)
    for part in found:
        assert str(part) in message, f"{part!r} is not in: {message}"
