"""The loss of a sampled softmax from the rows that it touches, a few places at a time:
the logits of all of them never lie in memory at once."""

from typing import Any, Iterator, Tuple, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .backends.cpu import softmax as by_kernels
from .matmul import mm

_AT_ONCE, _AT_ONCE_GPU = 2 << 20, 64 << 20
"""Logits that are formed at once: on a CPU what its cache holds, on a GPU what keeps
it busy."""


def sampled_loss(
    hidden: Tensor,
    true_rows: Tensor,
    true_bias: Tensor,
    drawn_rows: Tensor,
    drawn_bias: Tensor,
    columns: Tensor,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """The loss of `SampledSoftmax`.

    hidden, true_rows: (n, width); drawn_rows: (n_samples, width). Biases, lowered by
    the log of the chance to be drawn: (n,), (n_samples,).
    columns: 0, or for a target that is among the drawn words and must not count twice,
    its place there, from 1, (n,).
    dtype: of the product with the drawn rows.
    RETURNS: (n,), in hidden's dtype.
    """
    true = (hidden * true_rows).sum(dim=1) + true_bias
    if dtype != torch.float64 and by_kernels.pays(hidden, drawn_rows):
        return by_kernels.sampled_loss(
            hidden, true, drawn_rows, drawn_bias, columns, dtype
        )
    return cast(
        Tensor,
        _Loss.apply(hidden, true, drawn_rows, drawn_bias, columns, dtype),
    )


class _Loss(torch.autograd.Function):
    """The way back forms the logits once more: kept, they would be most of the memory
    of a training step, and slower to read than to form."""

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
        low, low_rows = hidden.to(dtype), drawn_rows.to(dtype)
        is_drawn, places = columns > 0, (columns - 1).clamp_(min=0)
        # Each place's log of the sum of all that it can choose from.
        total = torch.empty_like(true)
        loss = torch.empty_like(true)
        for part in _parts(low, low_rows):
            logits = _logits(low[part], low_rows, drawn_bias)
            among = torch.logsumexp(logits, dim=1)
            own = true[part]
            chosen = is_drawn[part]
            total[part] = torch.where(chosen, among, torch.logaddexp(among, own))
            there = logits.gather(1, places[part, None])[:, 0]
            loss[part] = total[part] - torch.where(chosen, there, own)
        ctx.save_for_backward(low, true, low_rows, drawn_bias, is_drawn, places, total)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tuple[Any, ...]:
        low, true, rows, bias, is_drawn, places, total = ctx.saved_tensors
        d_hidden = torch.empty_like(low, dtype=true.dtype)
        d_rows = torch.zeros_like(rows, dtype=true.dtype)
        d_bias = torch.zeros_like(bias)
        at_place = is_drawn.to(true.dtype).neg_()
        for part in _parts(low, rows):
            logits = _logits(low[part], rows, bias)
            # The loss's own gradient is a factor of each row: it waits for what is
            # narrower than the logits.
            chances = logits.sub_(total[part, None]).exp_()
            chances.scatter_add_(1, places[part, None], at_place[part, None])
            d_loss = gradient[part]
            d_bias += d_loss @ chances
            d_logits = chances.to(rows.dtype)
            d_hidden[part] = mm(d_logits, rows)
            scaled = low[part] * d_loss[:, None]
            d_rows += mm(d_logits.t(), scaled.to(rows.dtype))
        d_hidden *= gradient[:, None]
        d_true = torch.expm1(true - total).mul_(gradient).masked_fill_(is_drawn, 0)
        return d_hidden, d_true, d_rows, d_bias, None, None


def _parts(hidden: Tensor, rows: Tensor) -> Iterator[slice]:
    at_once = _AT_ONCE_GPU if hidden.is_cuda else _AT_ONCE
    step = max(1, at_once // len(rows))
    for first in range(0, len(hidden), step):
        yield slice(first, first + step)


def _logits(hidden: Tensor, rows: Tensor, bias: Tensor) -> Tensor:
    return mm(hidden, rows.t()).to(bias.dtype).add_(bias)
