"""LSTMs over packed sequences by the compiled kernels (`lstm.hh`).

Shapes: G LSTMs side by side, R packed rows, N sequences, D = dim, P = projection_dim.
"""

import math
from contextlib import suppress
from dataclasses import replace
from functools import cached_property, partial
from typing import Any, List, Optional, Sequence, Tuple, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from ..backend import Clips, LSTMState, LSTMWeights
from .gemm import Left, as_operands, outer_products
from .instructions import arithmetic, with_half_weights
from .lstm_weights import PackedLSTM, Panels, Sizes, fit_in_half, padded_bias
from .workspace import Workspace, empty

with suppress(ImportError):  # if they were not built, nothing here is called
    from . import _lstm


FEW_SEQUENCES = 8
"""With more, a step computes longer than it reads its weights. Time with weights in
float16, relative to float32, for 1, 2, 4, 8 and 12 sentences of 15 words, with the
weights that ship, on one thread of an AMD EPYC: 0.65, 0.70, 0.87, 0.84 and 0.92 with
AVX-512, 0.81, 0.93, 0.77, 0.88 and 1.05 with AVX2."""


class PreparedLSTM:
    """LSTMs with their present weights packed, to run without gradients.

    With few sequences, reading the weights takes longer than multiplying by them. If
    float16 represents them exactly, as it does all weights that were stored so, half of
    the bytes are read, for the same results.

    weights (Sequence[LSTMWeights]): Weights of each LSTM, all of one shape.
    clips (Clips): Bounds of the cell and of the projected output.
    dtype (torch.dtype): Precision of the products, float32, bfloat16 or int8.
    """

    def __init__(
        self, weights: Sequence[LSTMWeights], clips: Clips, dtype: torch.dtype
    ) -> None:
        self._weights = weights
        self._sizes = Sizes.of(weights[0], arithmetic(dtype))
        self._bias = padded_bias(weights, self._sizes)
        self._clips = clips

    def __call__(
        self, inputs: Tensor, batch_sizes: Sequence[int], state: LSTMState
    ) -> Tuple[Tensor, LSTMState]:
        """Run over packed sequences, as `Backend.lstm`."""
        packed = None
        if state.hidden.shape[1] <= FEW_SEQUENCES:
            packed = self._packed_in_half
        sizes, panels = packed or self._packed
        run = _Run(sizes, self._clips, batch_sizes, None)
        outputs, hidden, cell = run.forward(
            inputs, *state, panels, self._bias, keep=False
        )
        return outputs, LSTMState(hidden, cell)

    @cached_property
    def _packed(self) -> PackedLSTM:
        return PackedLSTM.forward(self._weights, self._sizes)

    @cached_property
    def _packed_in_half(self) -> Optional[PackedLSTM]:
        """The weights in float16. None if that is not exact."""
        arithmetic = with_half_weights(self._sizes.arithmetic)
        if arithmetic is None or not all(map(fit_in_half, self._weights)):
            return None
        sizes = replace(self._sizes, arithmetic=arithmetic)
        return PackedLSTM.forward(self._weights, sizes)


def lstm(
    inputs: Tensor,
    batch_sizes: Sequence[int],
    state: LSTMState,
    weights: Sequence[LSTMWeights],
    clips: Clips,
    dtype: torch.dtype,
    workspace: Optional[Workspace] = None,
) -> Tuple[Tensor, LSTMState]:
    """Run one LSTM per direction over packed sequences, with gradients.

    inputs (Tensor): Packed rows, (G, R, P), float32.
    batch_sizes (Sequence[int]): Number of running sequences at each step, in
        non-increasing order.
    state (LSTMState): Initial state, longest sequence first.
    weights (Sequence[LSTMWeights]): Weights of each LSTM, all of one shape.
    clips (Clips): Bounds of the cell and of the projected output.
    dtype (torch.dtype): Precision of the products, float32 or bfloat16.
    workspace (Optional[Workspace]): Memory for large arrays.
    RETURNS (Tuple[Tensor, LSTMState]): Clipped outputs, (G, R, P), and the state of
        each sequence after its own last step.
    """
    flat = [tensor for each in weights for tensor in each]
    if not torch.is_grad_enabled() or not any(
        tensor is not None and tensor.requires_grad
        for tensor in (inputs, *state, *flat)
    ):
        return PreparedLSTM(weights, clips, dtype)(inputs, batch_sizes, state)
    sizes = Sizes.of(weights[0], arithmetic(dtype))
    run = _Run(sizes, clips, batch_sizes, workspace)
    outputs, hidden, cell = _LSTM.apply(run, inputs, *state, *flat)
    return outputs, LSTMState(hidden, cell)


