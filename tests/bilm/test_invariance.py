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


@settings(max_examples=20, deadline=None)
@given(st.lists(any_word, min_size=1, max_size=8), some_sentences)
def test_layer_0_does_not_depend_on_context(
    tiny_bilm: BiLM, words: list[str], others: list[list[str]]
) -> None:
    layers = tiny_bilm.encode([words, *others])[0]
    for k, word in enumerate(words):
        same(tiny_bilm.encode([[word]])[0][0, 0], layers[0, k])


def test_repeated_calls_carry_no_state(tiny_bilm: BiLM) -> None:
    sentences = [["She", "sat", "."], ["bank"]]
    first = tiny_bilm.encode(sentences)
    tiny_bilm.encode([["something", "else"]])
    for one, other in zip(first, tiny_bilm.encode(sentences)):
        assert (one == other).all()


def test_context_matters_above_layer_0(tiny_bilm: BiLM) -> None:
    """Otherwise the tests above would pass for a model of single words."""
    river, money = tiny_bilm.encode([["river", "bank", "."], ["robbed", "bank", "."]])
    same(river[0, 1], money[0, 1])
    for layer in (1, 2):
        assert np.abs(river[layer, 1] - money[layer, 1]).max() > 1e-3
