"""The projected, clipped LSTM over one block of packed rows. The backward pass is its
own: it keeps the gates, goes back over time once, and forms each weight's gradient as
one product over all steps.

Several LSTMs of one shape (the two directions) run side by side; they never mix.

Shapes: G LSTMs, R packed rows, N sequences, D = dim, P = projection_dim. The gates lie
in PyTorch's order: i, f, g, o.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import (
    Any,
    Callable,
    Generic,
    Iterator,
    List,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
    TypeVar,
    cast,
)

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .activations import activate_gates_, tanh
from .matmul import bmm, prefers_contiguous
from .products import BatchedProduct, Product


class Clips(NamedTuple):
    """Bounds of the memory cell and of the projected output; None: no bound."""

    cell: Optional[float]
    projection: Optional[float]


class Weights(NamedTuple):
    """Of G LSTMs.

    ih, hh: (G, 4 D, P). bias: (G, 1, 4 D). hr: (G, P, D); None: no projection, P = D,
    no bound of the output.
    """

    ih: Tensor
    hh: Tensor
    bias: Tensor
    hr: Optional[Tensor]


AnyProduct = TypeVar("AnyProduct", bound=Product)


@dataclass(frozen=True)
class Products(Generic[AnyProduct]):
    """The matrix products of a pass without gradients."""

    ih: AnyProduct
    hh: AnyProduct
    hr: Optional[AnyProduct]

    @classmethod
    def of(
        cls, weights: Weights, make: Callable[[Tensor], AnyProduct]
    ) -> "Products[AnyProduct]":
        hr = None if weights.hr is None else make(weights.hr)
        return cls(make(weights.ih), make(weights.hh), hr)


def recur(
    inputs: Tensor,
    hidden: Tensor,
    cell: Tensor,
    weights: Sequence[Optional[Tensor]],
    run: "Run",
) -> Tuple[Tensor, Tensor, Tensor]:
    """One block, with gradients.

    inputs: (G, R, P).
    hidden, cell: to start from, (G, N, P) and (G, N, D), the longest sequence first.
    weights: all `Weights`, of the LSTMs together or of one after the other.
    run: the pass over these rows.
    RETURNS: outputs (G, R, P), and each sequence's last hidden (G, N, P) and cell
        (G, N, D). The gradient cannot be differentiated again.
    """
    return cast(
        Tuple[Tensor, Tensor, Tensor],
        _Recurrence.apply(run, inputs, hidden, cell, *weights),
    )


Gradients = Tuple[Optional[Tensor], ...]
"""Of the inputs, of hidden and cell to start from, and of the weights of `recur`."""


class Run(ABC):
    """One pass over time; what the pass back needs stays in it.

    batch_sizes: running sequences at each step, never rising; they sum up to R.
    """

    def __init__(self, batch_sizes: Sequence[int], clips: Clips) -> None:
        self.batch_sizes = list(batch_sizes)
        self.clips = clips

    @abstractmethod
    def forward(
        self, inputs: Tensor, hidden: Tensor, cell: Tensor, bias: Tensor
    ) -> Tuple[Tensor, Tensor, Tensor]:
        """As `recur`."""

    @abstractmethod
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
        """inputs, hidden, cell: what the pass started from."""

    def read_again(self, weights: Sequence[Tensor]) -> Sequence[Tensor]:
        """Those of the weights that the way back reads as they lie."""
        return ()

    def _before(self, rows: Tensor, start: Tensor) -> Tensor:
        """What each row's step started from: the row of the step before, (G, R, ...).

        rows: of each step. start: before the first.
        """
        parts: List[Tensor] = [start[:, : self.batch_sizes[0]]]
        row = 0
        for size, following in zip(self.batch_sizes, self.batch_sizes[1:]):
            parts.append(rows[:, row : row + following])
            row += size
        return torch.cat(parts, dim=1)


class OperationsRun(Run):
    """A `Run` by PyTorch's operations. What it keeps is in the dtype of the products:
    each step's arithmetic is done in that of the state, on what a core's cache holds,
    and rounded once.

    products: of the weights ih, hh and hr, formed once for all blocks.
    """

    def __init__(
        self,
        products: Sequence[Optional[BatchedProduct]],
        batch_sizes: Sequence[int],
        clips: Clips,
    ) -> None:
        super().__init__(batch_sizes, clips)
        self.ih = cast(BatchedProduct, products[0])
        self.hh = cast(BatchedProduct, products[1])
        self.hr = products[2]

    def read_again(self, weights: Sequence[Tensor]) -> Sequence[Tensor]:
        return [weight for weight in weights if weight.dtype == self.hh.dtype]

    def forward(
        self, inputs: Tensor, hidden: Tensor, cell: Tensor, bias: Tensor
    ) -> Tuple[Tensor, Tensor, Tensor]:
        n_lstms, n_rows, _ = inputs.shape
        dim, dtype = cell.shape[2], self.hh.dtype
        gates = self.ih.low(inputs)
        outputs = torch.empty_like(inputs)
        cells = cell.new_empty(n_lstms, n_rows, dim)
        # What is projected, or without a projection the output.
        unprojected = torch.empty_like(cells, dtype=dtype)
        last_hidden, last_cell = hidden.clone(), cell.clone()
        exact = _Scratch(gates, cell)
        if exact.room is None:
            gates += bias
        for low_gates, new_cell, low_row, output in self._steps(
            gates, cells, unprojected, outputs
        ):
            size = output.shape[1]
            if size < hidden.shape[1]:
                last_hidden[:, size : hidden.shape[1]] = hidden[:, size:]
                last_cell[:, size : cell.shape[1]] = cell[:, size:]
                hidden, cell = hidden[:, :size], cell[:, :size]
            self.hh.add_to(low_gates, hidden)
            all_gates = exact.like(low_gates)
            if all_gates is not low_gates:
                torch.add(low_gates, bias, out=all_gates)
            i, f, g, o = all_gates.chunk(4, dim=2)
            activate_gates_(all_gates)
            torch.mul(f, cell, out=new_cell).addcmul_(i, g)
            if self.clips.cell is not None:
                new_cell.clamp_(-self.clips.cell, self.clips.cell)
            cell = new_cell
            row = tanh(cell)
            if low_row.dtype == row.dtype:
                row = torch.mul(row, o, out=low_row)
            else:
                low_row.copy_(row.mul_(o))
            if all_gates is not low_gates:
                low_gates.copy_(all_gates)
            if self.hr is None:
                output.copy_(row)
            else:
                self.hr.write_to(output, low_row)
                if self.clips.projection is not None:
                    output.clamp_(-self.clips.projection, self.clips.projection)
            hidden = output
        last_hidden[:, : hidden.shape[1]] = hidden
        last_cell[:, : cell.shape[1]] = cell
        self.gates, self.cells, self.unprojected = gates, cells, unprojected
        return outputs, last_hidden, last_cell

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
        aten = torch.ops.aten
        d_hidden, d_cell = d_hidden.clone(), d_cell.clone()
        d_gates = torch.empty_like(self.gates)
        d_projected = torch.empty_like(outputs)
        exact, d_exact = _Scratch(self.gates, cell), _Scratch(d_gates, cell)
        steps = list(
            self._steps(
                d_outputs, outputs, d_projected, self.gates, self.cells, d_gates
            )
        )
        befores = [cell, *(step[4] for step in steps)]
        for step, before in zip(reversed(steps), reversed(befores[:-1])):
            d_output, output, d_row, low_gates, new_cell, low_d_gates = step
            size = output.shape[1]
            dh, dc = d_hidden[:, :size], d_cell[:, :size]
            torch.add(dh, d_output, out=d_row)
            if self.hr is not None:
                _through_clip(d_row, output, self.clips.projection)
                d_row = self.hr.back(d_row)
            all_gates = exact.like(low_gates)
            if all_gates is not low_gates:
                all_gates.copy_(low_gates)
            i, f, g, o = all_gates.chunk(4, dim=2)
            d_all = d_exact.like(low_d_gates)
            d_i, d_f, d_g, d_o = d_all.chunk(4, dim=2)
            squashed = tanh(new_cell)
            torch.mul(squashed, d_row, out=d_o)
            dc += aten.tanh_backward(d_row.mul_(o), squashed)
            _through_clip(dc, new_cell, self.clips.cell)
            torch.mul(dc, g, out=d_i), torch.mul(dc, before[:, :size], out=d_f)
            # In one go, with g's place, which is then written as it should be.
            aten.sigmoid_backward.grad_input(d_all, all_gates, grad_input=d_all)
            aten.tanh_backward.grad_input(dc * i, g, grad_input=d_g)
            dc *= f
            if d_all is not low_d_gates:
                low_d_gates.copy_(d_all)
            self.hh.write_back_to(dh, low_d_gates)
        gradients = self.gradients_of_all_steps(
            inputs, hidden, outputs, d_gates, d_projected
        )
        return gradients[0], d_hidden, d_cell, *gradients[1:]

    def gradients_of_all_steps(
        self,
        inputs: Tensor,
        hidden: Tensor,
        outputs: Tensor,
        d_gates: Tensor,
        d_projected: Optional[Tensor],
    ) -> Tuple[Tensor, Tensor, Tensor, Tensor, Optional[Tensor]]:
        """What is formed of all steps at once: gradients of the inputs, and of ih, hh,
        bias, hr."""
        dtype = inputs.dtype
        ones = d_gates.new_ones(*d_gates.shape[:2], 1)
        (d_bias,) = _outers(ones, [d_gates], dtype)
        before = self._before(outputs, hidden)
        d_ih, d_hh = _outers(d_gates, [inputs, before], dtype)
        d_hr = None
        if self.hr is not None and d_projected is not None:
            low = d_projected.to(d_gates.dtype)
            (d_hr,) = _outers(low, [self.unprojected], dtype)
        d_inputs = torch.empty_like(inputs)
        self.ih.write_back_to(d_inputs, d_gates)
        return d_inputs, d_ih, d_hh, d_bias, d_hr

    def _steps(self, *rows: Tensor) -> Iterator[Tuple[Tensor, ...]]:
        return zip(*(packed.split(self.batch_sizes, dim=1) for packed in rows))


class _Scratch:
    """Where one step's gates stand in the state's dtype: in their own place if that is
    their dtype."""

    def __init__(self, gates: Tensor, cell: Tensor) -> None:
        self.room = None
        if gates.dtype != cell.dtype:
            self.room = cell.new_empty(*cell.shape[:2], gates.shape[2])

    def like(self, gates: Tensor) -> Tensor:
        return gates if self.room is None else self.room[:, : gates.shape[1]]


def _outers(left: Tensor, rights: Sequence[Tensor], dtype: torch.dtype) -> List[Tensor]:
    """Weights' gradients: the sums over rows of left ⊗ right, of each of `rights`."""
    turned = left.transpose(1, 2)
    if prefers_contiguous(left) and left.shape[1] < sum(r.shape[2] for r in rights):
        # Or each of the results would have to be turned, and they are larger.
        turned = turned.contiguous()
    return [bmm(turned, right.to(left.dtype)).to(dtype) for right in rights]


