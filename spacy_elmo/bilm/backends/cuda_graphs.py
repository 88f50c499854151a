"""Inference of the reference LSTM on a GPU by CUDA graphs: a window of steps is
captured once and replayed, so that the GPU never waits for the host between its small
kernels.

Shapes as in `torch_lstm`.
"""

import warnings
from functools import cache
from itertools import islice
from threading import Lock
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import torch
from torch import Tensor

from .backend import Clips, LSTMState
from .torch_gates import Gates
from .torch_lstm import (
    StackedWeights,
    input_products,
    output_clip,
    run_steps,
    store_final,
    to_exact,
)

Steps = List[Tuple[Tensor, Tensor]]
"""Hidden (low) and cell after each step."""

Capture = Callable[[Callable[[], Any], torch.device, Any], Callable[[], Any]]

N_STEPS = 8
"""Steps per captured window. The last window of a run may compute extra steps, which
are discarded."""

N_SEQUENCES = (8, 16, 32, 64, 128, 256)
"""Numbers of sequences of the windows; each is captured when it is first needed. With
more sequences, a step keeps the GPU busy for longer than its launch takes."""

NOT_CAPTURED = """\
Could not capture a CUDA graph for {n} sequences: {error}. Their steps are launched one
by one, which is slower."""


_capturing = Lock()
"""A process captures one graph at a time."""


@cache
def _stream(device: torch.device) -> torch.cuda.Stream:
    """Return the stream for all captures: each stream has its own cuBLAS workspace."""
    return torch.cuda.Stream(device)


def capture_graph(
    run: Callable[[], Any], device: torch.device, pool: Any
) -> Callable[[], Any]:
    """Capture the kernels that a function launches as a CUDA graph.

    run (Callable[[], Any]): The function.
    device (torch.device): The GPU.
    pool (Any): Memory pool for graphs that are never replayed concurrently.
    RETURNS (Callable[[], Any]): Replays the graph and returns what `run` returned: the
        same tensors each time, with new values.
    RAISES: RuntimeError if the graph cannot be captured.
    """
    with _capturing, torch.cuda.device(device):
        outside, stream = torch.cuda.current_stream(), _stream(device)
        stream.wait_stream(outside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.stream(stream):
            for _ in range(3):  # warm up: compile kernels, allocate workspaces
                run()
            # Other threads may use the GPU meanwhile.
            with torch.cuda.graph(
                graph, pool=pool, stream=stream, capture_error_mode="thread_local"
            ):
                results = run()
        outside.wait_stream(stream)

    def replay() -> Any:
        graph.replay()
        return results

    return replay


class GraphedLSTM:
    """Runs one layer's LSTMs window by window. Several threads may call it, on one CUDA
    stream.

    weights (StackedWeights): Weights, which will not change.
    clips (Clips): Bounds of the cell and of the projected output.
    gates (Gates): Element-wise functions, compiled or plain.
    capture (Capture): Turns a function into one that replays it; for tests.
    """

    def __init__(
        self,
        weights: StackedWeights,
        clips: Clips,
        gates: Gates,
        capture: Capture = capture_graph,
    ) -> None:
        self.weights = weights
        self.clips = clips
        self.gates = gates
        self.capture = capture
        self._windows: Dict[int, Optional[_Window]] = {}
        bias = weights.bias
        self.pool = torch.cuda.graph_pool_handle() if bias.is_cuda else None
        # A window's tensors belong to one call at a time.
        self._lock = Lock()

    def __call__(
        self, inputs: Tensor, batch_sizes: Sequence[int], state: LSTMState
    ) -> Tuple[Tensor, LSTMState]:
        """Compute `Backend.lstm`."""
        hidden, cell = state.hidden.to(self.weights.hidden.dtype, copy=True), state.cell
        final = LSTMState(hidden, cell.clone())
        products = input_products(inputs, batch_sizes, self.weights)
        outputs: List[Tensor] = []
        start = 0
        with self._lock:
            while window := list(islice(products, N_STEPS)):
                start += N_STEPS
                following = [*batch_sizes[start - N_STEPS + 1 : start + 1], 0]
                steps = self._run(window, hidden, cell)
                for (hidden, cell), n_running in zip(steps, following):
                    store_final(final, hidden, cell, n_running)
                outputs.append(torch.cat([step[0] for step in steps], dim=1))
        clip = output_clip(self.weights, self.clips)
        return (
            to_exact(torch.cat(outputs, dim=1), inputs.dtype, clip),
            LSTMState(to_exact(final.hidden, inputs.dtype, clip), final.cell),
        )

    def _run(self, products: Sequence[Tensor], hidden: Tensor, cell: Tensor) -> Steps:
        """Run one window; the next call may overwrite the results."""
        n = products[0].shape[1]
        window = self._window(n)
        if window is None:
            return self.launch(products, hidden, cell)
        steps = window.run(products, hidden[:, :n], cell[:, :n])
        return [
            (hidden[:, : rows.shape[1]], cell[:, : rows.shape[1]])
            for rows, (hidden, cell) in zip(products, steps)
        ]

    def launch(self, products: Sequence[Tensor], hidden: Tensor, cell: Tensor) -> Steps:
        """Launch the steps one by one."""
        steps = run_steps(
            iter(products), hidden, cell, self.weights, self.clips, self.gates, False
        )
        return [(step.hidden, step.cell) for step in steps]

    def _window(self, n_sequences: int) -> "Optional[_Window]":
        """Return the smallest window that holds the sequences, or None."""
        n = next((n for n in N_SEQUENCES if n >= n_sequences), None)
        if n is None:
            return None
        if n not in self._windows:
            try:
                self._windows[n] = _Window(self, n)
            except RuntimeError as error:
                reason = str(error).strip().split("\n")[0]
                text = NOT_CAPTURED.format(n=n, error=reason)
                warnings.warn(text, RuntimeWarning, stacklevel=2)
                self._windows[n] = None
        return self._windows[n]


class _Window:
    """N_STEPS captured steps of n sequences, between tensors that stay in place."""

    def __init__(self, lstm: GraphedLSTM, n: int) -> None:
        weights = lstm.weights
        n_directions, width, n_gates = weights.hidden.shape
        dtype = weights.hidden.dtype
        # Tensors made in inference mode could not be written to outside it.
        with torch.inference_mode(False), torch.no_grad():
            new = weights.bias.new_zeros
            self.products = new(N_STEPS, n_directions, n, n_gates, dtype=dtype)
            self.hidden = new(n_directions, n, width, dtype=dtype)
            self.cell = new(n_directions, n, n_gates // 4)

            def run() -> Steps:
                return lstm.launch(self.products.unbind(), self.hidden, self.cell)

            self.replay = lstm.capture(run, weights.bias.device, lstm.pool)

    def run(self, products: Sequence[Tensor], hidden: Tensor, cell: Tensor) -> Steps:
        for place, rows in zip(self.products, products):
            place[:, : rows.shape[1]] = rows
        self.hidden[:, : hidden.shape[1]] = hidden
        self.cell[:, : cell.shape[1]] = cell
        steps: Steps = self.replay()
        return steps
