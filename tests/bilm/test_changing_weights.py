"""Packed weights and cached words are discarded when the weights change."""

from __future__ import annotations

import copy
from typing import Callable

import numpy as np
import pytest
import torch
from torch import nn

from spacy_elmo import BiLM, BiLMConfig

SENTENCES = [["She", "sat", "on", "the", "river", "bank"], ["He"], ["robbed", "it"]]
PRECISIONS = pytest.mark.parametrize("precision", ["float32", "bfloat16"])


def encode(bilm: BiLM, precision: str = "float32") -> np.ndarray:
    return np.concatenate(bilm.encode(SENTENCES, precision=precision), axis=1)


def fresh(bilm: BiLM, precision: str = "float32") -> np.ndarray:
    """Encode with the present weights and empty caches."""
    copied = BiLM(bilm.config, bilm.characters)
    copied.to(next(bilm.parameters()).dtype)
    copied.load_state_dict(bilm.state_dict())
    return encode(copied, precision)


def check(bilm: BiLM, precision: str = "float32") -> np.ndarray:
    results = encode(bilm, precision)
    np.testing.assert_allclose(results, fresh(bilm, precision), rtol=1e-5, atol=1e-5)
    return results


def names(bilm: BiLM) -> list[str]:
    return [name for name, _ in bilm.named_parameters()]


@PRECISIONS
def test_every_parameter_matters(bilm: BiLM, precision: str) -> None:
    for name in names(bilm):
        before = check(bilm, precision)
        with torch.no_grad():
            bilm.get_parameter(name).mul_(1.5)
        after = check(bilm, precision)
        # Some biases are initialized to 0, which the multiplication does not change.
        assert np.abs(after - before).max() > 1e-4 or not bilm.get_parameter(name).any()


def _adam(bilm: BiLM) -> None:
    bilm(SENTENCES).square().mean().backward()
    torch.optim.Adam(bilm.parameters(), lr=0.01).step()


def _fused(bilm: BiLM) -> None:
    bilm(SENTENCES).square().mean().backward()
    torch.optim.AdamW(bilm.parameters(), lr=0.01, fused=True).step()


def _load_state_dict(bilm: BiLM) -> None:
    bilm.load_state_dict({k: v * 0.9 for k, v in bilm.state_dict().items()})


def _assign_state_dict(bilm: BiLM) -> None:
    halves = {k: v * 0.9 for k, v in bilm.state_dict().items()}
    bilm.load_state_dict(halves, assign=True)


def _in_place(bilm: BiLM) -> None:
    with torch.no_grad():
        for parameter in bilm.parameters():
            parameter.mul_(0.9)


def _through_a_view(bilm: BiLM) -> None:
    with torch.no_grad():
        bilm.character_encoder.char_embedding.weight.view(-1)[::2].add_(0.5)


def _new_data(bilm: BiLM) -> None:
    for parameter in bilm.parameters():
        parameter.data = parameter.data * 0.9


def _new_parameter(bilm: BiLM) -> None:
    layer = bilm.character_encoder.projection
    assert layer is not None
    layer.weight = nn.Parameter(layer.weight.detach() * 0.9)


def _new_layer(bilm: BiLM) -> None:
    old = bilm.character_encoder.projection
    assert old is not None
    bilm.character_encoder.projection = nn.Linear(old.in_features, old.out_features)


def _inference_mode(bilm: BiLM) -> None:
    with torch.inference_mode():
        bilm.forward_layers[0].weight_hh.mul_(0.5)


CHANGES = [
    _adam,
    _fused,
    _load_state_dict,
    _assign_state_dict,
    _in_place,
    _through_a_view,
    _new_data,
    _new_parameter,
    _new_layer,
    _inference_mode,
]


@pytest.mark.parametrize("change", CHANGES)
@PRECISIONS
def test_changes_are_noticed(
    bilm: BiLM, change: Callable[[BiLM], None], precision: str
) -> None:
    before = check(bilm, precision)
    for _ in range(3):
        change(bilm)
        after = check(bilm, precision)
        assert np.abs(after - before).max() > 1e-3
        before = after


@pytest.mark.parametrize(
    "size", [{}, {"dim": 512, "projection_dim": 128, "filters": ((3, 256),)}]
)
@PRECISIONS
def test_reused_memory_is_not_mistaken_for_the_same_weights(
    tiny_config: BiLMConfig, size: dict[str, int], precision: str
) -> None:
    """New weights may reuse the addresses of freed weights."""
    torch.manual_seed(0)
    bilm = BiLM(tiny_config.replace(n_layers=1, **size))
    for name in names(bilm):
        parameter = bilm.get_parameter(name)
        for _ in range(3):
            encode(bilm, precision)
            for factor in (1.1, 1.2):
                parameter.data = parameter.data * factor
            check(bilm, precision)


@PRECISIONS
def test_other_dtypes(bilm: BiLM, precision: str) -> None:
    check(bilm, precision)
    bilm.double()
    exact = check(bilm, precision)
    bilm.half().float()
    assert np.abs(check(bilm, precision) - exact).max() > 1e-4


def test_functional_call_uses_its_own_weights(bilm: BiLM) -> None:
    before = check(bilm)
    weights = {k: v.detach().clone() for k, v in bilm.named_parameters()}
    for factor in (0.5, 0.9, 1.5, 2.0):
        others = {k: v * factor for k, v in weights.items()}
        expected = copy.deepcopy(bilm)
        expected.load_state_dict(others)
        with torch.no_grad():
            results = torch.func.functional_call(bilm, others, (SENTENCES,))
        del others
        np.testing.assert_allclose(results, encode(expected), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(encode(bilm), before, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["numpy", "data"])
def test_clear_cache_after_changes_that_are_not_noticed(bilm: BiLM, name: str) -> None:
    before = check(bilm)
    for parameter in bilm.parameters():
        if name == "numpy":
            parameter.detach().numpy()[...] *= 0.9
        else:
            parameter.data.mul_(0.9)
    bilm.clear_cache()
    assert np.abs(check(bilm) - before).max() > 1e-3
