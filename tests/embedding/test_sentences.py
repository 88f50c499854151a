"""Text files -> sentences of words, as a stream."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers import corpora

from spacy_elmo.embedding.sentences import (
    Tokenization,
    folder_of,
    read_sentences,
    split_line,
    training_tokenization,
    write_tokenization,
)
from spacy_elmo.formats import WeightsError
from spacy_elmo.text.files import CorpusError

TEXT = "It's here . Isn't it ?\n\n\n  Two  words \nEnd\n"


def read(path: Path, *tokenization: str) -> list[list[str]]:
    return list(read_sentences([path], Tokenization(*tokenization)))


@pytest.mark.parametrize("packing", corpora.PACKINGS)
def test_lines_are_sentences_and_empty_ones_are_none(
    tmp_path: Path, packing: str
) -> None:
    path = corpora.write(tmp_path / f"text.txt{packing}", TEXT)
    expected = [["It's", "here", ".", "Isn't", "it", "?"], ["Two", "words"], ["End"]]
    assert read(path) == expected


def test_a_language_and_split_paragraphs(tmp_path: Path) -> None:
    path = corpora.write(tmp_path / "text.txt", TEXT)
    lines = read(path, "en", "lines")
    assert lines[0] == ["It", "'s", "here", ".", "Is", "n't", "it", "?"]
    split = read(path, "en", "split")
    assert split[:2] == [lines[0][:4], lines[0][4:]]
    assert split[2:] == lines[1:]


def test_several_files_and_json(tmp_path: Path) -> None:
    corpora.write(tmp_path / "a.txt", "a b\n")
    entry = {"text": "c d\ne", "other": 1}
    corpora.write(tmp_path / "b.jsonl", json.dumps(entry) + "\n")
    assert read(tmp_path) == [["a", "b"], ["c", "d"], ["e"]]


def test_it_is_a_stream_with_its_progress(tmp_path: Path) -> None:
    text = "".join(f"sentence number {number} .\n" for number in range(20_000))
    path = corpora.write(tmp_path / "text.txt", text)
    seen: list[int] = []

    def progress(n_bytes: int, total: int) -> None:
        assert total == len(text)
        seen.append(n_bytes)

    stream = read_sentences([path], Tokenization(), progress)
    assert next(stream) == ["sentence", "number", "0", "."]
    assert not seen
    n_left = sum(1 for _ in stream)
    assert n_left == 19_999
    assert len(seen) > 5
    assert sum(seen) == len(text)


def test_what_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="found none"):
        read(tmp_path / "none.txt")
    with pytest.raises(CorpusError, match="not a single word"):
        read(corpora.write(tmp_path / "empty.txt", "\n \n"))
    path = corpora.write(tmp_path / "text.txt", TEXT)
    with pytest.raises(ValueError, match="tokenizer: expected"):
        read(path, "no_such")
    with pytest.raises(ValueError, match="sentences: expected"):
        read(path, "whitespace", "split")


def test_a_line() -> None:
    assert split_line(" a b ", Tokenization()) == [["a", "b"]]
    assert split_line("", Tokenization()) == []
    assert split_line("a\nb", Tokenization()) == [["a"], ["b"]]


def test_the_tokenization_of_the_training_text(tmp_path: Path) -> None:
    assert training_tokenization(tmp_path) is None
    assert training_tokenization(tmp_path / "options.json") is None
    file = tmp_path / "pretraining.json"
    file.write_text('{"tokenizer": "de", "sentences": "split"}', encoding="utf8")
    assert training_tokenization(tmp_path) == Tokenization("de", "split")
    (tmp_path / "model.safetensors").touch()
    by_file = training_tokenization(tmp_path / "model.safetensors")
    assert by_file == Tokenization("de", "split")
    file.write_text('{"tokenizer": "de"}', encoding="utf8")
    with pytest.raises(WeightsError, match=r"pretraining\.json: expected"):
        training_tokenization(tmp_path)


def test_a_file_of_ours_stands_for_its_folder(tmp_path: Path) -> None:
    named_so = tmp_path / "folder.safetensors"
    named_so.mkdir()
    file = named_so / "model.safetensors"
    file.touch()
    assert folder_of(str(file)) == folder_of(named_so) == named_so
    assert folder_of(tmp_path / "options.json") == tmp_path / "options.json"


def test_what_is_written_is_found(tmp_path: Path) -> None:
    for tokenization in (Tokenization("de", "split"), Tokenization(), None, None):
        write_tokenization(tmp_path, tokenization)
        assert training_tokenization(tmp_path) == tokenization
    assert not list(tmp_path.iterdir())
