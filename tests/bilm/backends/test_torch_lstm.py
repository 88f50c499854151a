"""The reference LSTM: its backward pass, its precision, and its compiled gates."""

from __future__ import annotations

import shutil
from typing import Any

import pytest
import torch
from helpers import reference
from helpers.lstms import SIZES, make_inputs, make_weights
from torch import Tensor

from spacy_elmo.bilm.backends import (
    Clips,
    LSTMState,
    LSTMWeights,
    torch_gates,
    torch_lstm,
)
from spacy_elmo.bilm.backends.torch_gates import PLAIN, Gates, compiled_gates
from spacy_elmo.bilm.backends.torch_lstm import run_lstm, stack_weights

PROJECTED = pytest.mark.parametrize("projected", [True, False])
CLIPS = pytest.mark.parametrize(
    "clips", [Clips(0.6, 0.3), Clips(None, None)], ids=["clips", "no clips"]
)


def run(
    weights: list[LSTMWeights],
    inputs: Tensor,
    state: LSTMState,
    clips: Clips,
    dtype: torch.dtype,
    gates: Gates = PLAIN,
    sizes: list[int] = SIZES,
) -> list[Tensor]:
    stacked = stack_weights(weights, dtype)
    outputs, last = torch_lstm.lstm(inputs, sizes, state, stacked, clips, gates)
    return [outputs, *last]


def run_and_differentiate(*arguments: Any, **keywords: Any) -> list[Tensor]:
    """Return outputs, final state and the gradients of everything that went in."""
    weights, inputs, state, *_ = arguments
    results = run(*arguments, **keywords)
    loss = sum(((part.sin() * (n + 1)).sum() for n, part in enumerate(results)))
    leaves = [inputs, *state, *(t for each in weights for t in each if t is not None)]
    return [*results, *torch.autograd.grad(loss, leaves)]  # type: ignore[arg-type]


@PROJECTED
@CLIPS
def test_equals_the_equations_with_gradients(projected: bool, clips: Clips) -> None:
    weights = make_weights(projected)
    inputs, state = make_inputs(weights)
    results = run_and_differentiate(weights, inputs, state, clips, torch.float64)
    runs = [
        reference.lstm(inputs[n], SIZES, state.hidden[n], state.cell[n], each, clips)
        for n, each in enumerate(weights)
    ]
    plain = [torch.stack(parts) for parts in zip(*runs)]
    if clips.cell is not None:
        assert (plain[2].abs() == clips.cell).any()
        assert not projected or (plain[0].abs() == clips.projection).any()
    loss = sum(((part.sin() * (n + 1)).sum() for n, part in enumerate(plain)))
    leaves = [inputs, *state, *(t for each in weights for t in each if t is not None)]
    gradients = torch.autograd.grad(loss, leaves)  # type: ignore[arg-type]
    for result, expected in zip(results, [*plain, *gradients]):
        torch.testing.assert_close(result, expected)


@PROJECTED
@pytest.mark.parametrize("block_rows", [1, 7, 256])
def test_without_gradients_equals_with_gradients(
    projected: bool, block_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_lstm, "_MIN_BLOCK_ROWS", block_rows)
    monkeypatch.setattr(torch_lstm, "_BLOCK_BYTES", {"cpu": 0})
    weights = make_weights(projected)
    inputs, state = make_inputs(weights)
    clips = Clips(0.6, 0.3)
    expected = run(weights, inputs, state, clips, torch.float64)
    before = [tensor.detach().clone() for tensor in (inputs, *state)]
    with torch.no_grad():
        for contiguous in (False, True):
            stacked = stack_weights(weights, torch.float64, contiguous)
            outputs, last, _ = run_lstm(inputs, SIZES, state, stacked, clips, PLAIN)
            for result, wanted in zip((outputs, *last), expected):
                torch.testing.assert_close(result, wanted)
    for tensor, copy in zip((inputs, *state), before):
        assert torch.equal(tensor, copy)


@PROJECTED
def test_bfloat16_is_close_and_returns_float32(projected: bool) -> None:
    weights = make_weights(projected, torch.float32)
    inputs, state = make_inputs(weights)
    arguments = weights, inputs, state, Clips(None, None)
    exact = run_and_differentiate(*arguments, torch.float32)
    low = run_and_differentiate(*arguments, torch.bfloat16)
    for result, expected in zip(low, exact):
        assert result.dtype == expected.dtype == torch.float32
        cosine = torch.cosine_similarity(result.flatten(), expected.flatten(), 0)
        assert cosine > 0.995
        assert not torch.equal(result, expected)


