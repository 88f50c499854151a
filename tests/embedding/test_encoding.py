"""A stream of sentences -> a stream of their layers."""

from __future__ import annotations

from typing import Iterator

import numpy as np
import pytest

from spacy_elmo import BiLM
from spacy_elmo.embedding.encoding import check_layer, encode_stream, select_layer

SENTENCES = [["a", "word"] * (1 + number % 5) for number in range(60)]


def test_same_layers_as_encode(tiny_bilm: BiLM) -> None:
    sentences = [*SENTENCES, [], ["one", "more"]]
    stream = encode_stream(tiny_bilm, iter(sentences), batch_tokens=20)
    for (words, found), expected, sentence in zip(
        stream, tiny_bilm.encode(sentences), sentences
    ):
        assert words == sentence
        np.testing.assert_allclose(found, expected, atol=1e-5)
    assert next(stream, None) is None


def test_sentences_are_streamed(tiny_bilm: BiLM) -> None:
    n_read = 0

    def sentences() -> Iterator[list[str]]:
        nonlocal n_read
        for sentence in SENTENCES:
            n_read += 1
            yield sentence

    stream = encode_stream(tiny_bilm, sentences(), batch_tokens=10)
    next(stream)
    assert 0 < n_read < 15
    assert 1 + sum(1 for _ in stream) == len(SENTENCES)


def test_invalid_settings(tiny_bilm: BiLM) -> None:
    with pytest.raises(ValueError, match="batch_tokens: expected"):
        next(encode_stream(tiny_bilm, SENTENCES, batch_tokens=0))
    with pytest.raises(ValueError, match="precision: expected"):
        next(encode_stream(tiny_bilm, SENTENCES, precision="float8"))


def test_layers_by_name_and_number(tiny_bilm: BiLM) -> None:
    layers = tiny_bilm.encode([["a", "word"]])[0]
    for name, expected in (
        ("all", layers),
        ("top", layers[2]),
        ("mean", layers.mean(axis=0)),
        ("0", layers[0]),
        ("1", layers[1]),
        ("2", layers[2]),
    ):
        check_layer(name, tiny_bilm, ("all", "top", "mean"))
        np.testing.assert_array_equal(select_layer(layers, name), expected)


@pytest.mark.parametrize("layer", ["all", "3", "-1", "bottom", ""])
def test_unknown_layers(tiny_bilm: BiLM, layer: str) -> None:
    with pytest.raises(ValueError, match="expected top, mean, 0, 1, 2, found"):
        check_layer(layer, tiny_bilm, ("top", "mean"))
