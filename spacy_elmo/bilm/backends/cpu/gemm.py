"""Matrix products: linear layers, packed weights, and the gradients of weights."""

from contextlib import suppress
from typing import Any, List, NamedTuple, Optional, Sequence, Tuple, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from .instructions import Arithmetic, arithmetic
from .workspace import Workspace, empty

with suppress(ImportError):  # if they were not built, nothing here is called
    from . import _gemm


class PackedWeight(NamedTuple):
    """A weight in the layout in which the kernels read it.

    panels (Tensor): Panels of columns; see `Arithmetic.panel_shape`.
    n_in, n_out (int): Sizes of the weight.
    arithmetic (Arithmetic): Arithmetic that it was packed for.
    """

    panels: Tensor
    n_in: int
    n_out: int
    arithmetic: Arithmetic


def pack(
    weight: Tensor,
    arithmetic: Arithmetic,
    transposed: bool = False,
    gates: bool = False,
    workspace: Optional[Workspace] = None,
) -> PackedWeight:
    """Pack a weight to multiply rows with it.

    weight (Tensor): Weight, (n_out, n_in), float32.
    arithmetic (Arithmetic): Arithmetic of the products.
    transposed (bool): Whether the weight is (n_in, n_out) instead. Not with int8 or
        weights in float16.
    gates (bool): Whether a panel holds the four gates of some units, for the weight of
        an LSTM, whose rows are grouped by gate.
    workspace (Optional[Workspace]): Memory for the panels.
    RETURNS (PackedWeight): A copy of the weight.
    """
    n_out, n_in = weight.shape
    if transposed:
        n_in, n_out = n_out, n_in
    shape = arithmetic.panel_shape(n_in, n_out)
    panels = empty(workspace, *shape, dtype=arithmetic.weight_dtype)
    contiguous = weight.detach().contiguous()
    n_threads = torch.get_num_threads()
    _gemm.pack(contiguous, panels, transposed, gates, arithmetic, n_threads)
    return PackedWeight(panels, n_in, n_out, arithmetic)


class PackedLinear:
    """A linear layer with its present weight packed, to apply without gradients.

    weight (Tensor): Weight, (n_out, n_in), float32.
    bias (Optional[Tensor]): Bias, (n_out,), float32.
    dtype (torch.dtype): Precision of the products, float32, bfloat16 or int8.
    """

    def __init__(
        self, weight: Tensor, bias: Optional[Tensor], dtype: torch.dtype
    ) -> None:
        self._weight = pack(weight, arithmetic(dtype))
        self._bias = None if bias is None else padded_bias(bias, self._weight)

    def __call__(self, inputs: Tensor) -> Tensor:
        """Compute inputs · weightᵀ + bias.

        inputs (Tensor): Rows, (n, n_in), float32.
        RETURNS (Tensor): Rows, (n, n_out), float32.
        """
        return _multiply(
            as_operands(inputs, self._weight.arithmetic), self._weight, self._bias
        )


def linear(
    inputs: Tensor,
    weight: Tensor,
    bias: Optional[Tensor],
    dtype: torch.dtype,
    workspace: Optional[Workspace] = None,
) -> Tensor:
    """Compute inputs · weightᵀ + bias, with gradients.

    inputs (Tensor): Rows, (n, n_in), float32.
    weight (Tensor): Weight, (n_out, n_in), float32.
    bias (Optional[Tensor]): Bias, (n_out,), float32.
    dtype (torch.dtype): Precision of the products, float32 or bfloat16.
    workspace (Optional[Workspace]): Memory for large arrays.
    RETURNS (Tensor): Rows, (n, n_out), float32.
    """
    arguments = inputs, weight, bias, arithmetic(dtype), workspace
    return cast(Tensor, _Linear.apply(*arguments))


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        inputs: Tensor,
        weight: Tensor,
        bias: Optional[Tensor],
        arithmetic: Arithmetic,
        workspace: Optional[Workspace],
    ) -> Tensor:
        packed = pack(weight, arithmetic, workspace=workspace)
        operands = as_operands(inputs, arithmetic)
        ctx.save_for_backward(operands, weight)
        ctx.arithmetic, ctx.workspace = arithmetic, workspace
        padded = None if bias is None else padded_bias(bias, packed)
        return _multiply(operands, packed, padded, workspace)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tuple[Optional[Tensor], ...]:
        operands, weight = ctx.saved_tensors
        arithmetic, workspace = ctx.arithmetic, ctx.workspace
        d_inputs = d_weight = d_bias = None
        if ctx.needs_input_grad[0]:
            packed = pack(weight, arithmetic, transposed=True, workspace=workspace)
            rows = as_operands(gradient, arithmetic)
            d_inputs = _multiply(rows, packed, None, workspace)
        if ctx.needs_input_grad[1]:
            right = arithmetic.operands(gradient)
            (d_weight,) = outer_products(
                [Left(operands)], right, arithmetic, workspace=workspace
            )
            d_weight = d_weight[:, : weight.shape[1]]
        if ctx.needs_input_grad[2]:
            d_bias = gradient.sum(dim=0)
        return d_inputs, d_weight, d_bias, None, None


