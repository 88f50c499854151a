"""The fast way without gradients gives what the way with gradients gives."""

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

SIZES: dict[str, dict[str, Any]] = {
    "as it is": {},
    "clips that bind": {"cell_clip": 0.5, "proj_clip": 0.2},
    "no clips": {"cell_clip": None, "proj_clip": None},
    "no LSTM projection": {"dim": 8},
    "no LSTM projection, clips": {"dim": 8, "cell_clip": 0.5, "proj_clip": 0.2},
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


def made(config: BiLMConfig, **changes: Any) -> BiLM:
    torch.manual_seed(0)
    bilm = BiLM(config.replace(**changes))
    with torch.no_grad():
        for parameter in bilm.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.3)
    return bilm


def error(found: Tensor, expected: Tensor) -> float:
    """The largest one in each layer, in units of its largest value."""
    assert found.shape == expected.shape
    assert not found.requires_grad
    assert expected.requires_grad
    worst = (found - expected.detach()).abs().amax(dim=(1, 2))
    return float((worst / expected.detach().abs().amax(dim=(1, 2))).max())


def without(bilm: BiLM, **settings: Any) -> Tensor:
    return torch.from_numpy(np.concatenate(bilm.encode(SENTENCES, **settings), axis=1))


def similarity(one: Tensor, other: Tensor) -> float:
    return float(torch.cosine_similarity(one, other, dim=2).min().detach())


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_every_size(
    tiny_config: BiLMConfig,
    size: dict[str, Any],
) -> None:
    """Cold, then warm, in one batch and in several."""
    bilm = made(tiny_config, **size)
    expected = bilm(SENTENCES)
    for batch_tokens in (4096, 12, 4096):
        assert error(without(bilm, batch_tokens=batch_tokens), expected) < 1e-5
    with torch.no_grad():
        assert error(bilm(SENTENCES, 12), expected) < 1e-5
    rough = without(bilm, precision="bfloat16")
    assert 1e-5 < error(rough, expected) < 0.2
    assert similarity(rough, expected) > 0.99
    assert similarity(bilm(SENTENCES, precision="bfloat16"), rough) > 0.999


def test_the_clips_did_bind(tiny_config: BiLMConfig) -> None:
    """Or the sizes above show less than they say."""
    bilm = made(tiny_config, cell_clip=0.5, proj_clip=0.2, use_skip_connections=False)
    bounds = without(bilm)[1:].abs()
    assert (bounds == np.float32(0.2)).any()
    assert (bounds < 0.2).any()


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_every_size_in_float64(tiny_config: BiLMConfig, size: dict[str, Any]) -> None:
    """What is left is no rounding."""
    bilm = made(tiny_config, **size).double()
    expected = bilm.encode_batch(SENTENCES[:2], dtype=torch.float64)[0]
    with torch.no_grad():
        for _ in range(2):
            found = bilm.encode_batch(SENTENCES[:2], dtype=torch.float64)[0]
            assert error(found, expected) < 1e-12


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_weights_of_another_dtype(tiny_config: BiLMConfig, dtype: torch.dtype) -> None:
    """What comes out is float32 nevertheless."""
    bilm = made(tiny_config)
    expected = without(bilm)
    found = bilm.to(dtype).encode(SENTENCES)
    assert {layers.dtype for layers in found} == {np.dtype("float32")}
    assert similarity(torch.from_numpy(np.concatenate(found, axis=1)), expected) > 0.98


def test_state_goes_on_the_same_way(tiny_config: BiLMConfig) -> None:
    bilm = made(tiny_config, cell_clip=0.5, proj_clip=0.2)
    streams = [[["a"], ["b", "c"]], [["d", "e", "f"], []], [["g"], ["h"]]]
    state = other = None
    for sentences in streams:
        layers, state = bilm.encode_batch(sentences, state)
        with torch.no_grad():
            found, other = bilm.encode_batch(sentences, other)
        assert error(found, layers) < 1e-5
        for one, two in zip(state, other):
            torch.testing.assert_close(one.hidden.detach(), two.hidden)
            torch.testing.assert_close(one.cell.detach(), two.cell)


def test_a_vocabulary_with_a_word_embedding(tiny_config: BiLMConfig) -> None:
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
        found = np.concatenate(bilm.encode(sentences), axis=1)
        assert error(torch.from_numpy(found), expected) < 1e-5


def test_gradients_flow_beside_what_is_kept(tiny_config: BiLMConfig) -> None:
    """Read first without them: the gradients are as if it had not been."""
    bilm = made(tiny_config)
    wanted = torch.autograd.grad(bilm(SENTENCES).sum(), list(bilm.parameters()))
    without(bilm)
    assert bilm.prepared is not None
    found = torch.autograd.grad(bilm(SENTENCES).sum(), list(bilm.parameters()))
    for one, other in zip(found, wanted):
        assert torch.equal(one, other)


@pytest.mark.parametrize("sentences", [[], [[]], [["word"]], [[""]], [[], ["a"]]])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_hardly_anything(
    tiny_bilm: BiLM, sentences: list[list[str]], precision: str
) -> None:
    for _ in range(2):
        found = tiny_bilm.encode(sentences, precision=precision)
        assert [array.shape for array in found] == [(3, len(s), 16) for s in sentences]
        assert all(array.dtype == np.float32 for array in found)
        for array, sentence in zip(found, sentences):
            if sentence:
                expected = tiny_bilm([sentence], precision=precision).detach()
                assert similarity(torch.from_numpy(array), expected) > 0.999
