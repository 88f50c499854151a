"""Character ids in both schemes."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.numpy_bilm import character_ids
from hypothesis import example, given, settings
from hypothesis import strategies as st

from spacy_elmo.bilm import ByteCharacters, VocabularyCharacters

BOS, EOS, BOW, EOW, PAD = 257, 258, 259, 260, 261

any_word = st.text(st.characters() | st.sampled_from("\ud800\udfff"), max_size=80)
any_words = st.lists(any_word | st.sampled_from(["", "<S>", "</S>"]), max_size=5)

CHARACTERS = ["<bow>", "<eow>", "<oov>", "<pad>", "<bos>", "<eos>", "a", "b", "\u3000"]
WORDS = ["<oov>", "<pad>", "ab", "aaa"]


def vocabulary(max_characters: int = 6) -> VocabularyCharacters:
    return VocabularyCharacters(
        {token: 10 + number for number, token in enumerate(CHARACTERS)},
        {token: 20 + number for number, token in enumerate(WORDS)},
        max_characters,
    )


@settings(deadline=None)
@given(any_words, st.integers(3, 60))
@example(["\ud83d\ude00x\ud800", "naïve", "日本語" * 20], 5)
def test_bytes_agree_with_the_published_scheme(
    words: list[str], max_characters: int
) -> None:
    ids = ByteCharacters(max_characters)(words)
    assert ids.shape == (len(words), max_characters)
    assert ids.dtype == np.int64
    assert ids.tolist() == [character_ids(word, max_characters) for word in words]


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("", [BOW, EOW, PAD, PAD, PAD]),
        ("a", [BOW, 98, EOW, PAD, PAD]),
        ("abc", [BOW, 98, 99, 100, EOW]),
        ("abcd", [BOW, 98, 99, 100, EOW]),
        ("aéé", [BOW, 98, 0xC3 + 1, 0xA9 + 1, EOW]),
        ("éé", [BOW, 0xC3 + 1, 0xA9 + 1, 0xC3 + 1, EOW]),
        ("\ud800a", [BOW, 98, EOW, PAD, PAD]),
        ("\0", [BOW, 1, EOW, PAD, PAD]),
        ("<S>", [BOW, BOS, EOW, PAD, PAD]),
        ("</S>", [BOW, EOS, EOW, PAD, PAD]),
    ],
)
def test_byte_ids(word: str, expected: list[int]) -> None:
    assert ByteCharacters(5)([word]).tolist() == [expected]


def test_byte_scheme_has_no_vocabularies() -> None:
    scheme = ByteCharacters()
    assert scheme.vocabularies() == {}
    assert scheme.word_ids(["a", "b"]).tolist() == [0, 0]
    assert scheme([]).shape == (0, 50)


@pytest.mark.parametrize(
    ("word", "inner"),
    [
        ("", []),
        ("ab", ["a", "b"]),
        ("\u3000", ["\u3000"]),
        ("xé", ["<oov>", "<oov>"]),
        ("\ud800a", ["<oov>", "a"]),
        ("abababab", ["a", "b", "a", "b"]),
        ("<bos>", ["<bos>"]),
        ("<eos>", ["<eos>"]),
    ],
)
def test_vocabulary_scheme_swaps_word_markers(word: str, inner: list[str]) -> None:
    """Position 0 holds the id of <eow>, as the published weights were trained."""
    tokens = ["<eow>", *inner, "<bow>"]
    tokens += ["<pad>"] * (6 - len(tokens))
    ids = vocabulary()([word])
    assert ids.tolist() == [[10 + CHARACTERS.index(token) for token in tokens]]


@pytest.mark.parametrize(
    ("word", "entry"), [("ab", "ab"), ("b", "<oov>"), ("aaabb", "aaa")]
)
def test_words_are_cut_before_lookup(word: str, entry: str) -> None:
    assert vocabulary(5).word_ids([word]).tolist() == [20 + WORDS.index(entry)]


def test_word_ids_without_a_word_vocabulary() -> None:
    scheme = VocabularyCharacters({token: i for i, token in enumerate(CHARACTERS)}, {})
    assert scheme.word_ids(["a", "b"]).tolist() == [0, 0]


def test_vocabularies_round_trip() -> None:
    scheme = vocabulary()
    stored = scheme.vocabularies()
    again = VocabularyCharacters(dict(stored["characters"]), dict(stored["words"]), 6)
    words = ["ab", "é", "<bos>", ""]
    assert (again(words) == scheme(words)).all()
    assert (again.word_ids(words) == scheme.word_ids(words)).all()


@pytest.mark.parametrize("missing", CHARACTERS[:6])
def test_special_characters_are_required(missing: str) -> None:
    entries = {token: i for i, token in enumerate(CHARACTERS) if token != missing}
    with pytest.raises(ValueError, match=f"found no {missing}"):
        VocabularyCharacters(entries, {})


def test_word_vocabulary_requires_oov() -> None:
    entries = {token: i for i, token in enumerate(CHARACTERS)}
    with pytest.raises(ValueError, match="found no <oov> in the word vocabulary"):
        VocabularyCharacters(entries, {"ab": 0})
