"""The exact softmax, and the loss of a sampled one, against plain formulas."""

from __future__ import annotations

import math

import pytest
import torch
from helpers import reference
from torch import Tensor

from spacy_elmo.bilm.backends import torch_softmax
from spacy_elmo.bilm.backends.torch_softmax import entropy
from spacy_elmo.bilm.backends.torch_softmax import sampled_loss as row_loss

N, WIDTH, N_SAMPLES = 7, 4, 5
# Targets 1, 4 and 5 are the first, the last and the third sample.
COLUMNS = [0, 1, 0, 0, 5, 3, 0]


def given(
    columns: list[int] | None = None, dtype: torch.dtype = torch.float64
) -> tuple[list[Tensor], Tensor]:
    """hidden, true_rows, true_bias, drawn_rows, drawn_bias; columns."""
    torch.manual_seed(0)
    where = torch.tensor(COLUMNS if columns is None else columns)
    hidden = torch.randn(len(where), WIDTH, dtype=dtype)
    drawn_rows = torch.randn(N_SAMPLES, WIDTH, dtype=dtype)
    drawn_bias = torch.randn(N_SAMPLES, dtype=dtype)
    true_rows = torch.randn(len(where), WIDTH, dtype=dtype)
    true_bias = torch.randn(len(where), dtype=dtype)
    for place, column in enumerate(where.tolist()):
        if column:
            true_rows[place] = drawn_rows[column - 1]
            true_bias[place] = drawn_bias[column - 1]
    tensors = [hidden, true_rows, true_bias, drawn_rows, drawn_bias]
    return [tensor.requires_grad_() for tensor in tensors], where


def plainly(
    hidden: Tensor,
    true_rows: Tensor,
    true_bias: Tensor,
    rows: Tensor,
    bias: Tensor,
    columns: Tensor,
) -> Tensor:
    true_logits = (hidden * true_rows).sum(dim=1) + true_bias
    return reference.sampled_loss(hidden, true_logits, rows, bias, columns)


def sampled_loss(
    hidden: Tensor,
    true_rows: Tensor,
    true_bias: Tensor,
    rows: Tensor,
    bias: Tensor,
    columns: Tensor,
    dtype: torch.dtype,
) -> Tensor:
    true_logits = (hidden * true_rows).sum(dim=1) + true_bias
    return row_loss(hidden, true_logits, rows, bias, columns, dtype)


def close(found: Tensor, expected: Tensor, tolerance: float) -> bool:
    assert found.shape == expected.shape
    return bool((found - expected).abs().max() <= tolerance * expected.abs().max())


def test_entropy_at_the_limits() -> None:
    log_probs = torch.tensor([[0.0, -math.inf], [math.nan, -1.0]])
    found = entropy(log_probs)
    assert found[0] == 0
    assert found[1].isnan()


