"""Tokenization: sentences of text files, and how it is stored with weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import spacy
from helpers import corpora

from spacy_elmo.text.files import CorpusError
from spacy_elmo.text.tokenization import (
    Tokenization,
    read_tokenization,
    weights_folder,
    write_tokenization,
)

TEXT = "It's here . Isn't it ?\n\n\n  Two  words \nEnd\n"


def read(path: Path, *tokenization: str) -> list[list[str]]:
    return list(Tokenization(*tokenization).read_sentences([path]))


@pytest.mark.parametrize("compression", corpora.COMPRESSIONS)
def test_whitespace_and_empty_lines(tmp_path: Path, compression: str) -> None:
    path = corpora.write(tmp_path / f"text.txt{compression}", TEXT)
    expected = [["It's", "here", ".", "Isn't", "it", "?"], ["Two", "words"], ["End"]]
    assert read(path) == expected


def test_a_language_with_and_without_splitting(tmp_path: Path) -> None:
    path = corpora.write(tmp_path / "text.txt", TEXT)
    lines = read(path, "en", "lines")
    assert lines[0] == ["It", "'s", "here", ".", "Is", "n't", "it", "?"]
    split = read(path, "en", "split")
    assert split[:2] == [lines[0][:4], lines[0][4:]]
    assert split[2:] == lines[1:]


def test_a_folder_with_json_lines(tmp_path: Path) -> None:
    corpora.write(tmp_path / "a.txt", "a b\n")
    entry = {"text": "c d\ne", "other": 1}
    corpora.write(tmp_path / "b.jsonl", json.dumps(entry) + "\n")
    assert read(tmp_path) == [["a", "b"], ["c", "d"], ["e"]]


def test_sentences_are_streamed_and_progress_is_reported(tmp_path: Path) -> None:
    text = "".join(f"sentence number {number} .\n" for number in range(20_000))
    path = corpora.write(tmp_path / "text.txt", text)
    calls: list[int] = []

    def progress(n_bytes: int, total: int) -> None:
        assert total == len(text)
        calls.append(n_bytes)

    stream = Tokenization().read_sentences([path], progress)
    assert next(stream) == ["sentence", "number", "0", "."]
    assert not calls
    assert sum(1 for _ in stream) == 19_999
    assert len(calls) > 5
    assert sum(calls) == len(text)


def test_unreadable_text_and_unknown_settings(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="found none"):
        read(tmp_path / "none.txt")
    with pytest.raises(CorpusError, match="no words"):
        read(corpora.write(tmp_path / "empty.txt", "\n \n"))
    path = corpora.write(tmp_path / "text.txt", TEXT)
    with pytest.raises(ValueError, match="tokenizer: expected"):
        read(path, "no_such")
    with pytest.raises(ValueError, match="sentences: expected"):
        read(path, "whitespace", "split")


def test_split_text() -> None:
    assert Tokenization().split_text(" a b ") == [["a", "b"]]
    assert Tokenization().split_text("") == []
    assert Tokenization().split_text("a\nb") == [["a"], ["b"]]


def test_pipelines_are_compared_by_content(tmp_path: Path) -> None:
    nlp = spacy.blank("en")
    for name in ("a", "b"):
        nlp.to_disk(tmp_path / name)
    a, b = (Tokenization(str(tmp_path / name)) for name in ("a", "b"))
    assert a.has_tokenizer_of(b)
    assert not a.has_tokenizer_of(Tokenization("en"))
    stored = Tokenization("/elsewhere", pipeline_hash=a.hash_pipeline())
    assert stored.has_tokenizer_of(b)
    before = b.identify_tokenizer()
    nlp.tokenizer.add_special_case("gimme", [{"ORTH": "gim"}, {"ORTH": "me"}])
    nlp.to_disk(tmp_path / "b")
    assert not a.has_tokenizer_of(b)
    assert not stored.has_tokenizer_of(b)
    assert b.identify_tokenizer() != before


def test_read_tokenization(tmp_path: Path) -> None:
    assert read_tokenization(tmp_path) is None
    assert read_tokenization(tmp_path / "options.json") is None
    file = tmp_path / "pretraining.json"
    file.write_text('{"tokenizer": "de", "sentences": "split", "step": 5}')
    (tmp_path / "model.safetensors").touch()
    for weights in (tmp_path, tmp_path / "model.safetensors"):
        assert read_tokenization(weights) == Tokenization("de", "split")
    file.write_text('{"tokenizer": "de"}', encoding="utf8")
    with pytest.raises(ValueError, match=r"pretraining\.json: expected"):
        read_tokenization(tmp_path)


def test_a_weights_file_stands_for_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "folder.safetensors"
    folder.mkdir()
    file = folder / "model.safetensors"
    file.touch()
    assert weights_folder(str(file)) == weights_folder(folder) == folder
    assert weights_folder(tmp_path / "options.json") == tmp_path / "options.json"


def test_write_tokenization(tmp_path: Path) -> None:
    for tokenization in (Tokenization("de", "split"), Tokenization(), None, None):
        write_tokenization(tmp_path, tokenization)
        assert read_tokenization(tmp_path) == tokenization
    assert not list(tmp_path.iterdir())
