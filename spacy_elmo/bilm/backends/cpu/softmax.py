"""The exact softmax and the loss of a sampled one by the compiled kernels
(`softmax.hh`).

Shapes: n targets, S words, P = width of a row.
"""

from contextlib import suppress
from typing import Any, Iterator, NamedTuple, Optional, Tuple, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..backend import TargetScores
from .gemm import Left, PackedWeight, as_operands, outer_products, pack, padded_bias
from .instructions import Arithmetic, arithmetic
from .workspace import Workspace, empty

with suppress(ImportError):  # if they were not built, nothing here is called
    from . import _softmax

_NO_LOGIT = -1e30
"""Bias of the columns that complete a panel: they add nothing to a sum."""


class PackedSoftmax:
    """A softmax over the whole vocabulary with its present weight packed, to apply
    without gradients. A row has the same scores, to the last bit, alone and among any
    others.

    weight (Tensor): Weight, (S, P), float32.
    bias (Tensor): Bias, (S,), float32.
    dtype (torch.dtype): Precision of the products, float32 or bfloat16.
    """

    def __init__(self, weight: Tensor, bias: Tensor, dtype: torch.dtype) -> None:
        self._weight = pack(weight, arithmetic(dtype))
        self._bias = padded_bias(bias, self._weight, _NO_LOGIT)

    def nll(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """Compute `PreparedSoftmax.nll`."""
        return self.score(hidden, targets).log_probs.neg_()

    def score(self, hidden: Tensor, targets: Tensor) -> TargetScores:
        """Compute `PreparedSoftmax.score`."""
        if len(targets):
            low, high = (int(number) for number in targets.aminmax())
            if not 0 <= low <= high < self._weight.n_out:
                raise ValueError(
                    f"targets: expected 0 to {self._weight.n_out - 1}, found {low} to "
                    f"{high}."
                )
        operands = as_operands(hidden, self._weight.arithmetic)
        logits = _log_sum_exp(operands, self._weight, self._bias, targets + 1)
        return TargetScores(logits.target - logits.total, logits.entropy)


class _LogSumExp(NamedTuple):
    """Log-sum-exp, target's logit, and entropy of the distribution for each of n rows
    of logits. Shape of each: (n,)."""

    total: Tensor
    target: Tensor
    entropy: Tensor


def _log_sum_exp(
    operands: Tensor, weight: PackedWeight, bias: Tensor, columns: Tensor
) -> _LogSumExp:
    """bias: padded. columns: as in `sampled_loss`; the logit of a target that is not
    among the words is 0."""
    results = _LogSumExp(*torch.zeros(3, len(operands), device="cpu"))
    _softmax.log_sum_exp(
        operands,
        weight.panels,
        bias,
        columns,
        *results,
        weight.n_out,
        weight.n_in,
        weight.arithmetic,
        torch.get_num_threads(),
    )
    return results


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
        operands, columns = as_operands(hidden, arithmetic), columns.contiguous()
        packed = pack(rows, arithmetic, workspace=workspace)
        bias = padded_bias(bias, packed, _NO_LOGIT)
        sampled, target, _ = _log_sum_exp(operands, packed, bias, columns)
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
