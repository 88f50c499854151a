"""The compiled loss of a sampled softmax against a cross entropy in PyTorch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from spacy_elmo.bilm.backends import CPUBackend
from spacy_elmo.bilm.backends import cpu as kernels
from spacy_elmo.bilm.backends.cpu import available
from spacy_elmo.bilm.backends.cpu import softmax as loss

WIDTH, N_SAMPLES = 64, 192


def sampled_loss(
    hidden: Tensor,
    true_rows: Tensor,
    true_bias: Tensor,
    rows: Tensor,
    bias: Tensor,
    columns: Tensor,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    true_logits = (hidden * true_rows).sum(dim=1) + true_bias
    backend = CPUBackend(dtype)
    return backend.sampled_loss(hidden, true_logits, rows, bias, columns)


def given(n: int = 120, scale: float = 1.0) -> tuple[list[Tensor], Tensor]:
    """hidden, true_rows, true_bias, drawn_rows, drawn_bias; columns: every third target
    is among the drawn words, of all panels, the first and the last of them too."""
    torch.manual_seed(0)
    columns = torch.zeros(n, dtype=torch.int64)
    columns[::3] = torch.linspace(1, N_SAMPLES, len(columns[::3])).long()
    hidden = torch.randn(n, WIDTH) * scale
    drawn_rows, drawn_bias = torch.randn(N_SAMPLES, WIDTH), torch.randn(N_SAMPLES)
    true_rows, true_bias = torch.randn(n, WIDTH), torch.randn(n)
    is_drawn = columns > 0
    true_rows[is_drawn] = drawn_rows[columns[is_drawn] - 1]
    true_bias[is_drawn] = drawn_bias[columns[is_drawn] - 1]
    tensors = [hidden, true_rows, true_bias, drawn_rows, drawn_bias]
    return [tensor.requires_grad_() for tensor in tensors], columns


def plainly(tensors: list[Tensor], columns: Tensor) -> Tensor:
    hidden, true_rows, true_bias, drawn_rows, drawn_bias = tensors
    true = (hidden * true_rows).sum(dim=1) + true_bias
    drawn = hidden @ drawn_rows.t() + drawn_bias
    logits = torch.cat([true.masked_fill(columns > 0, -torch.inf)[:, None], drawn], 1)
    return F.cross_entropy(logits, columns, reduction="none")


def error(found: Tensor, exact: Tensor) -> float:
    return float((found - exact).detach().norm() / exact.detach().norm())


@pytest.mark.parametrize("n", [1, 7, 120])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 30.0])
@pytest.mark.parametrize("at_once", [1, 50 * N_SAMPLES, 1 << 21])
def test_numbers_and_gradients(
    n: int, scale: float, at_once: int, lanes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of chances that are all the same and of such that are 0 or 1, however many places
    are worked on at once."""
    monkeypatch.setattr(loss, "_AT_ONCE", at_once)
    own, columns = given(n, scale)
    found = sampled_loss(*own, columns)
    exact = [tensor.detach().double().requires_grad_() for tensor in own]
    wanted = plainly(exact, columns)
    assert error(found, wanted) < 2e-6
    towards = torch.rand_like(found)
    mine = torch.autograd.grad(found, own, towards, retain_graph=True)
    plain = torch.autograd.grad(wanted, exact, towards.double())
    for one, other in zip(mine[3:], plain[3:]):
        assert error(one, other) < 2e-5
    assert error(mine[0], plain[0]) < 2e-5
    # A drawn target has its gradient among the drawn words alone.
    for gradient in mine[1:3]:
        assert not gradient[columns > 0].any()
    again = torch.autograd.grad(found, own, towards)
    assert all(map(torch.equal, mine, again))


@pytest.mark.parametrize("native", [True, False])
def test_bfloat16(native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """No further off than PyTorch's products in it; float32 without instructions."""
    if available.why_absent() is not None:
        pytest.skip(f"no kernels here: {available.why_absent()}")
    if native and not available.multiply_bfloat16():
        pytest.skip("this processor has no instructions for bfloat16")
    monkeypatch.setattr(available, "multiply_bfloat16", lambda: native)
    exact, columns = given(n=77)
    wanted = plainly(exact, columns)
    towards = torch.rand_like(wanted)
    plain = torch.autograd.grad(wanted, exact, towards)
    errors = []
    for enabled in (True, False):
        with kernels.flags(enabled=enabled):
            own, _ = given(n=77)
            found = sampled_loss(*own, columns, torch.bfloat16)
            mine = torch.autograd.grad(found, own, towards)
        pairs = [(found, wanted), *zip(mine, plain)]
        assert {one.dtype for one, _ in pairs} == {torch.float32}
        errors.append([error(one, other) for one, other in pairs])
    for with_kernels, without in zip(*errors):
        assert with_kernels <= max(1.2 * without, 1e-5)
        assert with_kernels > 1e-5 or without < 1e-5 or not native


def test_the_same_bits_for_any_number_of_threads(lanes: int) -> None:
    threads, found = torch.get_num_threads(), []
    try:
        for n_threads in (1, 2, 3):
            torch.set_num_threads(n_threads)
            own, columns = given()
            losses = sampled_loss(*own, columns)
            gradients = torch.autograd.grad(losses.square().sum(), own)
            found.append([losses.detach(), *gradients])
    finally:
        torch.set_num_threads(threads)
    for other in found[1:]:
        assert all(map(torch.equal, other, found[0]))


@pytest.mark.parametrize("which", [0, 3, 4])
def test_what_is_no_number_stays_none(which: int, lanes: int) -> None:
    own, columns = given(n=7)
    with torch.no_grad():
        own[which][2] = float("nan")
    found = sampled_loss(*own, columns)
    assert found[2].isnan()
    assert found.isnan().all() == (which > 0)
    gradients = torch.autograd.grad(found.sum(), own)
    assert gradients[0][2].isnan().all()
