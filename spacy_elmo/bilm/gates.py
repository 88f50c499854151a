"""What an LSTM's step computes between its matrix products, as pure functions of which
PyTorch's compiler makes one kernel each. On a GPU the launch of a small operation costs
more than what it computes.

Shapes: N rows, one a sequence and LSTM, D = dim, P = projection_dim. All are
contiguous, or they are compiled anew. The gates lie in PyTorch's order: i, f, g, o.
"Low": the dtype of the matrix products.
"""

import math
import warnings
from functools import cache, partial
from threading import Lock
from typing import Callable, List, NamedTuple, Optional, Tuple

import torch
from torch import Tensor

NO_COMPILER = """\
PyTorch's compiler does not work on {device} here: {error}
The steps of LSTMs are computed by separate operations, to the same numbers, but more
slowly. It needs Triton, which comes with PyTorch for CUDA, and a C compiler, which the
environment variable CC may name."""


def activate(
    gates: Tensor, cell: Tensor, limit: Tensor, keep: bool
) -> Tuple[Optional[Tensor], Tensor, Tensor]:
    """From what the products have given to the memory cell and what is projected.

    gates: before activation, (N, 4 D), low. cell: of the step before, (N, D).
    limit: of the cell, see `as_limit`.
    RETURNS: the activated gates in the shape and dtype of the others, if `keep`; the
        cell; the row to project, (N, D), low.
    """
    i, f, g, o = gates.to(cell.dtype).chunk(4, dim=1)
    i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
    cell = (f * cell + i * g).clamp(-limit, limit)
    kept = torch.cat([i, f, g, o], dim=1).to(gates.dtype) if keep else None
    return kept, cell, (o * cell.tanh()).to(gates.dtype)


def activate_backward(
    d_row: Tensor,
    d_cell: Tensor,
    gates: Tensor,
    before: Tensor,
    cell: Tensor,
    limit: Tensor,
) -> Tuple[Tensor, Tensor]:
    """The way back through `activate`.

    d_row, d_cell: gradients of what it gave. gates: what it kept. before, cell: the
    memory cell before and after the step.
    RETURNS: the gradients of its gates (low) and of the cell before.
    """
    i, f, g, o = gates.to(cell.dtype).chunk(4, dim=1)
    d_row, tanh = d_row.to(cell.dtype), cell.tanh()
    d_cell = d_cell + d_row * o * (1 - tanh * tanh)
    d_cell = torch.where(cell.abs() < limit, d_cell, 0.0)
    parts = [
        d_cell * g * i * (1 - i),
        d_cell * before * f * (1 - f),
        d_cell * i * (1 - g * g),
        d_row * tanh * o * (1 - o),
    ]
    return torch.cat(parts, dim=1).to(gates.dtype), d_cell * f


def project_backward(
    d_hidden: Tensor, d_output: Tensor, output: Tensor, limit: Tensor
) -> Tensor:
    """The way back through the bound of the projected output.

    d_hidden: what comes back over time, low. d_output: what comes from above.
    output: clipped, (N, P), low. RETURNS: in its shape, low.
    """
    gradient = d_hidden.to(d_output.dtype) + d_output
    return torch.where(output.abs() < limit, gradient, 0.0).to(d_hidden.dtype)


def as_limit(clip: Optional[float], like: Tensor) -> Tensor:
    """A clip in a form that no other one needs another kernel for."""
    return like.new_full((), math.inf if clip is None else clip)


class Gates(NamedTuple):
    """The three, plain or compiled."""

    activate: Callable[..., Tuple[Optional[Tensor], Tensor, Tensor]]
    activate_backward: Callable[..., Tuple[Tensor, Tensor]]
    project_backward: Callable[..., Tensor]


PLAIN = Gates(activate, activate_backward, project_backward)


_compiling = Lock()


def compiled_gates(
    device: torch.device, dtype: torch.dtype, with_gradients: bool
) -> Gates:
    """Compiled for this device and this dtype of the matrix products, once a process.
    Where the compiler does not work, they are plain, and a warning says why."""
    with _compiling:
        return _compile(device, dtype, with_gradients)


@cache
def _compile(device: torch.device, dtype: torch.dtype, with_gradients: bool) -> Gates:
    compile_ = partial(torch.compile, dynamic=True)
    compiled = Gates(
        compile_(activate), compile_(activate_backward), compile_(project_backward)
    )
    try:
        _try(compiled, device, dtype, with_gradients)
    except Exception as error:  # of a compiler, of its compiler, of its cache on disk
        reason = f"{type(error).__name__}: {error}".strip().split("\n")[0]
        text = NO_COMPILER.format(device=device, error=reason)
        warnings.warn(text, RuntimeWarning, stacklevel=2)
        return PLAIN
    return compiled


@torch.no_grad()
def _try(
    gates: Gates, device: torch.device, dtype: torch.dtype, with_gradients: bool
) -> None:
    """Compile what will be used. Raises RuntimeError where it does not give what the
    plain functions do."""
    numbers = torch.arange(2 * 3 * 16, dtype=torch.float32, device=device).sin()
    exact = numbers.view(6, 16)
    cell, before = exact[:, :4].clone(), exact[:, 4:8].clone()
    # A view of nothing, as in a run, or all would be compiled once more there.
    low = exact.to(dtype, copy=True)
    limit = as_limit(0.5, cell)
    results: List[List[Tensor]] = []
    for each in (gates, PLAIN):
        kept, new, row = each.activate(low, cell, limit, with_gradients)
        found = [new, row]
        if kept is not None:
            output, bound = cell.to(dtype), as_limit(0.5, row)
            found += [kept, each.project_backward(row, new, output, bound)]
            found += each.activate_backward(row, cell, kept, before, new, limit)
        results.append(found)
    off = max(1e-5, 4 * torch.finfo(dtype).eps)
    for one, other in zip(*results):
        if not torch.allclose(one, other, atol=off):
            raise RuntimeError("it gives other numbers")
