"""The steps of LSTMs by compiled kernels, in float32, on x86-64 processors.

The kernels (`lstm_kernels.hh`) are built with the package where there is a C++ compiler
that knows vectors; elsewhere, and for what they are not made for, PyTorch's operations
compute the same numbers.

Shapes: G LSTMs, R packed rows, N sequences, D = dim, P = projection_dim. "Lanes": the
floats of one of the processor's vectors.
"""

import math
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import repeat
from typing import (
    Any,
    Iterable,
    Iterator,
    List,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
    cast,
)

import numpy as np
import torch
from torch import Tensor

from .matmul import mm
from .products import BatchedProduct, Product
from .recurrence import Clips, Run, Weights

try:
    from . import _kernels
except ImportError as error:
    _missing: Optional[str] = (
        f"they were not built ({error}); to have them, install spacy-elmo from its "
        "source where there is GCC or Clang, on x86-64"
    )
else:
    _missing = None

_LEAST_SEQUENCES = 12
"""That a thread must have to itself where several share one LSTM: with fewer it reads
the weights more often than it computes with them."""

_FEW_MULTIPLICATIONS = 1 << 24
"""Of a step: with more its products are faster in bfloat16, by PyTorch."""

_enabled: ContextVar[bool] = ContextVar("kernels", default=True)


class _Panels(NamedTuple):
    """Weights as the kernels read them, by how many columns a tile has."""

    hidden: Tensor
    projection: Tensor


@contextmanager
def flags(enabled: bool) -> Iterator[None]:
    """Within it the kernels are, or are not, used by this thread."""
    token = _enabled.set(enabled)
    try:
        yield
    finally:
        _enabled.reset(token)


def why_absent() -> Optional[str]:
    """Why there are no kernels here; None: there are."""
    if _missing is None and not _kernels.lanes():
        return "this processor has neither AVX-512 nor AVX2 with FMA"
    return _missing


def describe(dim: int, projection_dim: int) -> str:
    """Who takes the steps of float32 LSTMs of these sizes here, in words."""
    why = why_absent()
    if why is None and not _fit(dim, projection_dim):
        why = f"the kernels want a projection, and multiples of {4 * lanes()}"
    return f"PyTorch's operations ({why})" if why else "compiled kernels"


