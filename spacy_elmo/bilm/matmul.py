"""Matrix products of weights that change: PyTorch's own, or oneDNN's where those are
faster."""

from typing import Any, Optional, Tuple, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from . import onednn

_WORTH_A_CALL = 1 << 20
"""Multiplications; with fewer the dearer call costs more than it saves."""

_WORTH_CALLS = 1 << 22
"""The same for each of several products that PyTorch forms in one call."""


def mm(left: Tensor, right: Tensor) -> Tensor:
    """(n, k) · (k, m) -> (n, m), of one dtype, without gradients."""
    n_multiplications = left.shape[0] * right.numel()
    if _goes_to_onednn(left, right, n_multiplications >= _WORTH_A_CALL):
        return _multiply(left, right)
    return torch.mm(left, right)


def bmm(left: Tensor, right: Tensor, out: Optional[Tensor] = None) -> Tensor:
    """(G, n, k) · (G, k, m) -> (G, n, m), of one dtype, without gradients."""
    if not _goes_to_onednn(left, right, _are_worth_calls(left, right)):
        return (
            torch.bmm(left, right) if out is None else torch.bmm(left, right, out=out)
        )
    products = [_multiply(*pair) for pair in zip(left, right)]
    if out is None:
        return products[0][None] if len(products) == 1 else torch.stack(products)
    for place, product in zip(out, products):
        place.copy_(product)
    return out


def baddbmm_(sums: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """In place, sums += left · right."""
    if not _goes_to_onednn(left, right, _are_worth_calls(left, right)):
        return sums.baddbmm_(left, right)
    for place, *pair in zip(sums, left, right):
        place.add_(_multiply(*pair))
    return sums


def linear(inputs: Tensor, weight: Tensor) -> Tensor:
    """inputs · weightᵀ, with gradients: (n, n_in), (n_out, n_in) -> (n, n_out)."""
    if _goes_to_onednn(inputs, weight, True):
        return cast(Tensor, _Linear.apply(inputs, weight))
    return F.linear(inputs, weight)


def prefers_contiguous(factor: Tensor) -> bool:
    """Whether large products of this one are faster if it is not turned."""
    return _are_onednns(factor.dtype, factor.device)


def convenient_rows(number: int, rows: Tensor, dtype: torch.dtype) -> int:
    """At least `number`, at most an eighth more: how many rows like these a product in
    `dtype` wants, where it is oneDNN's, as PyTorch's own in bfloat16 is."""
    low = dtype == torch.bfloat16 and rows.device.type == "cpu"
    if low or _are_onednns(dtype, rows.device):
        return onednn.few_numbers(number)
    return number


def _multiply(left: Tensor, right: Tensor) -> Tensor:
    """By oneDNN, which reads its second factor as it lies and copies a first one that
    is turned: if that is the larger one, they change places."""
    is_turned = not left.is_contiguous() and left.t().is_contiguous()
    if is_turned and left.numel() > right.numel():
        return onednn.multiply(right.t(), left).t()
    return onednn.multiply(left, right.t())


def _are_worth_calls(left: Tensor, right: Tensor) -> bool:
    n_multiplications = left.shape[1] * right.shape[1] * right.shape[2]
    return n_multiplications >= (_WORTH_A_CALL if len(left) == 1 else _WORTH_CALLS)


def _goes_to_onednn(left: Tensor, right: Tensor, is_worth: bool) -> bool:
    return (
        is_worth and left.dtype == right.dtype and _are_onednns(left.dtype, left.device)
    )


def _are_onednns(dtype: torch.dtype, device: torch.device) -> bool:
    """Products of some size."""
    return (
        dtype == torch.float32
        and device.type == "cpu"
        and onednn.is_chosen()
        and not torch.is_autocast_enabled("cpu")
    )


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(inputs, weight)
        # Not a view of what was formed turned: it may be changed in place.
        return mm(inputs, weight.t()).contiguous()

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, gradient: Tensor
    ) -> Tuple[Optional[Tensor], Optional[Tensor]]:
        inputs, weight = ctx.saved_tensors
        d_inputs = mm(gradient, weight) if ctx.needs_input_grad[0] else None
        d_weight = mm(gradient.t(), inputs) if ctx.needs_input_grad[1] else None
        return d_inputs, d_weight
