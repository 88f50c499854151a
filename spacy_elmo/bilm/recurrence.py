"""The recurrent half of the projected, clipped LSTM, with a backward pass of its own:
it keeps the gates, goes back over time once, and forms each weight's gradient as one
product over all steps.

Several LSTMs of one shape (the two directions) run side by side; they never mix.

Shapes: G LSTMs, R packed rows, N sequences, D = dim, P = projection_dim.
"""

from typing import Any, List, NamedTuple, Optional, Sequence, Tuple, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class Clips(NamedTuple):
    """Bounds of the memory cell and of the projected output; None: no bound."""

    cell: Optional[float]
    projection: Optional[float]


def recur(
    gates_in: Tensor,
    w_hh: Tensor,
    w_hr: Optional[Tensor],
    hidden: Tensor,
    cell: Tensor,
    batch_sizes: Sequence[int],
    clips: Clips,
    dtype: torch.dtype = torch.float32,
) -> Tuple[Tensor, Tensor, Tensor]:
    """Run over packed rows.

    gates_in: the inputs' products with all biases, in the order i, f, g, o,
        (G, R, 4 D). Without gradients it is used as scratch.
    w_hh: (G, 4 D, P). w_hr: (G, P, D); None: no projection, P = D, no bound of the
        output.
    hidden, cell: to start from, (G, N, P) and (G, N, D), the longest sequence first.
    batch_sizes: running sequences at each step, never rising; they sum up to R.
    dtype: of the matrix products.
    RETURNS: outputs (G, R, P), and each sequence's last hidden (G, N, P) and cell
        (G, N, D). The gradient cannot be differentiated again.
    """
    needs_grad = torch.is_grad_enabled() and any(
        tensor is not None and tensor.requires_grad
        for tensor in (gates_in, w_hh, w_hr, hidden, cell)
    )
    if not needs_grad:
        run = _Run(w_hh, w_hr, batch_sizes, clips, dtype)
        return run.forward(gates_in, hidden, cell, keep=False)
    return cast(
        Tuple[Tensor, Tensor, Tensor],
        _Recurrence.apply(
            gates_in, w_hh, w_hr, hidden, cell, tuple(batch_sizes), clips, dtype
        ),
    )