@pytest.mark.parametrize("columns", [COLUMNS, [0] * N, [2] * N, [4], [0]])
@pytest.mark.parametrize("at_once", [1, 2 * N_SAMPLES, 3 * N_SAMPLES, 1 << 20])
def test_equals_a_cross_entropy_with_gradients(
    columns: list[int], at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With any chunk size."""
    monkeypatch.setattr(torch_softmax, "_CHUNK_SIZE", at_once)
    tensors, where = given(columns)
    found = sampled_loss(*tensors, where, torch.float64)
    expected = plainly(*tensors, where)
    torch.testing.assert_close(found, expected)
    towards = torch.randn_like(found)
    mine = torch.autograd.grad(found, tensors, towards, retain_graph=True)
    plain = torch.autograd.grad(expected, tensors, towards, materialize_grads=True)
    # A sampled target has its gradient among the samples only.
    for gradient in mine[1:3]:
        assert not gradient[where > 0].any()
    for one, other in zip(mine, plain):
        torch.testing.assert_close(one, other)
    for one, other in zip(mine, torch.autograd.grad(found, tensors, towards)):
        assert torch.equal(one, other)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("at_once", [N_SAMPLES, 1 << 20])
def test_precisions_are_close(
    dtype: torch.dtype, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_softmax, "_CHUNK_SIZE", at_once)
    tolerance = 1e-5 if dtype == torch.float32 else 2e-2
    exact, where = given()
    tensors = [t.detach().float().requires_grad_() for t in exact]
    found, expected = sampled_loss(*tensors, where, dtype), plainly(*exact, where)
    assert found.dtype == torch.float32
    assert close(found, expected, tolerance)
    assert close(found, expected, 1e-5) == (dtype == torch.float32)
    mine = torch.autograd.grad(found.sum(), tensors)
    for one, other in zip(mine, torch.autograd.grad(expected.sum(), exact)):
        assert one.dtype == torch.float32
        assert close(one, other, tolerance)


@pytest.mark.parametrize("which", [[0], [1], [2], [3], [4], [0, 1], [3, 4], [1, 2]])
def test_gradients_of_some_inputs(which: list[int]) -> None:
    tensors, where = given()
    expected = torch.autograd.grad(plainly(*tensors, where).sum(), tensors)
    for number, tensor in enumerate(tensors):
        tensor.requires_grad_(number in which)
    sampled_loss(*tensors, where, torch.float64).sum().backward()
    for number, tensor in enumerate(tensors):
        assert (tensor.grad is not None) == (number in which)
        if tensor.grad is not None:
            torch.testing.assert_close(tensor.grad, expected[number])


def test_without_gradients() -> None:
    tensors, where = given()
    with torch.no_grad():
        found = sampled_loss(*tensors, where, torch.float64)
    assert not found.requires_grad
    torch.testing.assert_close(found, plainly(*tensors, where).detach())


def test_logits_beyond_the_range_of_exp() -> None:
    """Loss and gradients stay finite and correct."""
    tensors, where = given()
    with torch.no_grad():
        tensors[0] *= 2000.0
        tensors[4][1] = -1e6
    found, expected = (
        sampled_loss(*tensors, where, torch.float64),
        plainly(*tensors, where),
    )
    assert expected.max() > 1000
    torch.testing.assert_close(found, expected)
    mine = torch.autograd.grad(found.sum(), tensors)
    for one, other in zip(mine, torch.autograd.grad(expected.sum(), tensors)):
        assert one.isfinite().all()
        torch.testing.assert_close(one, other)


def test_no_targets() -> None:
    tensors, where = given([])
    tensors = [tensor.detach().requires_grad_() for tensor in tensors]
    loss = sampled_loss(*tensors, where.long(), torch.float64)
    assert loss.shape == (0,)
    loss.sum().backward()
    assert all(not tensor.grad.any() for tensor in tensors if tensor.grad is not None)


def test_changes_before_backward_are_refused() -> None:
    """The backward pass recomputes the logits from the same rows."""
    for number in (0, 3, 4):
        tensors, where = given()
        loss = sampled_loss(*tensors, where, torch.float64).sum()
        with torch.no_grad():
            tensors[number].mul_(2)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()


@pytest.mark.parametrize("at_once", [1, 3 * N_SAMPLES, 1 << 20])
def test_scores_of_targets(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_softmax, "_CHUNK_SIZE", at_once)
    torch.manual_seed(0)
    weight = torch.randn(9, WIDTH, dtype=torch.float64)
    bias = torch.randn(9, dtype=torch.float64)
    hidden, targets = torch.randn(9, WIDTH, dtype=torch.float64), torch.arange(9)
    expected = torch.distributions.Categorical(logits=hidden @ weight.t() + bias)
    softmax = torch_softmax.ExactSoftmax(weight, bias)
    scores = softmax.score(hidden, targets)
    torch.testing.assert_close(scores.log_probs, expected.log_prob(targets))
    torch.testing.assert_close(scores.entropies, expected.entropy())
    torch.testing.assert_close(softmax.nll(hidden, targets), -scores.log_probs)


def test_entropy_of_a_certain_word() -> None:
    bias = torch.tensor([0.0, -torch.inf, -1e6])
    softmax = torch_softmax.ExactSoftmax(torch.zeros(3, WIDTH), bias)
    scores = softmax.score(torch.ones(1, WIDTH), torch.tensor([0]))
    assert float(scores.log_probs) == float(scores.entropies) == 0
