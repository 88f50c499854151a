"""A sentence has the same vectors alone, in any batch and in any order."""

from __future__ import annotations

from random import Random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_elmo import BiLM

any_text = st.text(st.characters() | st.sampled_from("\ud800\udfff"), max_size=12)
long_words = st.builds(str.__mul__, st.sampled_from("xé日"), st.integers(40, 200))
any_word = any_text | long_words | st.sampled_from(["", "<S>", "</S>", "the"])
some_sentences = st.lists(st.lists(any_word, max_size=9), max_size=6)


def same(one: np.ndarray, other: np.ndarray) -> None:
    assert one.shape == other.shape
    assert np.abs(one - other).max(initial=0.0) <= 1e-5


@settings(max_examples=60, deadline=None)
@given(some_sentences, st.integers(1, 40), st.randoms(use_true_random=False))
def test_vectors_do_not_depend_on_the_batch(
    tiny_bilm: BiLM, sentences: list[list[str]], batch_tokens: int, random: Random
) -> None:
    together = tiny_bilm.encode(sentences)
    order = list(range(len(sentences)))
    random.shuffle(order)
    shuffled = tiny_bilm.encode([sentences[n] for n in order], batch_tokens)
    assert len(together) == len(sentences)
    for position, number in enumerate(order):
        same(shuffled[position], together[number])
    for sentence, layers in zip(sentences, together):
        assert layers.shape == (3, len(sentence), 16)
        assert np.isfinite(layers).all()
        same(tiny_bilm.encode([sentence])[0], layers)


def test_repeated_calls_carry_no_state(tiny_bilm: BiLM) -> None:
    sentences = [["She", "sat", "."], ["bank"]]
    first = tiny_bilm.encode(sentences)
    tiny_bilm.encode([["something", "else"]])
    for one, other in zip(first, tiny_bilm.encode(sentences)):
        assert (one == other).all()
