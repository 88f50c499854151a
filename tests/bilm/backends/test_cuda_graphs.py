"""Windows of captured steps, on a CPU with a fake CUDA graph."""

from __future__ import annotations

from typing import Any, Callable

import pytest
import torch
from helpers.lstms import SIZES, make_inputs, make_weights

from spacy_elmo.bilm.backends import Clips, LSTMState, cuda_graphs
from spacy_elmo.bilm.backends.cuda_graphs import GraphedLSTM
from spacy_elmo.bilm.backends.torch_gates import PLAIN
from spacy_elmo.bilm.backends.torch_lstm import run_lstm, stack_weights

CLIPS = Clips(0.6, 0.3)


class Captures:
    """Stands in for CUDA graphs; like them, it returns the same tensors each time."""

    def __init__(self) -> None:
        self.n_captured = self.n_replayed = 0

    def __call__(self, run: Callable[[], Any], device: torch.device, pool: Any) -> Any:
        self.n_captured += 1
        results = [tuple(t.clone() for t in step) for step in run()]

        def replay() -> Any:
            self.n_replayed += 1
            for places, tensors in zip(results, run()):
                for place, tensor in zip(places, tensors):
                    place.copy_(tensor)
            return results

        return replay


def fail(run: Any, device: torch.device, pool: Any) -> Any:
    raise RuntimeError("operation not permitted when stream is capturing\nmore")


@torch.no_grad()
@pytest.mark.parametrize("projected", [True, False])
@pytest.mark.parametrize("clips", [CLIPS, Clips(None, None)], ids=["clips", "none"])
@pytest.mark.parametrize(
    "sizes",
    [[1], [3] * 9, [5, 5, 3, 3, 2, 1, 1], [20, 9, 9, 8, 8, 8, 8, 8, 7, 3, 1]],
    ids=str,
)
@pytest.mark.parametrize("largest", [0, 8, 256])
def test_windows(
    projected: bool,
    clips: Clips,
    sizes: list[int],
    largest: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also with more sequences than the largest window has, and repeatedly."""
    within = tuple(n for n in cuda_graphs.N_SEQUENCES if n <= largest)
    monkeypatch.setattr(cuda_graphs, "N_SEQUENCES", within)
    weights = make_weights(projected)
    stacked = stack_weights(weights, torch.float64)
    captures = Captures()
    graphed = GraphedLSTM(stacked, clips, PLAIN, captures)
    for n in range(1, 4):
        inputs, state = make_inputs(weights, sizes)
        inputs, state = inputs / n, LSTMState(state.hidden / n, state.cell / n)
        before = [tensor.clone() for tensor in (inputs, *state)]
        outputs, last = graphed(inputs, sizes, state)
        expected, expected_last, _ = run_lstm(
            inputs, sizes, state, stacked, clips, PLAIN
        )
        for one, other in zip((outputs, *last), (expected, *expected_last)):
            torch.testing.assert_close(one, other)
        for tensor, copy in zip((inputs, *state), before):
            assert torch.equal(tensor, copy)
    n_windows = len(range(0, len(sizes), cuda_graphs.N_STEPS))
    if largest == 256:
        assert captures.n_replayed == 3 * n_windows
        assert captures.n_captured <= n_windows
    elif largest == 0:
        assert captures.n_replayed == 0


def test_windows_inside_and_outside_inference_mode() -> None:
    weights = make_weights(True)
    with torch.no_grad():
        stacked = stack_weights(weights, torch.float64)
    graphed = GraphedLSTM(stacked, CLIPS, PLAIN, Captures())
    inputs, state = make_inputs(weights)
    with torch.inference_mode():
        first = graphed(inputs, SIZES, state)[0].clone()
    with torch.no_grad():
        again = graphed(inputs, SIZES, state)[0]
    torch.testing.assert_close(first, again)


@torch.no_grad()
def test_warns_once_and_launches_steps_if_capture_fails() -> None:
    weights = make_weights(True)
    stacked = stack_weights(weights, torch.float64)
    inputs, state = make_inputs(weights)
    graphed = GraphedLSTM(stacked, CLIPS, PLAIN, fail)
    with pytest.warns(RuntimeWarning, match="CUDA graph for 8 seq.*capturing") as log:
        outputs = [graphed(inputs, SIZES, state)[0] for _ in range(2)][1]
    assert len([each for each in log if "CUDA graph" in str(each.message)]) == 1
    expected = run_lstm(inputs, SIZES, state, stacked, CLIPS, PLAIN)[0]
    torch.testing.assert_close(outputs, expected)
