"""8-bit integers with a scale per block of a row, in plain PyTorch: how weights are
stored, and the reference for the compiled kernels (`backends/cpu/int8.hh`)."""

from typing import Optional, Tuple

import torch
from torch import Tensor
from torch.nn import functional as F

BLOCK = 256
"""Numbers that share a scale. A row has a few large ones that would make all others
coarse."""

LEAST_MAGNITUDE = 1e-30
"""Blocks of smaller numbers become zeros, because 127 divided by their maximum could
overflow."""


def quantize(rows: Tensor) -> Tuple[Tensor, Tensor]:
    """Round blocks of rows to multiples of their scale, the largest magnitude / 127.

    rows (Tensor): Finite numbers, (..., n), float32.
    RETURNS (Tuple[Tensor, Tensor]): Integers from -127 to 127, (..., n), int8, and the
        largest magnitudes, (..., n / BLOCK), rounded up, float32.
    """
    blocks = _blocks(rows)
    most = blocks.abs().amax(dim=-1, keepdim=True)
    most = most.masked_fill(most < LEAST_MAGNITUDE, 0)
    # In float32, PyTorch would multiply by a rounded reciprocal.
    inverse = (127 / most.double()).float().masked_fill(most == 0, 0)
    # The product is exact in float64, so that it is rounded once.
    integers = (blocks.double() * inverse.double()).round().to(torch.int8)
    return integers.flatten(-2)[..., : rows.shape[-1]], most.squeeze(-1)


def dequantize(integers: Tensor, maxima: Tensor) -> Tensor:
    """Restore rows from what `quantize` returned. The largest numbers are restored
    exactly, so that `quantize` returns the same integers and maxima again."""
    numbers = _blocks(integers).double() * maxima[..., None].double() / 127
    return numbers.float().flatten(-2)[..., : integers.shape[-1]]


def int8_linear(inputs: Tensor, weight: Tensor, bias: Optional[Tensor]) -> Tensor:
    """Compute inputs · weightᵀ + bias from quantized inputs and weights.

    inputs (Tensor): Rows, (n, n_in), float32. Each has scales of its own, so that its
        result does not depend on the other rows.
    weight (Tensor): Weight, (n_out, n_in), float32, with scales for each output.
    bias (Optional[Tensor]): Bias, (n_out,), float32.
    RETURNS (Tensor): Rows, (n, n_out), float32.
    """
    integers, maxima = quantize(inputs)
    weight_integers, weight_maxima = quantize(weight)
    # Exact, so that the order of summation does not matter.
    sums = torch.einsum(
        "rbk,obk->rob", _blocks(integers).double(), _blocks(weight_integers).double()
    )
    scales = (maxima[:, None] / 127) * (weight_maxima / 127)
    product = (sums.float() * scales).sum(dim=-1)
    return product if bias is None else product + bias


def _blocks(rows: Tensor) -> Tensor:
    """Rows (..., n) in blocks, (..., n / BLOCK, BLOCK), filled up with zeros."""
    return F.pad(rows, (0, -rows.shape[-1] % BLOCK)).unflatten(-1, (-1, BLOCK))
