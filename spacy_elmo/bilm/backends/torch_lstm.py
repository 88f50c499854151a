"""The LSTM in PyTorch, against which other implementations are tested.

c' = clip(sigmoid(i) tanh(g) + sigmoid(f) c)
h' = clip(W_hr (sigmoid(o) tanh(c')))

This is Sak et al.'s LSTM with projection (2014), with the bounds on cell and output
that ELMo adds and no library's fused LSTM has. Its backward pass keeps the activated
gates, goes back through time once, and computes each weight gradient as one product
over all steps.

Shapes: G directions, which run together and never mix; N sequences; R packed rows;
D = dim; P = projection_dim. "Low" is the dtype of the matrix products.
"""

from typing import Any, Iterator, List, NamedTuple, Optional, Sequence, Tuple, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .backend import Clips, LSTMState, LSTMWeights
from .torch_gates import Gates, as_limit

_BLOCK_BYTES = {"cpu": 16 << 20, "cuda": 512 << 20}
"""Bytes of input products per block of steps: few enough for the cache of a CPU."""

_MIN_BLOCK_ROWS = 256
"""With fewer rows, a product takes longer to read the weights than to multiply."""


class StackedWeights(NamedTuple):
    """Weights of G directions, transposed and in the dtype of the products.

    input, hidden (Tensor): (G, P, 4 D).
    bias (Tensor): (G, 1, 4 D), in the dtype of the state.
    projection (Optional[Tensor]): (G, D, P).
    """

    input: Tensor
    hidden: Tensor
    bias: Tensor
    projection: Optional[Tensor]


def stack_weights(
    weights: Sequence[LSTMWeights], dtype: torch.dtype, contiguous: bool = False
) -> StackedWeights:
    """Stack the weights of the directions; gradients flow through.

    weights (Sequence[LSTMWeights]): Weights of each direction.
    dtype (torch.dtype): Dtype of the matrix products.
    contiguous (bool): Whether to store the transposed weights as such, which makes the
        products of single sequences on a CPU up to twice as fast.
    """

    def stack(tensors: Sequence[Tensor]) -> Tensor:
        return tensors[0][None] if len(tensors) == 1 else torch.stack(list(tensors))

    def transpose(tensors: Sequence[Optional[Tensor]]) -> Optional[Tensor]:
        if tensors[0] is None:
            return None
        stacked = stack(cast(Sequence[Tensor], tensors)).to(dtype).transpose(1, 2)
        return stacked.contiguous() if contiguous else stacked

    return StackedWeights(
        cast(Tensor, transpose([each.input for each in weights])),
        cast(Tensor, transpose([each.hidden for each in weights])),
        stack([each.bias for each in weights]).unsqueeze(1),
        transpose([each.projection for each in weights]),
    )


class Step(NamedTuple):
    """Results of one step; everything but the cell is low.

    gates (Optional[Tensor]): Activated gates, (G N, 4 D), if they are kept.
    cell (Tensor): Clipped memory cell, (G, N, D).
    unprojected (Tensor): Output before the projection, (G, N, D).
    hidden (Tensor): Clipped output, (G, N, P).
    """

    gates: Optional[Tensor]
    cell: Tensor
    unprojected: Tensor
    hidden: Tensor