class _Run:
    """One pass over time; what the pass back needs stays in it."""

    def __init__(
        self,
        w_hh: Tensor,
        w_hr: Optional[Tensor],
        batch_sizes: Sequence[int],
        clips: Clips,
        dtype: torch.dtype,
    ) -> None:
        self.w_hh = w_hh.to(dtype)
        self.w_hr = None if w_hr is None else w_hr.to(dtype)
        self.batch_sizes = batch_sizes
        self.clips = clips
        self.dtype = dtype

    def forward(
        self, gates_in: Tensor, hidden: Tensor, cell: Tensor, *, keep: bool
    ) -> Tuple[Tensor, Tensor, Tensor]:
        n_rows, dim = gates_in.shape[1], cell.shape[2]
        group, _, width = hidden.shape
        outputs = hidden.new_empty(group, n_rows, width)
        last_hidden, last_cell = hidden, cell
        if self.batch_sizes[-1] < len(hidden[0]):
            last_hidden, last_cell = torch.empty_like(hidden), torch.empty_like(cell)
        # (G, P, 4 D) in memory: the product reads its weights in order.
        w_hh = self.w_hh.transpose(1, 2)
        w_hr = None if self.w_hr is None else self.w_hr.transpose(1, 2)
        if keep:
            self.gates = torch.empty_like(gates_in)
            self.cells = cell.new_empty(group, n_rows, dim)
            self.tanh_cells = torch.empty_like(self.cells)
        row = 0
        for size in self.batch_sizes:
            rows = slice(row, row + size)
            if size < hidden.shape[1]:
                last_hidden[:, size : hidden.shape[1]] = hidden[:, size:]
                last_cell[:, size : cell.shape[1]] = cell[:, size:]
                hidden, cell = hidden[:, :size], cell[:, :size]
            product = torch.bmm(hidden.to(self.dtype), w_hh)
            if keep:
                gates = torch.add(product, gates_in[:, rows], out=self.gates[:, rows])
            else:
                gates = gates_in[:, rows].add_(product)
            i_f, g, o = gates.split([2 * dim, dim, dim], dim=2)
            i_f.sigmoid_(), g.tanh_(), o.sigmoid_()
            i, f = i_f.chunk(2, dim=2)
            cell = torch.mul(f, cell, out=self.cells[:, rows] if keep else None)
            cell.addcmul_(i, g)
            if self.clips.cell is not None:
                cell.clamp_(-self.clips.cell, self.clips.cell)
            tanh = torch.tanh(cell, out=self.tanh_cells[:, rows] if keep else None)
            hidden = o * tanh
            if w_hr is not None:
                hidden = torch.bmm(hidden.to(self.dtype), w_hr).to(outputs.dtype)
                if self.clips.projection is not None:
                    hidden.clamp_(-self.clips.projection, self.clips.projection)
            outputs[:, rows] = hidden
            row += size
        if last_hidden.shape == hidden.shape:
            return outputs, hidden, cell.clone() if keep else cell
        last_hidden[:, : hidden.shape[1]] = hidden
        last_cell[:, : cell.shape[1]] = cell
        return outputs, last_hidden, last_cell

    def backward(
        self,
        outputs: Tensor,
        hidden: Tensor,
        cell: Tensor,
        d_outputs: Tensor,
        d_hidden: Tensor,
        d_cell: Tensor,
    ) -> Tuple[Tensor, Tensor, Optional[Tensor], Tensor, Tensor]:
        """hidden, cell: what the pass started from. RETURNS: the gradients of gates_in,
        w_hh, w_hr, hidden, cell."""
        sizes, dim = self.batch_sizes, cell.shape[2]
        d_hidden, d_cell = d_hidden.clone(), d_cell.clone()
        # What the gradients are multiplied by is known before: it is formed at once for
        # all steps, in few large operations.
        i, f, g, o = self.gates.chunk(4, dim=2)
        factors = torch.empty_like(self.gates)
        for_i, for_f, for_g, for_o = factors.chunk(4, dim=2)
        aten = torch.ops.aten
        aten.sigmoid_backward.grad_input(g, i, grad_input=for_i)
        before = self._before(self.cells, cell)
        aten.sigmoid_backward.grad_input(before, f, grad_input=for_f)
        aten.tanh_backward.grad_input(i, g, grad_input=for_g)
        aten.sigmoid_backward.grad_input(self.tanh_cells, o, grad_input=for_o)
        to_cell = aten.tanh_backward(o, self.tanh_cells)
        d_projected = torch.empty_like(outputs) if self.w_hr is not None else None
        row = outputs.shape[1]
        for size in reversed(sizes):
            row -= size
            rows = slice(row, row + size)
            dh, dc = d_hidden[:, :size], d_cell[:, :size]
            d_row = dh.add_(d_outputs[:, rows])
            if d_projected is not None and self.w_hr is not None:
                _through_clip(d_row, outputs[:, rows], self.clips.projection)
                d_projected[:, rows] = d_row
                d_row = torch.bmm(d_row.to(self.dtype), self.w_hr).to(dc.dtype)
            dc.addcmul_(d_row, to_cell[:, rows])
            _through_clip(dc, self.cells[:, rows], self.clips.cell)
            # From here on the factors become the gradients.
            gates = factors[:, rows]
            gates[:, :, 3 * dim :] *= d_row
            gates[:, :, : 3 * dim].unflatten(2, (3, dim)).mul_(dc.unsqueeze(2))
            dc *= f[:, rows]
            dh.copy_(torch.bmm(gates.to(self.dtype), self.w_hh))
        d_w_hh = self._product(factors, self._before(outputs, hidden))
        d_w_hr = None
        if d_projected is not None:
            d_w_hr = self._product(d_projected, o * self.tanh_cells)
        return factors, d_w_hh, d_w_hr, d_hidden, d_cell

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

    def _product(self, left: Tensor, right: Tensor) -> Tensor:
        """A weight's gradient: the sum over rows of left ⊗ right."""
        product = torch.bmm(left.to(self.dtype).transpose(1, 2), right.to(self.dtype))
        return product.to(left.dtype)


def _through_clip(gradient: Tensor, clipped: Tensor, clip: Optional[float]) -> None:
    """In place: where a value lies at its bound, it has no gradient."""
    if clip is not None:
        torch.ops.aten.hardtanh_backward.grad_input(
            gradient, clipped, -clip, clip, grad_input=gradient
        )


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Tuple[Tensor, Tensor, Tensor]:
        gates_in, w_hh, w_hr, hidden, cell, batch_sizes, clips, dtype = arguments
        run = _Run(w_hh, w_hr, batch_sizes, clips, dtype)
        outputs, last_hidden, last_cell = run.forward(gates_in, hidden, cell, keep=True)
        ctx.run = run
        ctx.save_for_backward(outputs, hidden, cell)
        return outputs, last_hidden.clone(), last_cell

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Tuple[Optional[Tensor], ...]:
        outputs, hidden, cell = ctx.saved_tensors
        found = ctx.run.backward(outputs, hidden, cell, *gradients)
        return (*found, None, None, None)
