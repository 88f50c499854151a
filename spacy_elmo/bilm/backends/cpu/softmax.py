"""The loss of a sampled softmax by the compiled kernels (`softmax.hh`).

Shapes: n targets, S sampled words, P = width of a row.
"""

from contextlib import suppress
from typing import Any, Iterator, Optional, Tuple, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from .gemm import Left, as_operands, outer_products, pack
from .instructions import Arithmetic, arithmetic
from .workspace import Workspace, empty

with suppress(ImportError):  # if they were not built, nothing here is called
    from . import _softmax

_NO_LOGIT = -1e30
"""Bias of the columns that complete a panel: they add nothing to a sum."""


def sampled_loss(
    hidden: Tensor,
    true_logits: Tensor,
    rows: Tensor,
    bias: Tensor,
    columns: Tensor,
    dtype: torch.dtype,
    workspace: Optional[Workspace] = None,
) -> Tensor:
    """Compute the loss of a sampled softmax, with gradients.

    hidden (Tensor): Outputs of the LSTMs, (n, P), float32.
    true_logits (Tensor): Corrected logits of the targets, (n,), float32.
    rows (Tensor): Softmax weights of the sampled words, (S, P), float32.
    bias (Tensor): Corrected biases of the sampled words, (S,), float32.
    columns (Tensor): Position, from 1, of each target among the sampled words, or 0 if
        it was not sampled, (n,) int64.
    dtype (torch.dtype): Precision of the products with `rows`, float32 or bfloat16.
    workspace (Optional[Workspace]): Memory for large arrays.
    RETURNS (Tensor): Loss per target, (n,), float32.
    """
    arguments = hidden, true_logits, rows, bias, columns, arithmetic(dtype), workspace
    return cast(Tensor, _Loss.apply(*arguments))


class _Loss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        true_logits: Tensor,
        rows: Tensor,
        bias: Tensor,
        columns: Tensor,
        arithmetic: Arithmetic,
        workspace: Optional[Workspace],
    ) -> Tensor:
        n_samples, width = rows.shape
        missing = -n_samples % arithmetic.instructions.panel_columns
        bias = F.pad(bias.detach(), (0, missing), value=_NO_LOGIT).contiguous()
        operands, columns = as_operands(hidden, arithmetic), columns.contiguous()
        sampled, target = torch.empty_like(true_logits), torch.zeros_like(true_logits)
        _softmax.log_sum_exp(
            operands,
            pack(rows, arithmetic, workspace=workspace).panels,
            bias,
            columns,
            sampled,
            target,
            n_samples,
            width,
            arithmetic,
            torch.get_num_threads(),
        )
        is_sampled = columns > 0
        total = torch.where(is_sampled, sampled, torch.logaddexp(sampled, true_logits))
        ctx.arithmetic, ctx.workspace = arithmetic, workspace
        ctx.save_for_backward(operands, true_logits, rows, bias, columns, total)
        return total - torch.where(is_sampled, target, true_logits)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tuple[Optional[Tensor], ...]:
        hidden, true_logits, rows, bias, columns, total = ctx.saved_tensors
        arithmetic, workspace = ctx.arithmetic, ctx.workspace
        (n_samples, width), n_padded = rows.shape, len(bias)
        gradient = gradient.contiguous()
        d_hidden = torch.empty(len(hidden), width, dtype=torch.float32, device="cpu")
        d_rows, d_bias = torch.zeros_like(rows), torch.zeros_like(bias)
        forward = pack(rows, arithmetic, workspace=workspace).panels
        back = pack(rows, arithmetic, transposed=True, workspace=workspace).panels
        for part in _parts(len(hidden), n_padded):
            operands = hidden[part]
            d_logits = empty(workspace, len(operands), n_padded, dtype=arithmetic.dtype)
            _softmax.logit_gradients(
                operands,
                forward,
                bias,
                columns[part],
                total[part],
                gradient[part],
                back,
                d_logits,
                d_hidden[part],
                n_samples,
                arithmetic,
                torch.get_num_threads(),
            )
            more_rows, more_bias = outer_products(
                [Left(operands)], d_logits, arithmetic, True, workspace
            )
            d_rows += more_rows[:n_samples, :width]
            d_bias += more_bias
        d_true = torch.expm1(true_logits - total).mul_(gradient)
        d_true.masked_fill_(columns > 0, 0)
        return d_hidden, d_true, d_rows, d_bias[:n_samples], None, None, None


def _parts(n_rows: int, n_samples: int) -> Iterator[slice]:
    """Rows whose logits' gradients fit into the caches."""
    step = max(1, _softmax.LOGITS_AT_ONCE // n_samples)
    for first in range(0, n_rows, step):
        yield slice(first, first + step)