def test_clipped_outputs_stay_within_their_bound_in_bfloat16() -> None:
    """0.3 is rounded up to bfloat16."""
    weights = make_weights(True, torch.float32)
    inputs, state = make_inputs(weights)
    for tensor in run(weights, inputs, state, Clips(0.6, 0.3), torch.bfloat16)[:2]:
        assert tensor.abs().max() == torch.tensor(0.3)


def test_backward_runs_twice() -> None:
    weights = make_weights(True)
    inputs, state = make_inputs(weights)
    loss = run(weights, inputs, state, Clips(0.6, 0.3), torch.float64)[0].sum()
    first = torch.autograd.grad(loss, [inputs, *state], retain_graph=True)
    for one, other in zip(first, torch.autograd.grad(loss, [inputs, *state])):
        assert torch.equal(one, other)


@pytest.mark.parametrize("n_directions", [1, 2])
@pytest.mark.parametrize("field", ["input", "hidden", "bias", "projection"])
def test_weights_changed_before_backward(n_directions: int, field: str) -> None:
    """The gradient belongs to the weights of the forward pass, or is refused."""
    weights = make_weights(True, n_directions=n_directions)
    inputs, state = make_inputs(weights)
    arguments = weights, inputs, state, Clips(None, None), torch.float64
    expected = run_and_differentiate(*arguments)[3]
    results = run(*arguments)
    with torch.no_grad():
        getattr(weights[0], field).mul_(-2)
    loss = sum(((part.sin() * (n + 1)).sum() for n, part in enumerate(results)))
    if n_directions == 1:
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()  # type: ignore[union-attr]
    else:
        torch.testing.assert_close(
            torch.autograd.grad(loss, inputs)[0],  # type: ignore[arg-type]
            expected,
        )


@pytest.fixture
def _no_compiled_gates() -> Any:
    torch_gates._compile.cache_clear()
    yield
    torch_gates._compile.cache_clear()


@pytest.mark.usefixtures("_no_compiled_gates")
def test_plain_gates_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **kwargs: Any) -> Any:
        def call(*args: Any) -> Any:
            raise RuntimeError("Failed to find C compiler.\nmore")

        return call

    monkeypatch.setattr(torch, "compile", fail)
    with pytest.warns(RuntimeWarning, match="Failed to find C compiler"):
        assert compiled_gates(torch.device("cpu"), torch.float32, True) is PLAIN


@pytest.mark.usefixtures("_no_compiled_gates")
def test_plain_gates_if_the_compiler_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(function: Any = None, **settings: Any) -> Any:
        return lambda *args: tuple(
            None if t is None else t + 1 for t in function(*args)
        )

    monkeypatch.setattr(torch, "compile", wrong)
    with pytest.warns(RuntimeWarning, match="its results differ"):
        assert compiled_gates(torch.device("cpu"), torch.float32, True) is PLAIN


@pytest.mark.slow
@pytest.mark.usefixtures("_no_compiled_gates")
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler, g++")
def test_compiled_gates() -> None:
    """Takes a minute to compile; one graph serves all shapes."""
    from torch._dynamo.utils import counters

    compiled = {}
    for dtype in (torch.float32, torch.bfloat16):
        compiled[dtype] = compiled_gates(torch.device("cpu"), dtype, True)
        assert compiled[dtype] is not PLAIN
    n_graphs = counters["stats"]["unique_graphs"]
    for projected in (True, False):
        for sizes in ([3] * 4, SIZES):
            weights = make_weights(projected, torch.float32)
            inputs, state = make_inputs(weights, sizes)
            # In bfloat16, 0.7 is rounded down and 0.3 up.
            clips = Clips(0.6, 0.7) if projected else Clips(None, None)
            for dtype, gates in compiled.items():
                arguments = weights, inputs, state, clips, dtype
                expected = run_and_differentiate(*arguments, sizes=sizes)
                results = run_and_differentiate(*arguments, gates=gates, sizes=sizes)
                tolerance = 1e-5 if dtype == torch.float32 else 0.05
                for one, other in zip(results, expected):
                    torch.testing.assert_close(
                        one, other, atol=tolerance, rtol=tolerance
                    )
    assert counters["stats"]["unique_graphs"] == n_graphs
