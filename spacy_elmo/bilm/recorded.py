"""The recurrence without gradients on a GPU: a window of steps is recorded once as a
CUDA graph and replayed, so that the GPU never waits for the host between its small
kernels.

Shapes as in `recurrence`.
"""

import warnings
from functools import cache
from threading import Lock
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple

import torch
from torch import Tensor

from .fused import Ends, advance, to_exact
from .gates import Gates
from .products import BatchedProduct
from .recurrence import Clips, Products

Steps = List[Tuple[Tensor, Tensor]]
"""hidden (low) and cell after each step."""

Record = Callable[[Callable[[], Any], torch.device, Any], Callable[[], Any]]

N_STEPS = 8
"""Of a window. A run's last one computes steps that nobody asked for."""

N_SEQUENCES = (8, 16, 32, 64, 128, 256)
"""Of windows: each is recorded when it is first needed. With more sequences a step
keeps the GPU busy longer than its launch takes."""

NOT_RECORDED = """\
No CUDA graph of {n} sequences: {error}. Their steps are launched one by one, which is
slower."""


_recording = Lock()
"""A process records one graph at a time."""


@cache
def _stream(device: torch.device) -> torch.cuda.Stream:
    """One for all records: each stream keeps a workspace of its own for products."""
    return torch.cuda.Stream(device)


def record_graph(
    run: Callable[[], Any], device: torch.device, pool: Any
) -> Callable[[], Any]:
    """A CUDA graph of what `run` launches.

    pool: of memory, for graphs that are replayed one after the other.
    RETURNS: replays it and gives what `run` gave: the same tensors each time, with
        other numbers.

    Raises RuntimeError where that is not possible.
    """
    with _recording, torch.cuda.device(device):
        outside, stream = torch.cuda.current_stream(), _stream(device)
        stream.wait_stream(outside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.stream(stream):
            for _ in range(3):  # what is compiled and allocated once is so now
                run()
            # Other threads may go on with work of their own meanwhile.
            with torch.cuda.graph(
                graph, pool=pool, stream=stream, capture_error_mode="thread_local"
            ):
                found = run()
        outside.wait_stream(stream)

    def replay() -> Any:
        graph.replay()
        return found

    return replay


class RecordedSteps:
    """Runs blocks of packed rows, window by window. Several threads may use it, on one
    CUDA stream.

    products: of the weights as they are. bias: (G, 1, 4 D). gates: compiled, or plain.
    record: makes something of a function that can be called again and again; None:
        steps are launched one by one.
    """

    def __init__(
        self,
        products: Products[BatchedProduct],
        bias: Tensor,
        clips: Clips,
        gates: Gates,
        record: Optional[Record],
    ) -> None:
        self.products = products
        self.bias = bias
        self.clips = clips
        self.gates = gates
        self.record = record
        self._windows: Dict[int, Optional[_Window]] = {}
        self.pool = torch.cuda.graph_pool_handle() if bias.is_cuda else None
        # A window's numbers are written and read by one thread at a time.
        self._lock = Lock()

    def block(
        self, inputs: Tensor, hidden: Tensor, cell: Tensor, sizes: List[int]
    ) -> Tuple[Tensor, Tensor, Tensor]:
        """As `recurrence.recur_without_gradient`."""
        with self._lock:
            low = hidden.to(self.products.hh.dtype)
            products = self.products.ih.plus(self.bias.to(low.dtype), inputs)
            rows = products.split(sizes, dim=1)
            outputs, ends = [], Ends()
            ends.add(low, cell, sizes[0])
            for start in range(0, len(rows), N_STEPS):
                window = rows[start : start + N_STEPS]
                after = [*sizes[start + 1 : start + N_STEPS + 1], 0][: len(window)]
                steps = self._run(window, low, cell)
                for (low, cell), n_running in zip(steps, after):
                    ends.add(low, cell, n_running)
                outputs.append(torch.cat([step[0] for step in steps], dim=1))
            last_hidden, last_cell = ends.join()
        return (
            self._exact(torch.cat(outputs, dim=1), inputs),
            self._exact(last_hidden, inputs),
            last_cell,
        )

    def _exact(self, low: Tensor, like: Tensor) -> Tensor:
        return to_exact(low, like.dtype, self.clips, self.products.hr is not None)

    def _run(self, rows: Sequence[Tensor], hidden: Tensor, cell: Tensor) -> Steps:
        """rows: of each step, (G, N or fewer, 4 D). RETURNS: what may be overwritten by
        the next call."""
        n = rows[0].shape[1]
        window = self._window(n)
        if window is None:
            return list(self.advance(rows, hidden, cell))
        steps = window.run(rows, hidden[:, :n], cell[:, :n])
        return [
            (low[:, : row.shape[1]], cell[:, : row.shape[1]])
            for row, (low, cell) in zip(rows, steps)
        ]

    def advance(
        self, rows: Sequence[Tensor], hidden: Tensor, cell: Tensor
    ) -> Iterator[Tuple[Tensor, Tensor]]:
        """The steps, launched one by one."""
        hh, hr = self.products.hh, self.products.hr
        for step in advance(
            rows, hidden, cell, self.clips, hh, hr, self.gates, keep=False
        ):
            yield step.hidden, step.cell

    def _window(self, n_sequences: int) -> "Optional[_Window]":
        """The smallest that holds them; None where there is none."""
        if self.record is None:
            return None
        n = next((n for n in N_SEQUENCES if n >= n_sequences), None)
        if n is None:
            return None
        if n not in self._windows:
            try:
                self._windows[n] = _Window(self, n, self.record)
            except RuntimeError as error:
                reason = str(error).strip().split("\n")[0]
                text = NOT_RECORDED.format(n=n, error=reason)
                warnings.warn(text, RuntimeWarning, stacklevel=2)
                self._windows[n] = None
        return self._windows[n]


class _Window:
    """N_STEPS steps of n sequences, between tensors that stay where they are."""

    def __init__(self, steps: RecordedSteps, n: int, record: Record) -> None:
        n_lstms, _, n_gates = steps.bias.shape
        dim, dtype = n_gates // 4, steps.products.hh.dtype
        # What is written later may not have been made in inference mode.
        with torch.inference_mode(False), torch.no_grad():
            new = steps.bias.new_zeros
            self.rows = new(N_STEPS, n_lstms, n, n_gates, dtype=dtype)
            width = steps.products.hh.weight.shape[2]
            self.hidden = new(n_lstms, n, width, dtype=dtype)
            self.cell = new(n_lstms, n, dim)

            def run() -> Steps:
                return list(steps.advance(self.rows.unbind(), self.hidden, self.cell))

            self.replay = record(run, steps.bias.device, steps.pool)

    def run(self, rows: Sequence[Tensor], hidden: Tensor, cell: Tensor) -> Steps:
        for place, row in zip(self.rows, rows):
            place[:, : row.shape[1]] = row
        self.hidden[:, : hidden.shape[1]] = hidden
        self.cell[:, : cell.shape[1]] = cell
        found: Steps = self.replay()
        return found
