"""LSTMs over packed sequences by the compiled kernels (`lstm.hh`).

Shapes: G LSTMs, R packed rows, N sequences, D = dim, P = projection_dim.
"""

import math
from contextlib import suppress
from functools import partial
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple, cast

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..backend import Clips, LSTMState, LSTMWeights
from . import available
from .gemm import Left, array, dtype_of_products, outer_products, panels
from .workspace import empty

with suppress(ImportError):  # where it was not built nothing here is called
    from . import _lstm


class Panels(NamedTuple):
    """One LSTM's weights as the kernels read them."""

    inputs: np.ndarray
    hidden: np.ndarray
    projection: np.ndarray


def fits(weights: LSTMWeights, n_directions: int, n_sequences: int) -> bool:
    """Tell whether the kernels can run LSTMs of this shape side by side."""
    if weights.projection is None or not n_sequences:
        return False
    columns = available.columns()
    width, dim = weights.projection.shape
    if dim % columns or width % columns:
        return False
    threads_each = -(-torch.get_num_threads() // n_directions)
    return threads_each == 1 or n_sequences >= threads_each * 12


def forward_panels(
    weights: LSTMWeights, dtype: torch.dtype, lasting: bool = False
) -> Panels:
    """weights: of one LSTM with a projection. dtype: of the products. lasting: whether
    they outlive a step of training."""
    turned = partial(panels, dtype=dtype, turned=True, lasting=lasting)
    projection = cast(Tensor, weights.projection)
    return Panels(
        turned(weights.input, gates=True),
        turned(weights.hidden, gates=True),
        turned(projection),
    )


def backward_panels(weights: LSTMWeights, dtype: torch.dtype) -> Panels:
    """For the products of the way back."""
    projection = cast(Tensor, weights.projection)
    matrices = weights.input, weights.hidden, projection
    return Panels(*(panels(weight, dtype) for weight in matrices))


class PreparedLSTM:
    """LSTMs with packed weights, to run without gradients.

    weights (Sequence[LSTMWeights]): Weights of each direction.
    clips (Clips): Bounds of the cell and of the projected output.
    dtype (torch.dtype): Dtype of the products.
    lasting (bool): Whether the weights outlive a training step.
    """

    def __init__(
        self,
        weights: Sequence[LSTMWeights],
        clips: Clips,
        dtype: torch.dtype,
        lasting: bool = True,
    ) -> None:
        self.dtype = dtype_of_products(dtype)
        self.panels = [forward_panels(each, self.dtype, lasting) for each in weights]
        self.bias = torch.stack([each.bias.detach() for each in weights])
        self.clips = clips

    def __call__(
        self, inputs: Tensor, batch_sizes: Sequence[int], state: LSTMState
    ) -> Tuple[Tensor, LSTMState]:
        """Compute `Backend.lstm`."""
        outputs = inputs.new_empty(inputs.shape)
        hidden, cell = _copy(state.hidden), _copy(state.cell)
        _forward(
            self.panels,
            self.bias,
            self.clips,
            batch_sizes,
            inputs=inputs.to(self.dtype).contiguous(),
            gates=None,
            cells=None,
            rows=torch.empty_like(cell, dtype=self.dtype),
            outputs=outputs,
            hidden=hidden,
            cell=cell,
        )
        return outputs, LSTMState(hidden, cell)


def lstm(
    inputs: Tensor,
    batch_sizes: Sequence[int],
    state: LSTMState,
    weights: Sequence[LSTMWeights],
    clips: Clips,
    dtype: torch.dtype,
) -> Tuple[Tensor, LSTMState]:
    """Compute `Backend.lstm` with its gradients.

    dtype (torch.dtype): Dtype of the products.
    """
    low = dtype_of_products(dtype)
    flat = [tensor for each in weights for tensor in each]
    outputs, *last = cast(
        Tuple[Tensor, Tensor, Tensor],
        _LSTM.apply(inputs, *state, list(batch_sizes), clips, low, *flat),
    )
    return outputs, LSTMState(*last)


class _LSTM(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Tuple[Tensor, Tensor, Tensor]:
        inputs, first_hidden, first_cell, batch_sizes, clips, dtype, *flat = arguments
        weights = [LSTMWeights(*flat[n : n + 4]) for n in range(0, len(flat), 4)]
        n_lstms, n_rows, _ = inputs.shape
        dim = first_cell.shape[2]
        activated = empty(n_lstms, n_rows, 4 * dim)
        cells = empty(n_lstms, n_rows, dim)
        unprojected = empty(n_lstms, n_rows, dim, dtype=dtype)
        low = inputs.to(dtype).contiguous()
        outputs = inputs.new_empty(inputs.shape)
        hidden, cell = _copy(first_hidden), _copy(first_cell)
        _forward(
            [forward_panels(each, dtype) for each in weights],
            torch.stack([each.bias for each in weights]),
            clips,
            batch_sizes,
            inputs=low,
            gates=activated,
            cells=cells,
            rows=unprojected,
            outputs=outputs,
            hidden=hidden,
            cell=cell,
        )
        ctx.save_for_backward(first_hidden, first_cell, outputs)
        ctx.kept = low, activated, cells, unprojected
        ctx.panels = [backward_panels(each, dtype) for each in weights]
        ctx.shared = batch_sizes, clips, dtype
        return outputs, hidden, cell

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, d_outputs: Tensor, d_hidden: Tensor, d_cell: Tensor
    ) -> Tuple[Optional[Tensor], ...]:
        first_hidden, first_cell, outputs = ctx.saved_tensors
        low, activated, cells, unprojected = ctx.kept
        batch_sizes, clips, dtype = ctx.shared
        d_hidden, d_cell = _copy(d_hidden), _copy(d_cell)
        d_inputs = d_outputs.new_empty(d_outputs.shape)
        d_gates = empty(*activated.shape, dtype=dtype)
        d_projected = torch.empty_like(low)
        _lstm.backward(
            np.asarray(batch_sizes, dtype=np.int64),
            _of_each(
                ctx.panels,
                gates=activated,
                cells=cells,
                outputs=outputs,
                first_cell=first_cell.contiguous(),
                d_outputs=d_outputs.contiguous(),
                d_inputs=d_inputs,
                d_gates=d_gates,
                d_projected=d_projected,
                d_hidden=d_hidden,
                d_cell=d_cell,
            ),
            *_bounds(clips),
            torch.get_num_threads(),
        )
        before = _previous_rows(outputs, first_hidden, batch_sizes)
        of_weights: List[Tensor] = []
        for number, own in enumerate(d_gates):
            d_input, d_recurrent, d_bias = outer_products(
                [Left(low[number]), Left(before[number])], own, with_sums=True
            )
            (d_projection,) = outer_products(
                [Left(d_projected[number], turned=True)], unprojected[number]
            )
            of_weights += [d_input, d_recurrent, d_bias, d_projection]
        return d_inputs, d_hidden, d_cell, None, None, None, *of_weights


def _previous_rows(rows: Tensor, initial: Tensor, sizes: Sequence[int]) -> Tensor:
    """Return, for each packed row, the row of the step before."""
    parts: List[Tensor] = [initial[:, : sizes[0]]]
    first = 0
    for size, following in zip(sizes, sizes[1:]):
        parts.append(rows[:, first : first + following])
        first += size
    return torch.cat(parts, dim=1)


def _forward(
    of_all: Sequence[Panels],
    bias: Tensor,
    clips: Clips,
    batch_sizes: Sequence[int],
    **arrays: Optional[Tensor],
) -> None:
    """In place, as `Forward` of `lstm.hh`, which says what the arrays are."""
    _lstm.forward(
        np.asarray(batch_sizes, dtype=np.int64),
        _of_each(of_all, bias=bias, **arrays),
        *_bounds(clips),
        torch.get_num_threads(),
    )


def _of_each(
    of_all: Sequence[Panels], **tensors: Optional[Tensor]
) -> List[Dict[str, Any]]:
    """The arrays of each LSTM, which share the tensors' memory."""
    return [
        {
            "input_panels": own.inputs,
            "hidden_panels": own.hidden,
            "projection_panels": own.projection,
            **{
                name: None if tensor is None else array(tensor[number])
                for name, tensor in tensors.items()
            },
        }
        for number, own in enumerate(of_all)
    ]


def _bounds(clips: Clips) -> Tuple[float, float]:
    cell, projection = (math.inf if clip is None else clip for clip in clips)
    return cell, projection


def _copy(state: Tensor) -> Tensor:
    return state.detach().clone(memory_format=torch.contiguous_format)
