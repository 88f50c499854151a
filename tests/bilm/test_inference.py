"""Inference, with packed weights and cached words, equals the pass with gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from spacy_elmo import BiLM, BiLMConfig
from spacy_elmo.bilm import VocabularyCharacters

SENTENCES = [
    ["She", "sat", "on", "the", "river", "bank", ",", "which", "was", "wet", "."],
    ["He", "robbed", "the", "bank", "."],
    [],
    [""],
    ["naïve", "日本語" * 20, "x" * 70],
    ["the"],
]

OPTIONS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "tight clips": {"cell_clip": 0.5, "proj_clip": 0.2},
    "no clips": {"cell_clip": None, "proj_clip": None},
    "no LSTM projection": {"dim": 8},
    "no LSTM projection, tight clips": {"dim": 8, "cell_clip": 0.5, "proj_clip": 0.2},
    "no token projection": {"filters": ((1, 3), (2, 5))},
    "neither projection": {"filters": ((1, 3), (2, 5)), "dim": 8},
    "no skip connections": {"use_skip_connections": False},
    "one layer": {"n_layers": 1},
    "four layers": {"n_layers": 4},
    "no highway": {"n_highway": 0},
    "three highways, tanh": {"n_highway": 3, "activation": "tanh"},
    "forget bias in the weights": {"forget_bias": 0.0},
    "wide filters": {"filters": ((7, 20), (1, 5)), "max_characters_per_token": 9},
}


def make(config: BiLMConfig, **changes: Any) -> BiLM:
    torch.manual_seed(0)
    bilm = BiLM(config.replace(**changes))
    with torch.no_grad():
        for parameter in bilm.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.3)
    return bilm


def error(results: Tensor, expected: Tensor) -> float:
    """Return the largest error relative to the largest value of its layer."""
    assert results.shape == expected.shape
    assert not results.requires_grad
    assert expected.requires_grad
    worst = (results - expected.detach()).abs().amax(dim=(1, 2))
    return float((worst / expected.detach().abs().amax(dim=(1, 2))).max())


def encode(bilm: BiLM, **settings: Any) -> Tensor:
    return torch.from_numpy(np.concatenate(bilm.encode(SENTENCES, **settings), axis=1))


def similarity(one: Tensor, other: Tensor) -> float:
    return float(torch.cosine_similarity(one, other, dim=2).min().detach())


@pytest.mark.parametrize("option", OPTIONS.values(), ids=OPTIONS)
def test_every_option(
    tiny_config: BiLMConfig,
    option: dict[str, Any],
) -> None:
    """Cold and warm, in one batch and in several."""
    bilm = make(tiny_config, **option)
    expected = bilm(SENTENCES)
    for batch_tokens in (4096, 12, 4096):
        assert error(encode(bilm, batch_tokens=batch_tokens), expected) < 1e-5
    with torch.no_grad():
        assert error(bilm(SENTENCES, 12), expected) < 1e-5
    rough = encode(bilm, precision="bfloat16")
    assert 1e-5 < error(rough, expected) < 0.2
    assert similarity(rough, expected) > 0.99
    assert similarity(bilm(SENTENCES, precision="bfloat16"), rough) > 0.999


def test_tight_clips_take_effect(tiny_config: BiLMConfig) -> None:
    """Otherwise the test above would prove nothing about clips."""
    bilm = make(tiny_config, cell_clip=0.5, proj_clip=0.2, use_skip_connections=False)
    bounds = encode(bilm)[1:].abs()
    assert (bounds == np.float32(0.2)).any()
    assert (bounds < 0.2).any()


@pytest.mark.parametrize("option", OPTIONS.values(), ids=OPTIONS)
def test_every_option_in_float64(
    tiny_config: BiLMConfig, option: dict[str, Any]
) -> None:
    """Without rounding errors."""
    bilm = make(tiny_config, **option).double()
    expected = bilm.encode_batch(SENTENCES[:2], dtype=torch.float64)[0]
    with torch.no_grad():
        for _ in range(2):
            results = bilm.encode_batch(SENTENCES[:2], dtype=torch.float64)[0]
            assert error(results, expected) < 1e-12


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_other_weight_dtypes(tiny_config: BiLMConfig, dtype: torch.dtype) -> None:
    """The result is always float32."""
    bilm = make(tiny_config)
    expected = encode(bilm)
    results = bilm.to(dtype).encode(SENTENCES)
    assert {layers.dtype for layers in results} == {np.dtype("float32")}
    assert (
        similarity(torch.from_numpy(np.concatenate(results, axis=1)), expected) > 0.98
    )


def test_carried_state(tiny_config: BiLMConfig) -> None:
    bilm = make(tiny_config, cell_clip=0.5, proj_clip=0.2)
    streams = [[["a"], ["b", "c"]], [["d", "e", "f"], []], [["g"], ["h"]]]
    state = other = None
    for sentences in streams:
        layers, state = bilm.encode_batch(sentences, state)
        with torch.no_grad():
            results, other = bilm.encode_batch(sentences, other)
        assert error(results, layers) < 1e-5
        for one, two in zip(state, other):
            torch.testing.assert_close(one.hidden.detach(), two.hidden)
            torch.testing.assert_close(one.cell.detach(), two.cell)


def test_vocabulary_with_a_word_embedding(tiny_config: BiLMConfig) -> None:
    tokens = ("<bow>", "<eow>", "<oov>", "<pad>", "<bos>", "<eos>", *"abcdefgh")
    words = {word: n for n, word in enumerate(("<oov>", "<bos>", "<eos>", "a", "bad"))}
    scheme = VocabularyCharacters({t: n for n, t in enumerate(tokens)}, words, 50)
    torch.manual_seed(0)
    bilm = BiLM(
        tiny_config.replace(
            characters="vocabulary", n_characters=len(tokens), word_dim=5, n_words=5
        ),
        scheme,
    )
    sentences = [["a", "bad", "cab"], ["bad", "dad"], ["é"]]
    expected = bilm(sentences)
    for _ in range(2):
        results = np.concatenate(bilm.encode(sentences), axis=1)
        assert error(torch.from_numpy(results), expected) < 1e-5


def test_gradients_after_encoding(tiny_config: BiLMConfig) -> None:
    """Encoding first does not change the gradients."""
    bilm = make(tiny_config)
    expected = torch.autograd.grad(bilm(SENTENCES).sum(), list(bilm.parameters()))
    encode(bilm)
    assert bilm.prepared is not None
    results = torch.autograd.grad(bilm(SENTENCES).sum(), list(bilm.parameters()))
    for one, other in zip(results, expected):
        assert torch.equal(one, other)
