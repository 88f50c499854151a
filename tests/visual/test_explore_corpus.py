"""The text that `elmo explore` searches."""

from __future__ import annotations

from collections import Counter
from itertools import repeat

import numpy as np
import pytest

from spacy_elmo import BiLM
from spacy_elmo.visual.explore.corpus import (
    MAX_SENTENCE,
    SHIPPED,
    SUGGESTIONS,
    Corpus,
    EncodedSample,
)

TEXT = [["The", "bank", "."], ["A", "bank", "and", "a", "Bank"], ["Rain"]]


def test_find_ignores_case() -> None:
    corpus = Corpus(TEXT, "text")
    found = corpus.find("BANK", 10)
    assert found.total == 3
    places = [(each.sentence, each.position, each.word) for each in found.shown]
    assert places == [(0, 1, "bank"), (1, 1, "bank"), (1, 4, "Bank")]
    assert found.shown[0].words == ("The", "bank", ".")
    assert corpus.find("zzz", 10) == ([], 0)


def test_limit_of_words() -> None:
    """An endless text is read only so far."""
    corpus = Corpus(repeat(["the", "end"]), "text", max_words=1001)
    assert corpus.n_words == 1001
    assert corpus.is_cut
    assert corpus.sentences[-1] == ("the",)
    assert corpus.find("the", 10).total == 501
    assert not Corpus(TEXT, "text", max_words=9).is_cut
    with pytest.raises(ValueError, match="found 0"):
        Corpus(TEXT, "text", max_words=0)


def test_occurrences_are_spread_over_the_text() -> None:
    corpus = Corpus([["the"]] * 1000, "text")
    found = corpus.find("the", 4)
    assert found.total == 1000
    assert [each.sentence for each in found.shown] == [0, 250, 500, 750]


def test_long_sentences_are_cut() -> None:
    words = [str(i) for i in range(2 * MAX_SENTENCE + 5)]
    corpus = Corpus([words], "text")
    assert [len(each) for each in corpus.sentences] == [MAX_SENTENCE, MAX_SENTENCE, 5]
    assert [word for each in corpus.sentences for word in each] == words


def test_encoded_sample(tiny_bilm: BiLM) -> None:
    corpus = Corpus(TEXT * 10, "text")
    sample = list(EncodedSample(tiny_bilm, corpus, 30).vectors("top"))
    assert 20 <= sum(len(words) for _, words, _ in sample) <= 30
    assert sample[-1][0] > 20
    for number, words, vectors in sample:
        assert corpus.sentences[number] == words
        (layers,) = tiny_bilm.encode([words])
        np.testing.assert_allclose(vectors, layers[-1], rtol=1e-5, atol=1e-5)
    assert len(list(EncodedSample(tiny_bilm, corpus, 1000).vectors("0"))) == 30


def test_the_text_that_ships() -> None:
    lines = SHIPPED.read_text(encoding="utf8").splitlines()
    assert len(lines) == len(set(lines)) == 148
    counts = Counter(word for line in lines for word in set(line.split()))
    for word in SUGGESTIONS:
        assert counts[word] >= 10, word
    assert all(line.endswith(" .") for line in lines)
