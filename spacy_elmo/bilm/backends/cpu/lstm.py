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

from ...recurrence import Clips, Gradients, Run, Weights
from . import available
from .gemm import Left, array, dtype_of_products, outer_products, panels
from .workspace import empty

with suppress(ImportError):  # where it was not built nothing here is called
    from . import _lstm

_LEAST_SEQUENCES = 12
"""That a thread must have to itself where several share one LSTM: with fewer it reads
the weights more often than it computes with them."""

_FEW_MULTIPLICATIONS = 1 << 24
"""Of a step, with one matrix: with more, where the kernels have no instructions for
bfloat16, PyTorch's products in it are faster than theirs in float32."""


class Panels(NamedTuple):
    """One LSTM's weights as the kernels read them."""

    inputs: np.ndarray
    hidden: np.ndarray
    projection: np.ndarray


def describe(dim: int, projection_dim: int) -> str:
    """Who computes float32 LSTMs of these sizes here, in words."""
    why = available.why_absent()
    if why is None and not _fit(dim, projection_dim):
        why = f"the kernels want a projection, and multiples of {available.columns()}"
    return f"PyTorch's operations ({why})" if why else "compiled kernels"


def pays(
    hh: Tensor,
    hr: Optional[Tensor],
    dtype: torch.dtype,
    n_lstms: int,
    n_sequences: int,
) -> bool:
    """Whether the kernels can, and should, run LSTMs of this shape side by side.

    hh: the weights (..., 4 D, P) of one or more. hr: (..., P, D); None: no projection.
    dtype: of the matrix products; the steps' own are float32 in the kernels.
    n_lstms, n_sequences: side by side, and at the first step of each.
    """
    if not available.are_used() or hr is None or hr.device.type != "cpu":
        return False
    if not n_sequences:
        return False
    if hr.dtype != torch.float32 or not _fit(hr.shape[-1], hr.shape[-2]):
        return False
    if dtype == torch.bfloat16 and not available.multiply_bfloat16():
        *_, n_rows, n_columns = hh.shape
        if n_sequences * n_rows * n_columns > _FEW_MULTIPLICATIONS:
            return False
    elif dtype not in (torch.float32, torch.bfloat16):
        return False
    threads_each = -(-torch.get_num_threads() // n_lstms)
    return threads_each == 1 or n_sequences >= threads_each * _LEAST_SEQUENCES


def _fit(dim: int, projection_dim: int) -> bool:
    """Sizes that fill the kernels' tiles."""
    columns = available.columns()
    return dim != projection_dim and not dim % columns and not projection_dim % columns


def forward_panels(
    weights: Weights, dtype: torch.dtype, lasting: bool = False
) -> Panels:
    """weights: of one LSTM with a projection. dtype: of the products. lasting: whether
    they outlive a step of training."""
    turned = partial(panels, dtype=dtype, turned=True, lasting=lasting)
    ih, hh, hr = _with_projection(weights)
    return Panels(turned(ih, gates=True), turned(hh, gates=True), turned(hr))


def backward_panels(weights: Weights, dtype: torch.dtype) -> Panels:
    """For the products of the way back."""
    return Panels(*(panels(weight, dtype) for weight in _with_projection(weights)))


class BothPanels(NamedTuple):
    """Of each LSTM, and the dtype of their products."""

    forward: List[Panels]
    backward: List[Panels]
    dtype: torch.dtype

    @classmethod
    def of(cls, weights: Sequence[Weights], dtype: torch.dtype) -> "BothPanels":
        low = dtype_of_products(dtype)
        forward = [forward_panels(own, low) for own in weights]
        return cls(forward, [backward_panels(own, low) for own in weights], low)


def _with_projection(weights: Weights) -> Tuple[Tensor, Tensor, Tensor]:
    return weights.ih[0], weights.hh[0], cast(Tensor, weights.hr)[0]


class Recurrence:
    """LSTMs with their present weights, to run without gradients.

    weights: of each, which the kernels can run.
    dtype: of the products, as far as the processor has them.
    lasting: whether it outlives a step of training.
    """

    def __init__(
        self,
        weights: Sequence[Weights],
        clips: Clips,
        dtype: torch.dtype,
        lasting: bool,
    ) -> None:
        self.dtype = dtype_of_products(dtype)
        self.panels = [forward_panels(own, self.dtype, lasting) for own in weights]
        self.bias = torch.cat([own.bias.detach() for own in weights])
        self.clips = clips

    def block(
        self, inputs: Tensor, hidden: Tensor, cell: Tensor, batch_sizes: Sequence[int]
    ) -> Tuple[Tensor, Tensor, Tensor]:
        """As `recurrence.recur`."""
        outputs = inputs.new_empty(inputs.shape)
        hidden, cell = _copy(hidden), _copy(cell)
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
        return outputs, hidden, cell


class KernelRun(Run):
    """A `Run` that the kernels do.

    both: of the weights.
    """

    def __init__(
        self, batch_sizes: Sequence[int], clips: Clips, both: BothPanels
    ) -> None:
        super().__init__(batch_sizes, clips)
        self.panels, self.back_panels, self.dtype = both

    def forward(
        self, inputs: Tensor, hidden: Tensor, cell: Tensor, bias: Tensor
    ) -> Tuple[Tensor, Tensor, Tensor]:
        n_lstms, n_rows, _ = inputs.shape
        self.activated = empty(n_lstms, n_rows, bias.shape[2])
        self.cells = empty(n_lstms, n_rows, cell.shape[2])
        self.unprojected = empty(*self.cells.shape, dtype=self.dtype)
        self.inputs = inputs.to(self.dtype).contiguous()
        outputs = inputs.new_empty(inputs.shape)
        hidden, cell = _copy(hidden), _copy(cell)
        _forward(
            self.panels,
            bias.contiguous(),
            self.clips,
            self.batch_sizes,
            inputs=self.inputs,
            gates=self.activated,
            cells=self.cells,
            rows=self.unprojected,
            outputs=outputs,
            hidden=hidden,
            cell=cell,
        )
        return outputs, hidden, cell

    def backward(
        self,
        inputs: Tensor,
        hidden: Tensor,
        cell: Tensor,
        outputs: Tensor,
        d_outputs: Tensor,
        d_hidden: Tensor,
        d_cell: Tensor,
    ) -> Gradients:
        d_hidden, d_cell = _copy(d_hidden), _copy(d_cell)
        d_inputs = inputs.new_empty(inputs.shape)
        d_gates = empty(*self.activated.shape, dtype=self.dtype)
        d_projected = torch.empty_like(self.inputs)
        _lstm.backward(
            np.asarray(self.batch_sizes, dtype=np.int64),
            _of_each(
                self.back_panels,
                gates=self.activated,
                cells=self.cells,
                outputs=outputs,
                first_cell=cell.contiguous(),
                d_outputs=d_outputs.contiguous(),
                d_inputs=d_inputs,
                d_gates=d_gates,
                d_projected=d_projected,
                d_hidden=d_hidden,
                d_cell=d_cell,
            ),
            *_bounds(self.clips),
            torch.get_num_threads(),
        )
        before = self._before(outputs, hidden)
        of_weights: List[Tensor] = []
        for number, own in enumerate(d_gates):
            d_ih, d_hh, d_bias = outer_products(
                [Left(self.inputs[number]), Left(before[number])], own, with_sums=True
            )
            (d_hr,) = outer_products(
                [Left(d_projected[number], turned=True)], self.unprojected[number]
            )
            of_weights += [d_ih[None], d_hh[None], d_bias[None, None], d_hr[None]]
        return (d_inputs, d_hidden, d_cell, *of_weights)


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
        _of_each(of_all, bias=bias[:, 0], **arrays),
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
