"""The learned mix of layers, against its formula in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from spacy_elmo import ScalarMix
from spacy_elmo.bilm import mix_layers, scalar_mix


def formula(
    layers: np.ndarray, w: np.ndarray, gamma: float, *, layer_norm: bool
) -> np.ndarray:
    """gamma Σ_j s_j h_kj, s = softmax(w), word by word."""
    s = np.exp(w) / np.exp(w).sum()
    if layer_norm:
        mean = layers.mean(axis=-1, keepdims=True)
        variance = ((layers - mean) ** 2).mean(axis=-1, keepdims=True)
        layers = (layers - mean) / np.sqrt(variance + 1e-5)
    return gamma * sum(share * layer for share, layer in zip(s, layers))


@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize("shape", [(3, 5, 8), (2, 4), (4, 2, 3, 6), (3, 0, 8)])
def test_formula(shape: tuple[int, ...], layer_norm: bool) -> None:
    rng = np.random.default_rng(0)
    layers, w = rng.normal(2.0, 3.0, shape), rng.normal(size=shape[0])
    found = scalar_mix(
        torch.from_numpy(layers),
        torch.from_numpy(w),
        torch.tensor([0.7], dtype=torch.float64),
        layer_norm=layer_norm,
    )
    expected = formula(layers, w, 0.7, layer_norm=layer_norm)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12)


def test_initial_mix_is_the_mean() -> None:
    layers = torch.randn(3, 5, 8)
    torch.testing.assert_close(ScalarMix(3)(layers), layers.mean(dim=0))


def test_fixed_weights() -> None:
    layers = torch.randn(3, 5, 8)
    mixed = mix_layers(layers, torch.tensor([0.5, 0.0, -1.0]))
    torch.testing.assert_close(mixed, 0.5 * layers[0] - layers[2])


def test_layer_norm_is_per_word() -> None:
    """A word's vector does not depend on its neighbors, unlike in AllenNLP."""
    layers, mix = torch.randn(3, 5, 8), ScalarMix(3, layer_norm=True)
    others = layers.clone()
    others[:, 1:] = 100 * torch.randn(3, 4, 8)
    torch.testing.assert_close(mix(layers)[0], mix(others)[0])
    torch.testing.assert_close(mix(layers[:, :1])[0], mix(layers)[0])
    assert not torch.allclose(mix(layers)[0], ScalarMix(3)(layers)[0])


@pytest.mark.parametrize("layer_norm", [False, True])
def test_gradients_reach_everything(layer_norm: bool) -> None:
    layers = torch.randn(3, 2, 4, dtype=torch.float64, requires_grad=True)
    scalars = torch.randn(3, dtype=torch.float64, requires_grad=True)
    gamma = torch.tensor([1.3], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda *args: scalar_mix(*args, layer_norm=layer_norm), (layers, scalars, gamma)
    )
    mix = ScalarMix(3, layer_norm=layer_norm)
    mix(torch.randn(3, 2, 4)).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in mix.parameters())
