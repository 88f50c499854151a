"""Sentences numbered by document."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from spacy_elmo.text.documents import read_documents, split_evenly
from spacy_elmo.text.files import CorpusError
from spacy_elmo.text.tokenization import Tokenization


def read(*paths: Path, max_words: int = 100, **settings: Any) -> list[Any]:
    """RETURNS: (document, sentence, words as text, indices) of each sentence."""
    stream = read_documents(Tokenization(**settings), paths, max_words=max_words)
    return [(s.document, s.sentence, " ".join(s.words), [*s.indices]) for s in stream]


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "a.txt"
    path.write_text("\n\na b\nc\n\n\nd e\n\n", encoding="utf8")
    return path


def test_empty_lines_separate_documents(text: Path, tmp_path: Path) -> None:
    other = tmp_path / "b.txt"
    other.write_text("f", encoding="utf8")
    assert read(text, other) == [
        (0, 0, "a b", [0, 1]),
        (0, 1, "c", [2]),
        (1, 0, "d e", [0, 1]),
        (2, 0, "f", [0]),
    ]


def test_every_json_object_is_a_document(text: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    records = ["a\nb", "", " \n", "c"]
    lines = [json.dumps({"text": record}) for record in records]
    path.write_bytes(gzip.compress("\n\n".join(lines).encode()))
    expected = [(0, 0, "a", [0]), (0, 1, "b", [1]), (3, 0, "c", [0])]
    assert read(path) == expected
    assert [each[0] for each in read(path, text)] == [0, 0, 3, 4, 4, 5]
    assert [each[0] for each in read(text, path)] == [0, 0, 1, 2, 2, 5]


def test_long_sentences_are_split_evenly(tmp_path: Path) -> None:
    path = tmp_path / "long.txt"
    path.write_text("a b c d e f g", encoding="utf8")
    assert read(path, max_words=3) == [
        (0, 0, "a b", [0, 1]),
        (0, 1, "c d", [2, 3]),
        (0, 2, "e f g", [4, 5, 6]),
    ]
    assert split_evenly([], 3) == []


def test_sentences_of_a_paragraph(tmp_path: Path) -> None:
    path = tmp_path / "paragraphs.txt"
    path.write_text("It rained. We sat.\nOn.", encoding="utf8")
    sentences = read(path, tokenizer="en", sentences="split")
    assert [each[:3] for each in sentences] == [
        (0, 0, "It rained ."),
        (0, 1, "We sat ."),
        (0, 2, "On ."),
    ]


def test_numbers_do_not_depend_on_chunks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.txt"
    path.write_text("a b\n\n\n\nc\nd\n\ne" * 50, encoding="utf8")
    expected = read(path)
    monkeypatch.setattr("spacy_elmo.text.documents.CHUNK_CHARS", 1)
    assert read(path) == expected


def test_text_without_words_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text(" \n", encoding="utf8")
    with pytest.raises(CorpusError, match="found no words"):
        read(path)