def _through_clip(gradient: Tensor, clipped: Tensor, clip: Optional[float]) -> None:
    """In place: where a value lies at its bound, it has no gradient."""
    if clip is not None:
        torch.ops.aten.hardtanh_backward.grad_input(
            gradient, clipped, -clip, clip, grad_input=gradient
        )


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Tuple[Tensor, Tensor, Tensor]:
        run, inputs, hidden, cell, *weights = arguments
        biases = weights[2 :: len(Weights._fields)]
        bias = biases[0] if len(biases) == 1 else torch.cat(biases)
        outputs, last_hidden, last_cell = run.forward(inputs, hidden, cell, bias)
        ctx.run = run
        # Saved, they may not change before the way back.
        shared = run.read_again([weight for weight in weights if weight is not None])
        ctx.save_for_backward(inputs, hidden, cell, outputs, *shared)
        return outputs, last_hidden, last_cell

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Tuple[Optional[Tensor], ...]:
        return (None, *ctx.run.backward(*ctx.saved_tensors[:4], *gradients))


def recur_without_gradient(
    inputs: Tensor,
    hidden: Tensor,
    cell: Tensor,
    batch_sizes: Sequence[int],
    bias: Tensor,
    clips: Clips,
    products: Products[Product],
) -> Tuple[Tensor, Tensor, Tensor]:
    """The same block; it keeps nothing. Shapes as of `recur`."""
    sizes = list(batch_sizes)
    gates = products.ih(inputs).add_(bias)
    outputs = torch.empty_like(inputs)
    last_hidden, last_cell = hidden.clone(), cell.clone()
    steps = zip(
        *(
            rows.split(sizes, dim=1)
            for rows in (
                gates,
                *gates.chunk(4, dim=2),
                outputs,
            )
        )
    )
    for all_gates, i, f, g, o, output in steps:
        size = output.shape[1]
        if size < hidden.shape[1]:
            last_hidden[:, size : hidden.shape[1]] = hidden[:, size:]
            last_cell[:, size : cell.shape[1]] = cell[:, size:]
            hidden, cell = hidden[:, :size], cell[:, :size]
        products.hh.add_to(all_gates, hidden)
        activate_gates_(all_gates)
        cell = torch.mul(f, cell).addcmul_(i, g)
        if clips.cell is not None:
            cell.clamp_(-clips.cell, clips.cell)
        hidden = tanh(cell).mul_(o)
        if products.hr is not None:
            hidden = products.hr(hidden)
            if clips.projection is not None:
                hidden.clamp_(-clips.projection, clips.projection)
        output.copy_(hidden)
    last_hidden[:, : hidden.shape[1]] = hidden
    last_cell[:, : cell.shape[1]] = cell
    return outputs, last_hidden, last_cell
