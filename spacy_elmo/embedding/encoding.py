"""A stream of sentences -> a stream of their layers."""

from itertools import chain
from typing import Iterable, Iterator, List, Sequence, Tuple

import numpy as np

from ..bilm import BiLM
from ..bilm.model import DEFAULT_BATCH_TOKENS

ALL, TOP, MEAN = "all", "top", "mean"

_BATCHES_AT_ONCE = 4
"""Sentences of so many batches are sorted by length together."""


def encode_stream(
    bilm: BiLM,
    sentences: Iterable[List[str]],
    *,
    batch_tokens: int = DEFAULT_BATCH_TOKENS,
    precision: str = "float32",
) -> Iterator[Tuple[List[str], np.ndarray]]:
    """Each sentence with all of its layers, as `BiLM.encode` has them, in the order
    given; a few batches are in memory at once.

    Raises ValueError for a batch_tokens under 1 or an unknown precision.
    """
    for some in _in_portions(sentences, _BATCHES_AT_ONCE * batch_tokens):
        yield from zip(some, bilm.encode(some, batch_tokens, precision))


def _in_portions(
    sentences: Iterable[List[str]], n_words: int
) -> Iterator[List[List[str]]]:
    portion: List[List[str]] = []
    size = 0
    for sentence in sentences:
        portion.append(sentence)
        size += len(sentence) + 2
        if size >= n_words:
            yield portion
            portion, size = [], 0
    if portion:
        yield portion


def check_layer(layer: str, bilm: BiLM, names: Sequence[str]) -> None:
    """Raises ValueError for a layer that the biLM does not have.

    layer: one of `names`, or a number: 0 is the words' own vectors, from their
        characters alone, then come the LSTM layers.
    """
    numbers = [str(number) for number in range(bilm.config.n_layers + 1)]
    expected = list(chain(names, numbers))
    if layer not in expected:
        raise ValueError(f"layer: expected {', '.join(expected)}, found {layer!r}.")


def select_layer(layers: np.ndarray, layer: str) -> np.ndarray:
    """(n_layers + 1, n_words, width) -> (n_words, width); all of it for "all"."""
    if layer == ALL:
        return layers
    if layer == MEAN:
        return layers.mean(axis=0)
    return layers[-1 if layer == TOP else int(layer)]
