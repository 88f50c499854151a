"""WordTable: the characters of each type of a corpus, cached in a file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Callable

import numpy as np
import pytest
from helpers.corpora import corpus_refused
from helpers.language_models import make_shards, random_sentences, vocabulary_characters

from spacy_elmo.bilm.characters import ByteCharacters, Characters
from spacy_elmo.pretraining.data import word_table as types
from spacy_elmo.pretraining.data.shards import Shards
from spacy_elmo.pretraining.data.word_table import WordTable

BYTES = ByteCharacters(12)
NAME = "characters.npy"


@pytest.fixture
def shards(tmp_path: Path) -> Shards:
    sentences = [["naïve", "a" * 40, "日本語日本語"], *random_sentences(30)]
    return make_shards(tmp_path / "shards", sentences)


def assert_holds(table: WordTable, shards: Shards, characters: Characters) -> None:
    """Check each word."""
    begin, end = characters.boundaries
    words = [begin, *shards.types(), end]
    assert table.char_ids.dtype == np.int32
    assert len(table.char_ids) == len(table.word_ids) == len(table.lengths)
    assert len(table.char_ids) == len(words)
    for word, row, number, length in zip(words, *table[:3]):
        np.testing.assert_array_equal(row, characters([word])[0])
        assert number == characters.word_ids([word])[0]
        assert (row[length:] == characters.padding).all()
        assert row[length - 1] != characters.padding


@pytest.mark.parametrize("at_once", [1, 7, 10_000])
def test_rows_are_the_characters_of_the_types(
    shards: Shards, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(types, "_BLOCK", at_once)
    assert_holds(WordTable.from_shards(shards, BYTES, tmp_path / "t"), shards, BYTES)


def test_character_vocabulary_of_manylangs(shards: Shards, tmp_path: Path) -> None:
    characters = vocabulary_characters(shards.types())
    table = WordTable.from_shards(shards, characters, tmp_path / "t")
    assert_holds(table, shards, characters)
    assert table.word_ids[0] == characters.words["<oov>"]
    assert len(set(table.word_ids.tolist())) > 5


def test_first_and_last_rows_are_sentence_boundaries(
    shards: Shards, tmp_path: Path
) -> None:
    table = WordTable.from_shards(shards, BYTES, tmp_path / "t")
    # Begin of word, begin or end of sentence, end of word, padding, all plus one.
    assert table.char_ids[0, :4].tolist() == [259, 257, 260, 261]
    assert table.char_ids[-1, :4].tolist() == [259, 258, 260, 261]


def test_the_file_is_reused(shards: Shards, tmp_path: Path) -> None:
    WordTable.from_shards(shards, BYTES, tmp_path / "t")
    path = tmp_path / "t" / NAME
    before = path.stat()
    assert_holds(WordTable.from_shards(shards, BYTES, tmp_path / "t"), shards, BYTES)
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert path.stat().st_ino == before.st_ino


@pytest.mark.parametrize("value", [5, -1, 10**6])
def test_a_file_with_other_ids_is_replaced(
    shards: Shards, tmp_path: Path, value: int
) -> None:
    WordTable.from_shards(shards, BYTES, tmp_path / "t")
    path = tmp_path / "t" / NAME
    stored = np.load(path)
    stored[3, 1] = value
    np.save(path, stored)
    assert_holds(WordTable.from_shards(shards, BYTES, tmp_path / "t"), shards, BYTES)


def test_a_file_cut_while_it_is_in_use(shards: Shards, tmp_path: Path) -> None:
    """Reading beyond its end would be a bus error."""
    table = WordTable.from_shards(shards, BYTES, tmp_path / "t")
    os.truncate(tmp_path / "t" / NAME, 128)
    with corpus_refused(NAME, "while they are in use"):
        table.characters(np.array([3]))


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "truncated header": lambda data: data[:50],
    "truncated table": lambda data: data[:-1],
    "another format": lambda data: b"PK\x03\x04" + data,
    "an open bracket": lambda data: data.replace(b"}", b"{", 1),
    "not Python": lambda data: data.replace(b"descr", b"d'scr", 1),
    "another byte order": lambda data: data.replace(b"<i4", b">i4", 1),
    "a smaller type": lambda data: data.replace(b"<i4", b"<i2", 1),
    "objects": lambda data: data.replace(b"<i4'", b"O'  ", 1),
    "fewer words": lambda data: data.replace(b"(2", b"(1", 1),
    "a huge shape": lambda data: data.replace(b", 12), }", b",9**99),}", 1),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_replaced(
    shards: Shards, tmp_path: Path, damage: str
) -> None:
    WordTable.from_shards(shards, BYTES, tmp_path / "t")
    path = tmp_path / "t" / NAME
    data = path.read_bytes()
    path.write_bytes(DAMAGES[damage](data))
    assert path.read_bytes() != data
    assert_holds(WordTable.from_shards(shards, BYTES, tmp_path / "t"), shards, BYTES)
    assert path.read_bytes() == data


def test_a_file_of_another_shape_is_replaced(shards: Shards, tmp_path: Path) -> None:
    WordTable.from_shards(shards, BYTES, tmp_path / "t")
    longer = ByteCharacters(20)
    assert_holds(WordTable.from_shards(shards, longer, tmp_path / "t"), shards, longer)
    more = make_shards(tmp_path / "more", [shards.types(), ["more"]])
    assert_holds(WordTable.from_shards(more, longer, tmp_path / "t"), more, longer)
