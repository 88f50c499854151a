"""Linear layers and weight gradients by the compiled kernels."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from spacy_elmo.bilm.backends.cpu.gemm import PackedLinear, linear
from spacy_elmo.bilm.backends.cpu.instructions import InstructionSet

BOTH = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
SHAPES = [(7, 64, 128), (1, 1, 1), (130, 65, 67), (49, 600, 10), (0, 8, 8), (3, 7, 300)]


def layer(n: int, n_in: int, n_out: int) -> list[Tensor]:
    """Inputs, weight and bias."""
    torch.manual_seed(0)
    tensors = torch.randn(n, n_in), torch.randn(n_out, n_in), torch.randn(n_out)
    return [tensor.requires_grad_() for tensor in tensors]


def exactly(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return tensor.detach().to(dtype).double()


@pytest.mark.parametrize("shape", SHAPES)
@BOTH
def test_linear_and_its_gradients(
    shape: tuple[int, int, int], dtype: torch.dtype, instruction_set: InstructionSet
) -> None:
    """In bfloat16 the operands are rounded, also without native instructions, and the
    sums are float32."""
    inputs, weight, bias = layer(*shape)
    outputs = linear(inputs, weight, bias, dtype)
    d_outputs = torch.randn_like(outputs)
    gradients = torch.autograd.grad(outputs, [inputs, weight, bias], d_outputs)
    x, w, d = (exactly(tensor, dtype) for tensor in (inputs, weight, d_outputs))
    expected = [x @ w.t() + bias.double(), d @ w, d.t() @ x, d_outputs.double().sum(0)]
    for found, exact in zip((outputs, *gradients), expected):
        assert found.dtype == torch.float32
        scale = max(1.0, float(exact.detach().abs().max())) if exact.numel() else 1.0
        torch.testing.assert_close(found.double(), exact, rtol=0, atol=4e-6 * scale)


@BOTH
def test_packed_linear_is_linear(
    dtype: torch.dtype, instruction_set: InstructionSet
) -> None:
    inputs, weight, bias = (tensor.detach() for tensor in layer(60, 65, 67))
    for one in (bias, None):
        packed = PackedLinear(weight, one, dtype)
        assert torch.equal(packed(inputs), linear(inputs, weight, one, dtype))


@BOTH
def test_a_row_does_not_depend_on_threads_or_on_other_rows(
    dtype: torch.dtype, instruction_set: InstructionSet
) -> None:
    inputs, weight, bias = layer(200, 300, 130)
    expected = None
    for n_threads in (1, 2, 3, 16):
        torch.set_num_threads(n_threads)
        outputs = linear(inputs, weight, bias, dtype)
        d_weight = torch.autograd.grad(outputs.square().sum(), weight)[0]
        few = linear(inputs[:5], weight, bias, dtype)
        found = [outputs.detach(), d_weight]
        expected = expected or found
        assert all(map(torch.equal, found, expected))
        assert torch.equal(few, outputs[:5])


@BOTH
def test_strided_tensors(dtype: torch.dtype, instruction_set: InstructionSet) -> None:
    inputs, weight, bias = (tensor.detach() for tensor in layer(6, 20, 12))
    expected = linear(inputs, weight, bias, dtype)
    strided = inputs.t().contiguous().t(), weight.t().contiguous().t()
    assert torch.equal(linear(*strided, bias.repeat(2)[:12], dtype), expected)


@pytest.mark.parametrize("which", [0, 1])
def test_nan_stays_nan(which: int, instruction_set: InstructionSet) -> None:
    for dtype in (torch.float32, torch.bfloat16):
        tensors = [tensor.detach() for tensor in layer(4, 9, 5)]
        tensors[which][2, 3] = float("nan")
        outputs = linear(*tensors, dtype)
        nans = outputs[2] if which == 0 else outputs[:, 2]
        assert nans.isnan().all()
        assert outputs.isnan().sum() == nans.numel()


def test_only_the_gradients_asked_for(instruction_set: InstructionSet) -> None:
    inputs, weight, bias = layer(4, 9, 5)
    linear(inputs.detach(), weight, bias.detach(), torch.float32).sum().backward()
    assert weight.grad is not None
    assert inputs.grad is None
    assert bias.grad is None


def test_weight_changed_before_the_backward_pass(
    instruction_set: InstructionSet,
) -> None:
    inputs, weight, bias = layer(4, 9, 5)
    outputs = linear(inputs, weight, bias, torch.float32)
    with torch.no_grad():
        weight.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        outputs.sum().backward()
