"""Text files and shards: written, read back, refused."""

from __future__ import annotations

import bz2
import gzip
import lzma
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterable, Iterator, Sequence

import numpy as np
import pytest
import zstandard

from spacy_elmo.pretraining.data.shards import Shards
from spacy_elmo.text.files import CorpusError
from spacy_elmo.text.tokenizers import END_OF_SENTENCE, Tokenized

COMPRESSIONS = ("", ".gz", ".xz", ".bz2", ".zst")

Documents = list[list[list[str]]]
"""Documents of sentences of words."""


def compress(data: bytes, compression: str) -> bytes:
    if compression == ".zst":
        return zstandard.ZstdCompressor(write_checksum=True).compress(data)
    return {
        "": bytes,
        ".gz": gzip.compress,
        ".xz": lzma.compress,
        ".bz2": bz2.compress,
    }[compression](data)


def write(path: Path, text: str) -> Path:
    """Write UTF-8, compressed according to the extension. Line endings are kept."""
    compression = path.suffix if path.suffix in COMPRESSIONS else ""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(compress(text.encode("utf8"), compression))
    return path


def documents_of(*texts: str) -> Documents:
    """Split texts of .txt files into documents, as `prepare` should."""
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
    """Read the documents of a corpus from its shards."""
    documents: Documents = []
    rest: list[Any] = []
    for tokens, ends in zip(shards.tokens, shards.documents):
        pieces = np.split(tokens, ends)
        for piece in pieces[:-1]:
            documents.append(read_sentences(shards, [*rest, *piece]))
            rest = []
        rest += list(pieces[-1])
    assert not rest, "words after the end of the last document"
    return documents


def sentences_of(chunk: Tokenized) -> list[list[str]]:
    """Look up the words of a chunk of text."""
    sentences: list[list[str]] = [[]]
    for number in chunk.ids:
        if number:
            sentences[-1].append(chunk.types[number - 1])
        else:
            sentences.append([])
    assert not sentences.pop(), "words after the end of the last sentence"
    return sentences


def contents(folder: Path) -> dict[str, bytes]:
    """Read all files below a folder."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@contextmanager
def corpus_refused(*parts: Any, kind: type[ValueError] = CorpusError) -> Iterator[None]:
    """Check that the block raises an error whose message has "expected", "found" and
    `parts`, such as the file, the line and the values."""
    with pytest.raises(kind) as caught:
        yield
    message = str(caught.value)
    found: Sequence[Any] = ("expected", "found", *parts)
    for part in found:
        assert str(part) in message, f"{part!r} is not in: {message}"


def read_sentences(shards: Shards, ids: Iterable[int]) -> list[list[str]]:
    """Convert type ids back to sentences of words."""
    types = shards.types()
    sentences: list[list[str]] = [[]]
    for type_id in ids:
        if type_id == END_OF_SENTENCE:
            sentences.append([])
        else:
            sentences[-1].append(types[type_id - 1])
    return [sentence for sentence in sentences if sentence]