def as_operands(rows: Tensor, arithmetic: Arithmetic) -> Tensor:
    """Convert rows to multiply from the left, (..., n_in), to operands: in bfloat16
    with an even number of columns, because they are multiplied in pairs; in int8 in
    quads, with their scales."""
    if arithmetic.is_int8:
        flat = rows.detach().reshape(-1, rows.shape[-1]).contiguous()
        shape = len(flat), arithmetic.stride(flat.shape[1])
        operands = empty(None, *shape, dtype=torch.int8)
        _gemm.quantize_rows(flat, operands, arithmetic, torch.get_num_threads())
        return operands.view(*rows.shape[:-1], operands.shape[1])
    rows = arithmetic.operands(rows)
    missing = -rows.shape[-1] % arithmetic.per_unit
    return F.pad(rows, (0, missing)) if missing else rows


def padded_bias(bias: Tensor, weight: PackedWeight, value: float = 0.0) -> Tensor:
    """Pad a bias (n_out,) to whole panels."""
    missing = -weight.n_out % weight.arithmetic.instructions.panel_columns
    return F.pad(bias.detach(), (0, missing), value=value).contiguous()


def _multiply(
    operands: Tensor,
    weight: PackedWeight,
    bias: Optional[Tensor],
    workspace: Optional[Workspace] = None,
) -> Tensor:
    """bias: padded."""
    outputs = empty(workspace, len(operands), weight.n_out)
    arithmetic = weight.arithmetic
    n_threads = torch.get_num_threads()
    per_unit = arithmetic.per_unit
    n_in = -(-weight.n_in // per_unit) * per_unit
    _gemm.linear(operands, n_in, weight.panels, bias, outputs, arithmetic, n_threads)
    return outputs


class Left(NamedTuple):
    """A left factor of `outer_products`.

    rows (Tensor): Operands, (n_rows, n).
    transposed (bool): Whether the result is (n, n_right), not (n_right, n).
    """

    rows: Tensor
    transposed: bool = False


def outer_products(
    lefts: Sequence[Left],
    right: Tensor,
    arithmetic: Arithmetic,
    with_sums: bool = False,
    workspace: Optional[Workspace] = None,
) -> List[Tensor]:
    """Sum right ⊗ left over all rows, for each left factor: the gradients of weights.

    lefts (Sequence[Left]): Left factors.
    right (Tensor): Operands, (n_rows, n_right).
    arithmetic (Arithmetic): Arithmetic of the products.
    with_sums (bool): Whether to sum up the rows of right, too: the gradient of a bias.
    workspace (Optional[Workspace]): Memory for the results.
    RETURNS (List[Tensor]): The sums for each left factor, float32, then (n_right,) if
        `with_sums`.
    """
    n_rows, n_right = right.shape
    results = []
    for rows, transposed in lefts:
        n = rows.shape[1]
        shape = (n, n_right) if transposed else (n_right, n)
        results.append(empty(workspace, *shape))
    n_columns = n_right + -n_right % arithmetic.instructions.panel_columns
    sums = (
        torch.zeros(n_columns, dtype=torch.float32, device="cpu") if with_sums else None
    )
    if n_rows:
        _gemm.outer_products(
            [
                (rows, result, transposed)
                for (rows, transposed), result in zip(lefts, results)
            ],
            right,
            sums,
            arithmetic,
            torch.get_num_threads(),
        )
    else:
        for result in results:
            result.zero_()
    return results if sums is None else [*results, sums[:n_right]]
