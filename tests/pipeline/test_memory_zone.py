"""`nlp.memory_zone()`: the vocab of a service does not grow, vectors are the same as
outside a zone, and nothing that belongs to a zone is used after its end."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Iterator

import numpy as np
import pytest
from helpers.pipelines import CONCAT, LISTENER, trainable
from spacy.language import Language
from spacy.tokens import Doc

TEXTS = ("Zyx saw a qwopy bank .", "Kvarn left . Ann Lee stayed .", "")


def new_words(start: int, n_texts: int) -> Iterator[str]:
    """Yield texts of words that the vocab has not seen."""
    for number in range(start, start + n_texts):
        yield f"x{number}a y{number}b saw the z{number}c bank ."


@pytest.fixture
def heads(weights: Path) -> Language:
    """A pipeline with elmo and two heads that listen to it."""
    return trainable({"tagger": LISTENER, "ner": CONCAT}, weights)


def test_vectors_in_a_zone_are_those_outside(heads: Language) -> None:
    expected = [
        (d.tensor, d._.elmo.layers, [t.tag_ for t in d]) for d in map(heads, TEXTS)
    ]
    for _ in range(2):
        with heads.memory_zone():
            for doc, (tensor, layers, tags) in zip(heads.pipe(TEXTS), expected):
                np.testing.assert_allclose(doc.tensor, tensor, atol=1e-6)
                np.testing.assert_allclose(doc._.elmo.layers, layers, atol=1e-6)
                assert [token.tag_ for token in doc] == tags


def test_vocab_does_not_grow(heads: Language) -> None:
    for text in TEXTS:
        heads(text)
    n_lexemes, n_strings = len(list(heads.vocab)), len(heads.vocab.strings)
    for start in range(0, 60, 20):
        with heads.memory_zone():
            for doc in heads.pipe(new_words(start, 20)):
                assert doc.has_vector
        # Not len(vocab), which spaCy does not reset.
        assert len(list(heads.vocab)) == n_lexemes
        assert len(heads.vocab.strings) == n_strings


def test_arrays_outlive_their_zone(nlp: Language) -> None:
    """The arrays are NumPy's own: a service may return them."""
    expected = nlp(TEXTS[0]).tensor
    with nlp.memory_zone():
        doc = nlp(TEXTS[0])
        vector, layers = doc.vector, doc._.elmo.layers
        del doc
    gc.collect()
    assert np.array_equal(vector, expected.mean(axis=0))
    assert layers.shape[1] == len(expected)


def test_no_doc_is_kept(heads: Language) -> None:
    """A doc that a component kept would point into freed memory after the zone."""
    n_docs = count_docs()
    with heads.memory_zone():
        docs = list(heads.pipe(new_words(0, 5)))
        assert count_docs() == n_docs + 5
        del docs
        assert count_docs() == n_docs


def count_docs() -> int:
    gc.collect()
    return sum(type(item) is Doc for item in gc.get_objects())
