"""The loss of a sampled softmax by the compiled kernels.

Shapes: n places, S drawn words.
"""

from contextlib import suppress
from typing import Any, Iterator, Tuple, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from . import available
from .gemm import (
    Left,
    array,
    dtype_of_products,
    outer_products,
    panels,
)
from .workspace import empty

with suppress(ImportError):  # where it was not built nothing here is called
    from . import _softmax

_AT_ONCE = 2 << 20
"""Logits whose gradient is formed at once: what a CPU's cache holds."""


def fits(drawn_rows: Tensor) -> bool:
    """Whether the kernels can form the logits of drawn rows (S, width)."""
    columns = available.columns()
    return not any(size % columns for size in drawn_rows.shape)


def sampled_loss(
    hidden: Tensor,
    true: Tensor,
    drawn_rows: Tensor,
    drawn_bias: Tensor,
    columns: Tensor,
    dtype: torch.dtype,
) -> Tensor:
    """As `sampled_loss.sampled_loss`; true: the logits of the targets."""
    low = dtype_of_products(dtype)
    given = hidden, true, drawn_rows, drawn_bias, columns, low
    return cast(Tensor, _Loss.apply(*given))


class _Loss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        true: Tensor,
        drawn_rows: Tensor,
        drawn_bias: Tensor,
        columns: Tensor,
        dtype: torch.dtype,
    ) -> Tensor:
        hidden, drawn_bias, columns = (
            t.detach().contiguous() for t in (hidden.to(dtype), drawn_bias, columns)
        )
        among, there = torch.empty_like(true), torch.zeros_like(true)
        _softmax.log_sum_exp(
            array(hidden),
            panels(drawn_rows, dtype, turned=True),
            drawn_bias.numpy(),
            columns.numpy(),
            among.numpy(),
            there.numpy(),
            torch.get_num_threads(),
        )
        is_drawn = columns > 0
        total = torch.where(is_drawn, among, torch.logaddexp(among, true))
        ctx.dtype = dtype
        ctx.save_for_backward(hidden, true, drawn_rows, drawn_bias, columns, total)
        return total - torch.where(is_drawn, there, true)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tuple[Any, ...]:
        hidden, true, rows, bias, columns, total = ctx.saved_tensors
        gradient = gradient.contiguous()
        d_hidden = torch.empty_like(hidden, dtype=torch.float32)
        d_rows = torch.zeros_like(rows)
        d_bias = torch.zeros_like(bias)
        forward = panels(rows, ctx.dtype, turned=True)
        back = panels(rows, ctx.dtype)
        for part in _parts(len(hidden), len(rows)):
            d_logits = empty(len(hidden[part]), len(rows), dtype=hidden.dtype)
            _softmax.logits_back(
                array(hidden[part]),
                forward,
                bias.numpy(),
                columns[part].numpy(),
                total[part].numpy(),
                gradient[part].numpy(),
                back,
                array(d_logits),
                d_hidden[part].numpy(),
                torch.get_num_threads(),
            )
            more_rows, more_bias = outer_products(
                [Left(hidden[part])], d_logits, with_sums=True
            )
            d_rows += more_rows
            d_bias += more_bias
        d_true = torch.expm1(true - total).mul_(gradient).masked_fill_(columns > 0, 0)
        return d_hidden, d_true, d_rows, d_bias, None, None


def _parts(n_rows: int, n_samples: int) -> Iterator[slice]:
    step = max(1, _AT_ONCE // n_samples)
    for first in range(0, n_rows, step):
        yield slice(first, first + step)