def lanes() -> int:
    """Of this processor: 16 or 8; 0 where there are no kernels."""
    return _kernels.lanes() if _missing is None else 0


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
    if why_absent() or not _enabled.get() or hr is None or hr.device.type != "cpu":
        return False
    if hr.dtype != torch.float32 or not _fit(hr.shape[-1], hr.shape[-2]):
        return False
    if dtype == torch.bfloat16:
        *_, n_rows, n_columns = hh.shape
        if n_sequences * n_rows * n_columns > _FEW_MULTIPLICATIONS:
            return False
    elif dtype != torch.float32:
        return False
    threads_each = -(-torch.get_num_threads() // n_lstms)
    return threads_each == 1 or n_sequences >= threads_each * _LEAST_SEQUENCES


def _fit(dim: int, projection_dim: int) -> bool:
    """Sizes that fill the kernels' tiles."""
    columns = 4 * lanes()
    return dim != projection_dim and not dim % columns and not projection_dim % columns


def forward_panels(hh: Tensor, hr: Tensor, n_lanes: int) -> _Panels:
    """hh: (G, 4 D, P). hr: (G, P, D)."""
    n, width, dim = hr.shape
    hidden = hh.reshape(n, 4, dim // n_lanes, n_lanes, width).permute(0, 2, 4, 1, 3)
    columns = 4 * n_lanes
    projection = hr.reshape(n, width // columns, columns, dim).transpose(2, 3)
    return _Panels(hidden.contiguous(), projection.contiguous())


def backward_panels(hh: Tensor, hr: Tensor, n_lanes: int) -> _Panels:
    """For the products of the way back. hh, hr: as of `forward_panels`."""
    n, width, dim = hr.shape
    columns = 4 * n_lanes
    hidden = hh.reshape(n, 4 * dim, width // columns, columns).transpose(1, 2)
    projection = hr.reshape(n, width, dim // columns, columns).transpose(1, 2)
    return _Panels(hidden.contiguous(), projection.contiguous())


def both_panels(weights: Weights) -> Tuple[_Panels, _Panels]:
    """Forward and backward, of weights with a projection."""
    hh, hr = weights.hh.detach(), cast(Tensor, weights.hr).detach()
    return forward_panels(hh, hr, lanes()), backward_panels(hh, hr, lanes())


class Recurrence:
    """LSTMs with their present weights, to run without gradients.

    weights: of G LSTMs that the kernels can run. ih: each one's product of its inputs.
    """

    def __init__(self, weights: Weights, clips: Clips, ih: Sequence[Product]) -> None:
        hr = cast(Tensor, weights.hr).detach()
        self.panels = forward_panels(weights.hh.detach(), hr, lanes())
        self.bias = weights.bias.detach().contiguous()
        self.clips = clips
        self.ih = ih

    def block(
        self, inputs: Tensor, hidden: Tensor, cell: Tensor, batch_sizes: Sequence[int]
    ) -> Tuple[Tensor, Tensor, Tensor]:
        """As `recurrence.recur`."""
        gates = [
            product(rows[None])[0].contiguous()
            for product, rows in zip(self.ih, inputs)
        ]
        outputs = inputs.new_empty(inputs.shape)
        hidden, cell = _copy(hidden), _copy(cell)
        _forward(
            self.panels,
            self.bias,
            self.clips,
            batch_sizes,
            gates=gates,
            cells=None,
            rows=torch.empty_like(cell),
            outputs=outputs,
            hidden=hidden,
            cell=cell,
        )
        return outputs, hidden, cell


class KernelRun(Run):
    """A `Run` whose steps the kernels take.

    panels: `forward_panels` and `backward_panels` of the products' weights.
    """

    def __init__(
        self,
        products: Sequence[Optional[BatchedProduct]],
        batch_sizes: Sequence[int],
        clips: Clips,
        panels: Tuple[_Panels, _Panels],
    ) -> None:
        super().__init__(products, batch_sizes, clips)
        self.panels, self.back_panels = panels

    def forward(
        self, inputs: Tensor, hidden: Tensor, cell: Tensor, bias: Tensor
    ) -> Tuple[Tensor, Tensor, Tensor]:
        low, weights = inputs.to(self.ih.dtype), self.ih.weight.transpose(1, 2)
        # Not one product of all, which would have to be put together.
        gates = [mm(*pair).to(cell.dtype).contiguous() for pair in zip(low, weights)]
        outputs = inputs.new_empty(inputs.shape)
        self.cells = cell.new_empty(*inputs.shape[:2], cell.shape[2])
        self.unprojected = torch.empty_like(self.cells)
        hidden, cell = _copy(hidden), _copy(cell)
        _forward(
            self.panels,
            bias.contiguous(),
            self.clips,
            self.batch_sizes,
            gates=gates,
            cells=self.cells,
            rows=self.unprojected,
            outputs=outputs,
            hidden=hidden,
            cell=cell,
        )
        self.activated = gates
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
    ) -> Tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Optional[Tensor]]:
        d_hidden, d_cell = _copy(d_hidden), _copy(d_cell)
        d_gates = inputs.new_empty(*inputs.shape[:2], 4 * cell.shape[2])
        d_projected = outputs.new_empty(outputs.shape)
        _kernels.backward(
            np.asarray(self.batch_sizes, dtype=np.int64),
            _of_each(
                *self.back_panels,
                self.activated,
                self.cells,
                outputs,
                cell.contiguous(),
                d_outputs.contiguous(),
                d_gates,
                d_projected,
                d_hidden,
                d_cell,
            ),
            *_bounds(self.clips),
            torch.get_num_threads(),
        )
        gradients = self.gradients_of_all_steps(
            inputs, hidden, outputs, d_gates.to(self.ih.dtype), d_projected
        )
        return gradients[0], d_hidden, d_cell, *gradients[1:]


def _forward(
    panels: _Panels,
    bias: Tensor,
    clips: Clips,
    batch_sizes: Sequence[int],
    *,
    gates: Sequence[Tensor],
    cells: Optional[Tensor],
    rows: Tensor,
    outputs: Tensor,
    hidden: Tensor,
    cell: Tensor,
) -> None:
    """In place, as `Forward` of `lstm_kernels.hh`."""
    _kernels.forward(
        np.asarray(batch_sizes, dtype=np.int64),
        _of_each(*panels, bias[:, 0], gates, cells, rows, outputs, hidden, cell),
        *_bounds(clips),
        torch.get_num_threads(),
    )


def _of_each(*tensors: Optional[Iterable[Tensor]]) -> List[Tuple[Any, ...]]:
    """The arrays of each LSTM, which share the tensors' memory."""

    def arrays(of_all: Optional[Iterable[Tensor]]) -> Iterable[Optional[np.ndarray]]:
        if of_all is None:
            return repeat(None)
        return (one.detach().numpy() for one in of_all)

    return list(zip(*map(arrays, tensors)))


def _bounds(clips: Clips) -> Tuple[float, float]:
    cell, projection = (math.inf if clip is None else clip for clip in clips)
    return cell, projection


def _copy(state: Tensor) -> Tensor:
    return state.detach().clone(memory_format=torch.contiguous_format)
