"""The element-wise part of an LSTM step, as pure functions.

On a GPU the launch of a small operation costs more than its arithmetic, so PyTorch's
compiler makes one kernel of each function there. On a CPU they run as written.

Shapes: N rows, one per sequence and direction; D = dim; P = projection_dim. Tensors
must be contiguous, otherwise the compiler specializes once more. The gate order is
PyTorch's: i, f, g, o. "Low" is the dtype of the matrix products.
"""

import math
import warnings
from functools import cache, partial
from threading import Lock
from typing import Callable, List, NamedTuple, Optional, Tuple

import torch
from torch import Tensor

NO_COMPILER = """\
PyTorch's compiler does not work on {device}: {error}
LSTM steps run as separate operations instead: the results are the same, but it is
slower. The compiler needs Triton, which comes with PyTorch for CUDA, and a C compiler,
which the environment variable CC may name."""


def tanh(values: Tensor) -> Tensor:
    """Compute tanh as 2 sigmoid(2x) - 1, to within 2 units in the last place of 1.

    On a CPU, PyTorch's tanh takes nine times as long as its sigmoid (2.13, AVX-512),
    which is more than the matrix products of a small LSTM.
    """
    return torch.mul(values, 2).sigmoid_().mul_(2).sub_(1)


def activate(
    gates: Tensor, cell: Tensor, limit: Tensor, keep: bool
) -> Tuple[Optional[Tensor], Tensor, Tensor]:
    """Compute the memory cell and the unprojected output of one step.

    gates (Tensor): Gates before activation, (N, 4 D), low.
    cell (Tensor): Memory cell of the previous step, (N, D).
    limit (Tensor): Bound of the cell, see `as_limit`.
    keep (bool): Whether to return the activated gates, for the backward pass.
    RETURNS (Tuple[Optional[Tensor], Tensor, Tensor]): The activated gates in the shape
        and dtype of `gates`, or None; the new cell; the output to project, (N, D), low.
    """
    i, f, g, o = gates.to(cell.dtype).chunk(4, dim=1)
    i, f, g, o = i.sigmoid(), f.sigmoid(), tanh(g), o.sigmoid()
    cell = (f * cell).addcmul_(i, g).clamp_(-limit, limit)
    kept = torch.cat([i, f, g, o], dim=1).to(gates.dtype) if keep else None
    return kept, cell, (o * tanh(cell)).to(gates.dtype)


def activate_backward(
    d_output: Tensor,
    d_cell: Tensor,
    gates: Tensor,
    previous: Tensor,
    cell: Tensor,
    limit: Tensor,
) -> Tuple[Tensor, Tensor]:
    """Compute the backward pass of `activate`.

    d_output (Tensor): Gradient of the unprojected output, (N, D), low.
    d_cell (Tensor): Gradient of the new cell, (N, D).
    gates (Tensor): Activated gates, (N, 4 D), low.
    previous (Tensor): Memory cell before the step, (N, D).
    cell (Tensor): Memory cell after the step, (N, D).
    limit (Tensor): Bound of the cell.
    RETURNS (Tuple[Tensor, Tensor]): Gradients of the gates before activation (low) and
        of the previous cell.
    """
    i, f, g, o = gates.to(cell.dtype).chunk(4, dim=1)
    d_output, squashed = d_output.to(cell.dtype), tanh(cell)
    d_cell = d_cell + d_output * o * (1 - squashed * squashed)
    d_cell = torch.where(cell.abs() < limit, d_cell, 0.0)
    parts = [
        d_cell * g * i * (1 - i),
        d_cell * previous * f * (1 - f),
        d_cell * i * (1 - g * g),
        d_output * squashed * o * (1 - o),
    ]
    return torch.cat(parts, dim=1).to(gates.dtype), d_cell * f


def project_backward(
    d_hidden: Tensor, d_output: Tensor, output: Tensor, limit: Tensor
) -> Tensor:
    """Compute the backward pass of the clipping of the projected output.

    d_hidden (Tensor): Gradient from the next step, (N, P), low.
    d_output (Tensor): Gradient from the layer above, (N, P).
    output (Tensor): Clipped output, (N, P), low.
    limit (Tensor): Bound of the output.
    RETURNS (Tensor): Gradient of the output before clipping, (N, P), low.
    """
    gradient = d_hidden.to(d_output.dtype) + d_output
    return torch.where(output.abs() < limit, gradient, 0.0).to(d_hidden.dtype)


def as_limit(clip: Optional[float], like: Tensor) -> Tensor:
    """Return a bound as a tensor: the compiler would specialize on a number."""
    return like.new_full((), math.inf if clip is None else clip)


class Gates(NamedTuple):
    """The three functions, plain or compiled."""

    activate: Callable[..., Tuple[Optional[Tensor], Tensor, Tensor]]
    activate_backward: Callable[..., Tuple[Tensor, Tensor]]
    project_backward: Callable[..., Tensor]


PLAIN = Gates(activate, activate_backward, project_backward)


_compiling = Lock()


def compiled_gates(device: torch.device, dtype: torch.dtype, training: bool) -> Gates:
    """Compile the functions, once per process, device and dtype.

    device (torch.device): Device of the tensors.
    dtype (torch.dtype): Dtype of the matrix products.
    training (bool): Whether the backward pass is needed.
    RETURNS (Gates): The compiled functions. If the compiler does not work, a warning
        gives the reason, and the plain functions are returned.
    """
    with _compiling:
        return _compile(device, dtype, training)


@cache
def _compile(device: torch.device, dtype: torch.dtype, training: bool) -> Gates:
    compile_ = partial(torch.compile, dynamic=True)
    compiled = Gates(
        compile_(activate), compile_(activate_backward), compile_(project_backward)
    )
    try:
        _check(compiled, device, dtype, training)
    except Exception as error:  # from the compiler, the C compiler or the disk cache
        reason = f"{type(error).__name__}: {error}".strip().split("\n")[0]
        text = NO_COMPILER.format(device=device, error=reason)
        warnings.warn(text, RuntimeWarning, stacklevel=2)
        return PLAIN
    return compiled


@torch.no_grad()
def _check(
    gates: Gates, device: torch.device, dtype: torch.dtype, training: bool
) -> None:
    """Compile what will be needed. Raises RuntimeError if the results differ from those
    of the plain functions."""
    numbers = torch.arange(2 * 3 * 16, dtype=torch.float32, device=device).sin()
    exact = numbers.view(6, 16)
    cell, previous = exact[:, :4].clone(), exact[:, 4:8].clone()
    # Not a view, as in a run, or everything would be compiled a second time there.
    low = exact.to(dtype, copy=True)
    limit = as_limit(0.5, cell)
    results: List[List[Tensor]] = []
    for functions in (gates, PLAIN):
        kept, new_cell, output = functions.activate(low, cell, limit, training)
        tensors = [new_cell, output]
        if kept is not None:
            clipped, bound = cell.to(dtype), as_limit(0.5, output)
            tensors.append(kept)
            tensors.append(functions.project_backward(output, new_cell, clipped, bound))
            tensors += functions.activate_backward(
                output, cell, kept, previous, new_cell, limit
            )
        results.append(tensors)
    tolerance = max(1e-5, 4 * torch.finfo(dtype).eps)
    for compiled, plain in zip(*results):
        if not torch.allclose(compiled, plain, atol=tolerance):
            raise RuntimeError("its results differ from those of the plain functions")