class _Run:
    """One pass over time; it keeps what its backward pass needs.

    sizes (Sizes): Sizes of the LSTMs.
    clips (Clips): Bounds of the cell and of the projected output.
    batch_sizes (Sequence[int]): Number of running sequences at each step.
    workspace (Optional[Workspace]): Memory for large arrays.
    """

    def __init__(
        self,
        sizes: Sizes,
        clips: Clips,
        batch_sizes: Sequence[int],
        workspace: Optional[Workspace],
    ) -> None:
        self.sizes, self.workspace = sizes, workspace
        self._empty = partial(empty, workspace)
        self.batch_sizes = [size for size in batch_sizes if size]
        self.bounds = tuple(math.inf if clip is None else clip for clip in clips)
        self.panels: List[Panels] = []  # for the backward pass

    def forward(
        self,
        inputs: Tensor,
        hidden: Tensor,
        cell: Tensor,
        panels: Sequence[Panels],
        bias: Tensor,
        keep: bool,
    ) -> Tuple[Tensor, Tensor, Tensor]:
        """Run forwards.

        inputs, hidden, cell (Tensor): As for `lstm`.
        panels (Sequence[Panels]): Weights of each LSTM.
        bias (Tensor): Padded biases, (G, 4 D).
        keep (bool): Whether a backward pass follows.
        RETURNS (Tuple[Tensor, Tensor, Tensor]): Outputs, and the last state.
        """
        arithmetic = self.sizes.arithmetic
        inputs, hidden, cell = self._pad(inputs, hidden, cell)
        n_lstms, n_rows, _ = inputs.shape
        hidden, cell = hidden.clone(), cell.clone()
        outputs = torch.empty_like(inputs)
        operands = as_operands(inputs, arithmetic)
        is_exact = arithmetic.dtype == torch.float32 and not arithmetic.rounds
        gates: Any = None
        cells: Any = None
        if keep:
            gates = self._empty(n_lstms, n_rows, bias.shape[1])
            cells = self._empty(n_lstms, n_rows, cell.shape[2])
        n_projected = n_rows if keep else cell.shape[1]
        rows = unquantized = None
        if panels[0].projection is not None:
            shape = n_lstms, n_projected, arithmetic.stride(cell.shape[2])
            rows = self._empty(*shape, dtype=arithmetic.dtype)
            if arithmetic.is_int8:
                unquantized = torch.empty_like(cell)
        if cell.shape[1] and self.batch_sizes:
            self._call(
                _lstm.forward,
                panels,
                bias=bias,
                inputs=operands,
                gates=gates,
                cells=cells,
                rows=rows,
                unquantized=unquantized,
                outputs=outputs,
                hidden=hidden,
                cell=cell,
                hidden_operands=(
                    hidden
                    if is_exact
                    else self._empty(
                        *hidden.shape[:2], operands.shape[2], dtype=arithmetic.dtype
                    )
                ),
            )
        if keep:
            self.inputs, self.rows = operands, rows
            self.gates, self.cells = gates, cells
        return self._unpad(outputs, hidden, cell)

    def backward(
        self,
        hidden: Tensor,
        cell: Tensor,
        outputs: Tensor,
        d_outputs: Tensor,
        d_hidden: Tensor,
        d_cell: Tensor,
    ) -> Tuple[Optional[Tensor], ...]:
        """Run backwards.

        hidden, cell (Tensor): The initial state.
        outputs (Tensor): Outputs of the forward pass.
        d_outputs, d_hidden, d_cell (Tensor): Gradients of its results.
        RETURNS (Tuple[Optional[Tensor], ...]): Gradients of inputs, hidden, cell, and
            of the weights of each LSTM.
        """
        arithmetic, has_projection = self.sizes.arithmetic, self.rows is not None
        outputs, hidden, cell = self._pad(outputs, hidden, cell)
        d_outputs, d_hidden, d_cell = self._pad(d_outputs, d_hidden, d_cell)
        d_hidden, d_cell = d_hidden.clone(), d_cell.clone()
        d_inputs = torch.empty_like(outputs)
        d_gates = self._empty(*self.gates.shape, dtype=arithmetic.dtype)
        d_projected = None
        if has_projection:
            d_projected = torch.empty_like(outputs, dtype=arithmetic.dtype)
        if cell.shape[1] and self.batch_sizes:
            self._call(
                _lstm.backward,
                self.panels,
                gates=self.gates,
                cells=self.cells,
                outputs=outputs,
                first_cell=cell,
                d_outputs=d_outputs,
                d_inputs=d_inputs,
                d_gates=d_gates,
                d_projected=d_projected,
                d_hidden=d_hidden,
                d_cell=d_cell,
            )
        before = arithmetic.operands(self._before(outputs, hidden))
        gradients: List[Optional[Tensor]] = []
        for index, d_gates_of in enumerate(d_gates):
            lefts = [Left(self.inputs[index]), Left(before[index])]
            d_weights = outer_products(
                lefts, d_gates_of, arithmetic, True, self.workspace
            )
            gradients += map(self.sizes.unpad_gates, d_weights)
            gradients.append(None)
            if self.rows is not None and d_projected is not None:
                (d_projection,) = outer_products(
                    [Left(d_projected[index], transposed=True)],
                    self.rows[index],
                    arithmetic,
                    workspace=self.workspace,
                )
                dim, width = self.sizes.dim, self.sizes.projection_dim
                gradients[-1] = d_projection[:width, :dim]
        return (*self._unpad(d_inputs, d_hidden, d_cell), *gradients)

    def _call(
        self, run: Any, panels: Sequence[Panels], **tensors: Optional[Tensor]
    ) -> None:
        """Call a kernel with the arrays of each LSTM by name."""
        lstms = [
            {
                "input_panels": each.input,
                "hidden_panels": each.hidden,
                "projection_panels": each.projection,
                **{
                    name: None if tensor is None else tensor[index]
                    for name, tensor in tensors.items()
                },
            }
            for index, each in enumerate(panels)
        ]
        run(
            self.batch_sizes,
            lstms,
            self.bounds,
            self.sizes.of_kernels,
            self.sizes.arithmetic,
            torch.get_num_threads(),
        )

    def _before(self, outputs: Tensor, hidden: Tensor) -> Tensor:
        """The hidden state that each row's step started from, (G, R, P)."""
        parts = [hidden[:, : self.batch_sizes[0]]] if self.batch_sizes else [outputs]
        row = 0
        for size, following in zip(self.batch_sizes, self.batch_sizes[1:]):
            parts.append(outputs[:, row : row + following])
            row += size
        return torch.cat(parts, dim=1)

    def _pad(self, *tensors: Tensor) -> List[Tensor]:
        """Pad rows (..., P), hidden (..., P) and cell (..., D) to whole panels."""
        dim, width = self.sizes.padded
        padded: List[Tensor] = []
        for tensor, columns in zip(tensors, (width, width, dim)):
            missing = columns - tensor.shape[-1]
            tensor = tensor.detach()
            padded.append(
                F.pad(tensor, (0, missing)) if missing else tensor.contiguous()
            )
        return padded

    def _unpad(self, *tensors: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
        dim, width = self.sizes.dim, self.sizes.projection_dim
        rows, hidden, cell = tensors
        return rows[..., :width], hidden[..., :width], cell[..., :dim]


class _LSTM(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        run: _Run,
        inputs: Tensor,
        hidden: Tensor,
        cell: Tensor,
        *flat: Optional[Tensor],
    ) -> Tuple[Tensor, Tensor, Tensor]:
        n = len(LSTMWeights._fields)
        weights = [
            LSTMWeights(*cast(Any, flat[first : first + n]))
            for first in range(0, len(flat), n)
        ]
        sizes, workspace = run.sizes, run.workspace
        panels = [Panels.forward(each, sizes, workspace) for each in weights]
        # Packed now: the weights may change before the backward pass.
        run.panels = [Panels.backward(each, sizes, workspace) for each in weights]
        outputs, *last = run.forward(
            inputs, hidden, cell, panels, padded_bias(weights, sizes), keep=True
        )
        ctx.run = run
        ctx.save_for_backward(hidden, cell, outputs)
        return outputs, last[0], last[1]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Tuple[Optional[Tensor], ...]:
        return (None, *ctx.run.backward(*ctx.saved_tensors, *gradients))
