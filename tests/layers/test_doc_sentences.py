"""Splitting docs into sentences: boundaries, even windows, no whitespace."""

from __future__ import annotations

import numpy as np
import pytest
import spacy
from spacy.language import Language
from spacy.tokens import Doc

from spacy_elmo.layers.doc_sentences import split_sentences


@pytest.fixture(scope="module")
def nlp() -> Language:
    return spacy.blank("en")


def test_short_doc_without_boundaries(nlp: Language) -> None:
    words = split_sentences([Doc(nlp.vocab, words=["a", "b", "c"])], window=3)
    assert words.sentences == [["a", "b", "c"]]
    assert words.n_words == [3]
    assert words.is_word[0].tolist() == [True] * 3


@pytest.mark.parametrize("window", [1, 2, 3, 7, 10, 128])
@pytest.mark.parametrize("length", [1, 2, 7, 10, 11, 129, 257, 300])
def test_windows_are_even(nlp: Language, length: int, window: int) -> None:
    texts = [str(number) for number in range(length)]
    words = split_sentences([Doc(nlp.vocab, words=texts)], window)
    lengths = [len(sentence) for sentence in words.sentences]
    assert [word for sentence in words.sentences for word in sentence] == texts
    assert max(lengths) <= window
    assert max(lengths) - min(lengths) <= 1
    assert len(lengths) == -(-length // window)


def test_sentences_may_exceed_the_window(nlp: Language) -> None:
    doc = Doc(nlp.vocab, words=list("abcdefg"), sent_starts=[True] + [False] * 6)
    assert split_sentences([doc], window=2).sentences == [list("abcdefg")]


@pytest.mark.parametrize(
    ("length", "expected"), [(16, [16]), (17, [8, 9]), (33, [11] * 3)]
)
def test_maximum_sentence_length(
    nlp: Language, length: int, expected: list[int]
) -> None:
    """Longer than eight windows is text whose boundaries were missed."""
    words = [str(number) for number in range(length + 2)]
    starts = [True, True] + [False] * (length - 1) + [True]
    found = split_sentences([Doc(nlp.vocab, words=words, sent_starts=starts)], window=2)
    assert [len(sentence) for sentence in found.sentences] == [1, *expected, 1]
    assert [word for sentence in found.sentences for word in sentence] == words


def test_sentences_of_a_hook(nlp: Language) -> None:
    """As a component or user code may define them."""
    doc = Doc(nlp.vocab, words=list("abcde"))
    doc.user_hooks["sents"] = lambda doc: [doc[:2], doc[2:]]
    assert split_sentences([doc], window=4).sentences == [list("ab"), list("cde")]


def test_sentence_boundaries(nlp: Language) -> None:
    starts = [True, False, True, True, False]
    doc = Doc(nlp.vocab, words=list("abcde"), sent_starts=starts)
    assert split_sentences([doc], window=128).sentences == [
        ["a", "b"],
        ["c"],
        ["d", "e"],
    ]


def test_boundaries_of_a_parse(nlp: Language) -> None:
    words = ["a", "b", "c", "d", "e", "f"]
    doc = Doc(nlp.vocab, words=words, heads=[1, 1, 1, 4, 4, 4], deps=["dep"] * 6)
    ours = split_sentences([doc], window=128).sentences
    assert ours == [[t.text for t in sent] for sent in doc.sents]
    assert len(ours) == 2


def test_several_docs(nlp: Language) -> None:
    one = Doc(nlp.vocab, words=["a", "b", "c"])
    two = Doc(nlp.vocab, words=["d", "e"], sent_starts=[True, True])
    words = split_sentences([one, two, one], window=2)
    assert words.sentences == [["a"], ["b", "c"], ["d"], ["e"], ["a"], ["b", "c"]]
    assert words.n_words == [3, 2, 3]


def test_whitespace_is_left_out(nlp: Language) -> None:
    doc = Doc(nlp.vocab, words=[" ", "a", "\n\n", "b", "\t"])
    words = split_sentences([doc], window=128)
    assert words.sentences == [["a", "b"]]
    assert words.n_words == [2]
    assert words.is_word[0].tolist() == [False, True, False, True, False]


def test_whitespace_does_not_count_towards_the_window(nlp: Language) -> None:
    doc = Doc(nlp.vocab, words=["a", "\n", "\n", "\n", "b"])
    assert split_sentences([doc], window=2).sentences == [["a", "b"]]


@pytest.mark.parametrize(
    ("words", "starts", "expected"),
    [
        (["a", "\n", "b", "c"], [1, 1, 0, 0], [["a"], ["b", "c"]]),
        (["a", "\n", "b", "c"], [1, 0, 1, 0], [["a"], ["b", "c"]]),
        (["a", "\n", "b", "c"], [1, 1, 1, 0], [["a"], ["b", "c"]]),
        (["\n", "a", "\n", "b"], [1, 0, 1, 0], [["a"], ["b"]]),
        (["a", "b", "\n"], [1, 0, 1], [["a", "b"]]),
    ],
)
def test_sentence_that_starts_with_whitespace(
    nlp: Language, words: list[str], starts: list[int], expected: list[list[str]]
) -> None:
    doc = Doc(nlp.vocab, words=words, sent_starts=[bool(start) for start in starts])
    assert split_sentences([doc], window=128).sentences == expected


@pytest.mark.parametrize("words", [[], ["\n"], [" ", "\n\n", "\t"]])
def test_no_words(nlp: Language, words: list[str]) -> None:
    found = split_sentences([Doc(nlp.vocab, words=words)], window=2)
    assert found.sentences == []
    assert found.n_words == [0]
    assert found.is_word[0].shape == (len(words),)
    assert not np.any(found.is_word[0])


def test_no_docs() -> None:
    found = split_sentences([], window=2)
    assert (found.sentences, found.n_words, found.is_word) == ([], [], [])
