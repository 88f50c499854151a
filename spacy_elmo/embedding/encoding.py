"""A stream of sentences -> a stream of their layers."""

from typing import Iterable, Iterator, List, Sequence, Tuple

import numpy as np

from ..bilm import BiLM
from ..bilm.batching import DEFAULT_BATCH_TOKENS
from .threads import prefetch

ALL, TOP, MEAN = "all", "top", "mean"

_BATCHES_PER_BUFFER = 4
"""Number of batches to buffer, so that sentences of similar length share a batch."""


def encode_stream(
    bilm: BiLM,
    sentences: Iterable[List[str]],
    *,
    batch_tokens: int = DEFAULT_BATCH_TOKENS,
    precision: str = "float32",
) -> Iterator[Tuple[List[str], np.ndarray]]:
    """Encode sentences with only a few batches in memory.

    bilm (BiLM): The network.
    sentences (Iterable[List[str]]): Tokenized sentences. They are read in a thread,
        so that tokenizing the next ones does not delay the network.
    batch_tokens (int): Maximum number of tokens per batch.
    precision (str): As for `BiLM.encode`.
    YIELDS (Tuple[List[str], ndarray]): Each sentence, in order, and its layers, of
        shape (n_layers + 1, n_words, width).
    RAISES: ValueError if `batch_tokens` is less than 1 or `precision` is unknown.
    """
    for buffer in prefetch(_buffer(sentences, _BATCHES_PER_BUFFER * batch_tokens)):
        yield from zip(buffer, bilm.encode(buffer, batch_tokens, precision))


def _buffer(sentences: Iterable[List[str]], n_words: int) -> Iterator[List[List[str]]]:
    buffer: List[List[str]] = []
    size = 0
    for sentence in sentences:
        buffer.append(sentence)
        size += len(sentence) + 2
        if size >= n_words:
            yield buffer
            buffer, size = [], 0
    if buffer:
        yield buffer


def check_layer(layer: str, bilm: BiLM, names: Sequence[str]) -> None:
    """Check the name of a layer.

    layer (str): One of `names`, or a number: 0 for the context-free word vectors,
        computed from characters alone, 1 and up for the LSTM layers.
    bilm (BiLM): The network.
    names (Sequence[str]): The names that are allowed besides numbers.
    RAISES: ValueError if the biLM has no such layer.
    """
    expected = [*names, *(str(i) for i in range(bilm.config.n_layers + 1))]
    if layer not in expected:
        raise ValueError(f"layer: expected {', '.join(expected)}, found {layer!r}.")


def select_layer(layers: np.ndarray, layer: str) -> np.ndarray:
    """Select or average layers.

    layers (ndarray): All layers, of shape (n_layers + 1, n_words, width).
    layer (str): "all", "top", "mean", or a number.
    RETURNS (ndarray): An array of shape (n_words, width), or `layers` for "all".
    """
    if layer == ALL:
        return layers
    if layer == MEAN:
        return layers.mean(axis=0)
    return layers[-1 if layer == TOP else int(layer)]