def input_products(
    inputs: Tensor, batch_sizes: Sequence[int], weights: StackedWeights
) -> Iterator[Tensor]:
    """Yield the inputs' share of the gates at each step, bias included, (G, N, 4 D).

    The products are computed for blocks of steps, so that they never take more than
    `_BLOCK_BYTES` for long inputs.
    """
    dtype = weights.input.dtype
    row_bytes = weights.bias.numel() * dtype.itemsize
    at_once = _BLOCK_BYTES.get(inputs.device.type, _BLOCK_BYTES["cpu"])
    block_rows = max(_MIN_BLOCK_ROWS, at_once // row_bytes)
    bias = weights.bias.to(dtype)
    for first, sizes in blocks(batch_sizes, block_rows):
        rows = inputs[:, first : first + sum(sizes)].to(dtype)
        yield from torch.baddbmm(bias, rows, weights.input).split(sizes, dim=1)


def blocks(
    batch_sizes: Sequence[int], block_rows: int
) -> Iterator[Tuple[int, List[int]]]:
    """Group steps into blocks of at most `block_rows` rows, or of one step. Yields the
    first row and the batch sizes of each block."""
    first, n_rows = 0, 0
    sizes: List[int] = []
    for size in batch_sizes:
        if sizes and n_rows + size > block_rows:
            yield first, sizes
            first, n_rows, sizes = first + n_rows, 0, []
        sizes.append(size)
        n_rows += size
    if sizes:
        yield first, sizes


def run_steps(
    products: Iterator[Tensor],
    hidden: Tensor,
    cell: Tensor,
    weights: StackedWeights,
    clips: Clips,
    gates: Gates,
    keep_gates: bool,
) -> Iterator[Step]:
    """Step the LSTMs through time.

    products (Iterator[Tensor]): Input products of each step, (G, N, 4 D), with N never
        rising.
    hidden (Tensor): Initial output, (G, N, P), low.
    cell (Tensor): Initial cell, (G, N, D).
    """
    limit = as_limit(clips.cell, cell)
    for step_products in products:
        shape = step_products.shape[:2]
        sums = torch.baddbmm(step_products, hidden[:, : shape[1]], weights.hidden)
        previous = cell[:, : shape[1]]
        kept, *results = gates.activate(
            _as_rows(sums), _as_rows(previous), limit, keep_gates
        )
        cell, unprojected = (rows.unflatten(0, shape) for rows in results)
        hidden = unprojected
        if weights.projection is not None:
            hidden = torch.bmm(unprojected, weights.projection)
            if clips.projection is not None:
                hidden.clamp_(-clips.projection, clips.projection)
        yield Step(kept, cell, unprojected, hidden)


def store_final(final: LSTMState, hidden: Tensor, cell: Tensor, n_running: int) -> None:
    """Store the state of the sequences that end at a step.

    final (LSTMState): Final state of all sequences, written in place.
    hidden, cell (Tensor): State after the step.
    n_running (int): Number of sequences with another step; they come first.
    """
    size = hidden.shape[1]
    if n_running < size:
        final.hidden[:, n_running:size] = hidden[:, n_running:]
        final.cell[:, n_running:size] = cell[:, n_running:]


def to_exact(low: Tensor, dtype: torch.dtype, clip: Optional[float]) -> Tensor:
    """Convert outputs to the dtype of the inputs. A clipped output that was rounded to
    bfloat16 may exceed its bound and is clipped once more."""
    exact = low.to(dtype)
    if clip is not None and low.dtype != dtype:
        exact.clamp_(-clip, clip)
    return exact


def output_clip(weights: StackedWeights, clips: Clips) -> Optional[float]:
    """Return the bound of the outputs: without a projection there is none."""
    return None if weights.projection is None else clips.projection


def run_lstm(
    inputs: Tensor,
    batch_sizes: Sequence[int],
    state: LSTMState,
    weights: StackedWeights,
    clips: Clips,
    gates: Gates,
    keep_gates: bool = False,
) -> Tuple[Tensor, LSTMState, List[Step]]:
    """Compute `Backend.lstm` without gradients.

    RETURNS (Tuple[Tensor, LSTMState, List[Step]]): Outputs, final state, and if the
        gates are kept, the results of each step.
    """
    low = state.hidden.to(weights.hidden.dtype, copy=True)
    final = LSTMState(low, state.cell.clone())
    products = input_products(inputs, batch_sizes, weights)
    outputs: List[Tensor] = []
    steps: List[Step] = []
    for step, n_running in zip(
        run_steps(products, low, state.cell, weights, clips, gates, keep_gates),
        [*batch_sizes[1:], 0],
    ):
        outputs.append(step.hidden)
        store_final(final, step.hidden, step.cell, n_running)
        if keep_gates:
            steps.append(step)
    clip = output_clip(weights, clips)
    return (
        to_exact(torch.cat(outputs, dim=1), inputs.dtype, clip),
        LSTMState(to_exact(final.hidden, inputs.dtype, clip), final.cell),
        steps,
    )


def lstm(
    inputs: Tensor,
    batch_sizes: Sequence[int],
    state: LSTMState,
    weights: StackedWeights,
    clips: Clips,
    gates: Gates,
) -> Tuple[Tensor, LSTMState]:
    """Compute `Backend.lstm` with its backward pass, which cannot be differentiated
    again."""
    outputs, *last = cast(
        Tuple[Tensor, Tensor, Tensor],
        _LSTM.apply(inputs, *state, *weights, list(batch_sizes), clips, gates),
    )
    return outputs, LSTMState(*last)


class _LSTM(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Tuple[Tensor, Tensor, Tensor]:
        inputs, hidden, cell, *parts, batch_sizes, clips, gates = arguments
        weights, state = StackedWeights(*parts), LSTMState(hidden, cell)
        outputs, final, steps = run_lstm(
            inputs, batch_sizes, state, weights, clips, gates, keep_gates=True
        )
        ctx.run = steps, batch_sizes, clips, gates
        # Saved tensors may not change before the backward pass.
        ctx.save_for_backward(inputs, hidden, cell, outputs, *weights)
        return outputs, *final

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, d_outputs: Tensor, d_hidden: Tensor, d_cell: Tensor
    ) -> Tuple[Optional[Tensor], ...]:
        inputs, hidden, cell, outputs, *parts = ctx.saved_tensors
        weights = StackedWeights(*parts)
        steps, batch_sizes, clips, gates = ctx.run
        dtype = weights.hidden.dtype
        d_final = d_hidden.to(dtype), d_cell
        dh, dc = (gradient[:, :0] for gradient in d_final)
        limit = as_limit(clips.cell, cell)
        bound = as_limit(clips.projection, steps[0].hidden)
        d_gates: List[Tensor] = []
        d_projected: List[Tensor] = []
        previous_cells = [cell, *(step.cell for step in steps)]
        for step, previous, d_output in zip(
            reversed(steps),
            reversed(previous_cells[:-1]),
            reversed(d_outputs.split(batch_sizes, dim=1)),
        ):
            shape = d_output.shape[:2]
            dh, dc = (_with_ended(*pair, shape[1]) for pair in zip((dh, dc), d_final))
            if weights.projection is None:
                d_unprojected = (dh + d_output).to(dtype)
            else:
                d_step = gates.project_backward(
                    _as_rows(dh), _as_rows(d_output), _as_rows(step.hidden), bound
                ).unflatten(0, shape)
                d_projected.append(d_step)
                d_unprojected = torch.bmm(d_step, weights.projection.transpose(1, 2))
            gradients = gates.activate_backward(
                _as_rows(d_unprojected),
                _as_rows(dc),
                cast(Tensor, step.gates),
                _as_rows(previous[:, : shape[1]]),
                _as_rows(step.cell),
                limit,
            )
            d_sums, dc = (rows.unflatten(0, shape) for rows in gradients)
            dh = torch.bmm(d_sums, weights.hidden.transpose(1, 2))
            d_gates.append(d_sums)
        n = hidden.shape[1]
        dh, dc = (_with_ended(*pair, n) for pair in zip((dh, dc), d_final))
        d_inputs, *d_weights = _gradients_of_all_steps(
            inputs,
            _previous_rows(outputs, hidden, batch_sizes),
            torch.cat([step.unprojected for step in steps], dim=1),
            torch.cat(d_gates[::-1], dim=1),
            torch.cat(d_projected[::-1], dim=1) if d_projected else None,
            weights,
        )
        return d_inputs, dh.to(hidden.dtype), dc, *d_weights, None, None, None


def _gradients_of_all_steps(
    inputs: Tensor,
    previous: Tensor,
    unprojected: Tensor,
    d_gates: Tensor,
    d_projected: Optional[Tensor],
    weights: StackedWeights,
) -> Tuple[Optional[Tensor], ...]:
    """Compute what needs no recurrence: the gradients of the inputs and of the four
    weights, each as one product over all rows."""
    dtype = d_gates.dtype
    d_inputs = torch.bmm(d_gates, weights.input.transpose(1, 2)).to(inputs.dtype)
    d_input, d_hidden = (
        torch.bmm(rows.to(dtype).transpose(1, 2), d_gates)
        for rows in (inputs, previous)
    )
    d_bias = d_gates.sum(dim=1, keepdim=True, dtype=weights.bias.dtype)
    d_projection = None
    if d_projected is not None:
        d_projection = torch.bmm(unprojected.transpose(1, 2), d_projected)
    return d_inputs, d_input, d_hidden, d_bias, d_projection


def _previous_rows(rows: Tensor, initial: Tensor, sizes: Sequence[int]) -> Tensor:
    """Return, for each packed row, the row of the step before, (G, R, ...).

    rows (Tensor): Packed rows of all steps.
    initial (Tensor): The rows before the first step.
    sizes (Sequence[int]): Number of running sequences at each step.
    """
    parts: List[Tensor] = [initial[:, : sizes[0]]]
    first = 0
    for size, following in zip(sizes, sizes[1:]):
        parts.append(rows[:, first : first + following])
        first += size
    return torch.cat(parts, dim=1)


def _as_rows(tensor: Tensor) -> Tensor:
    """Reshape (G, N, ...) to (G N, ...), contiguous and detached: compiled gates
    are specialized on views."""
    return tensor.reshape(-1, tensor.shape[2]).contiguous().detach()


def _with_ended(running: Tensor, final: Tensor, size: int) -> Tensor:
    """Append the gradients of sequences that end at this step to those of running
    sequences."""
    n_running = running.shape[1]
    if n_running == size:
        return running
    return torch.cat([running, final[:, n_running:size]], dim=1)
