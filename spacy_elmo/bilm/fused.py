"""The recurrence in few kernels a step, for GPUs: two matrix products, and what lies
between them in one kernel each. The numbers are those of `recurrence`.

Shapes as there: G LSTMs, R packed rows, N sequences, D = dim, P = projection_dim.
"""

from typing import Iterator, List, NamedTuple, Optional, Sequence, Tuple, cast

import torch
from torch import Tensor

from .gates import Gates, as_limit
from .products import BatchedProduct
from .recurrence import Clips, OperationsRun


class Step(NamedTuple):
    """After one step: the activated gates as rows, if they are kept; the memory cell;
    what was projected; the output. All but the cell in the dtype of the products."""

    gates: Optional[Tensor]
    cell: Tensor
    row: Tensor
    hidden: Tensor


def advance(
    steps: Sequence[Tensor],
    hidden: Tensor,
    cell: Tensor,
    clips: Clips,
    hh: BatchedProduct,
    hr: Optional[BatchedProduct],
    gates: Gates,
    keep: bool,
) -> Iterator[Step]:
    """Steps over time.

    steps: the inputs' products of each, with the bias, (G, N or fewer, 4 D), never more
        sequences than at the one before.
    hidden: to start from, (G, N, P), in the dtype of the products. cell: (G, N, D).
    keep: the activated gates.
    """
    limit = as_limit(clips.cell, cell)
    for inputs in steps:
        shape = inputs.shape[:2]
        sums = hh.plus(inputs, hidden[:, : shape[1]])
        before = cell[:, : shape[1]]
        kept, *after = gates.activate(_rows(sums), _rows(before), limit, keep)
        cell, row = (rows.unflatten(0, shape) for rows in after)
        hidden = row
        if hr is not None:
            hidden = hr.low(row)
            if clips.projection is not None:
                hidden.clamp_(-clips.projection, clips.projection)
        yield Step(kept, cell, row, hidden)


def to_exact(low: Tensor, dtype: torch.dtype, clips: Clips, projected: bool) -> Tensor:
    """Outputs in the dtype of the inputs: rounded, one may lie beyond its bound."""
    exact = low.to(dtype)
    if projected and clips.projection is not None and low.dtype != dtype:
        exact.clamp_(-clips.projection, clips.projection)
    return exact


class Ends:
    """Each sequence's state after its own last step. Sequences end from the last one
    on."""

    def __init__(self) -> None:
        self._parts: List[Tuple[Tensor, Tensor]] = []

    def add(self, hidden: Tensor, cell: Tensor, n_running: int) -> None:
        """The state after a step, and how many sequences have another one."""
        if n_running < hidden.shape[1]:
            ended = hidden[:, n_running:].clone(), cell[:, n_running:].clone()
            self._parts.append(ended)

    def join(self) -> Tuple[Tensor, Tensor]:
        """hidden and cell of all."""
        hidden, cell = zip(*reversed(self._parts))
        return torch.cat(hidden, dim=1), torch.cat(cell, dim=1)


class FusedRun(OperationsRun):
    """A `Run` that keeps each step's tensors where the kernels put them."""

    def __init__(
        self,
        products: Sequence[Optional[BatchedProduct]],
        batch_sizes: Sequence[int],
        clips: Clips,
        gates: Gates,
    ) -> None:
        super().__init__(products, batch_sizes, clips)
        self.functions = gates

    def forward(
        self, inputs: Tensor, hidden: Tensor, cell: Tensor, bias: Tensor
    ) -> Tuple[Tensor, Tensor, Tensor]:
        ends = Ends()
        hidden = hidden.to(self.hh.dtype)
        ends.add(hidden, cell, self.batch_sizes[0])
        products = self.ih.plus(bias.to(hidden.dtype), inputs)
        steps = advance(
            products.split(self.batch_sizes, dim=1),
            hidden,
            cell,
            self.clips,
            self.hh,
            self.hr,
            self.functions,
            keep=True,
        )
        self.steps = list(steps)
        for step, following in zip(self.steps, [*self.batch_sizes[1:], 0]):
            ends.add(step.hidden, step.cell, following)
        last_hidden, last_cell = ends.join()
        outputs = torch.cat([step.hidden for step in self.steps], dim=1)
        return self._exact(outputs, inputs), self._exact(last_hidden, inputs), last_cell

    def _exact(self, low: Tensor, like: Tensor) -> Tensor:
        return to_exact(low, like.dtype, self.clips, self.hr is not None)

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
        dtype = self.hh.dtype
        ends = d_hidden.to(dtype), d_cell
        dh, dc = (end[:, :0] for end in ends)
        limit = as_limit(self.clips.cell, cell)
        # Rounded as the outputs are that lie at it.
        bound = as_limit(self.clips.projection, self.steps[0].hidden)
        d_gates, d_projected = [], []
        before = [cell, *(step.cell for step in self.steps)]
        d_steps = d_outputs.split(self.batch_sizes, dim=1)
        for step, start, d_output in zip(
            reversed(self.steps), reversed(before[:-1]), reversed(d_steps)
        ):
            shape = d_output.shape[:2]
            dh, dc = (_with_ended(*pair, shape[1]) for pair in zip((dh, dc), ends))
            if self.hr is None:
                d_row = (dh + d_output).to(dtype)
            else:
                low = self.functions.project_backward(
                    _rows(dh), _rows(d_output), _rows(step.hidden), bound
                ).unflatten(0, shape)
                d_projected.append(low)
                d_row = self.hr.back(low)
            found = self.functions.activate_backward(
                _rows(d_row),
                _rows(dc),
                cast(Tensor, step.gates),
                _rows(start[:, : shape[1]]),
                _rows(step.cell),
                limit,
            )
            d_step, dc = (rows.unflatten(0, shape) for rows in found)
            dh = self.hh.back(d_step)
            d_gates.append(d_step)
        n = hidden.shape[1]
        dh, dc = (_with_ended(*pair, n) for pair in zip((dh, dc), ends))
        self.unprojected = torch.cat([step.row for step in self.steps], dim=1)
        gradients = self.gradients_of_all_steps(
            inputs,
            hidden,
            outputs,
            torch.cat(d_gates[::-1], dim=1),
            torch.cat(d_projected[::-1], dim=1) if d_projected else None,
        )
        return gradients[0], dh.to(hidden.dtype), dc, *gradients[1:]


def _rows(tensor: Tensor) -> Tensor:
    """(G, N, ...) -> (G N, ...), as `gates` wants them: contiguous, and views of
    nothing, or the compiler would ask what they are views of."""
    return tensor.reshape(-1, tensor.shape[2]).contiguous().detach()


def _with_ended(running: Tensor, ends: Tensor, size: int) -> Tensor:
    """Gradients of so many sequences: of those that run, and of those that end here."""
    found = running.shape[1]
    return running if found == size else torch.cat([running, ends[:, found:size]], 1)
