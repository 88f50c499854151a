"""The recurrence as GPUs compute it, on a CPU: few kernels a step, windows of steps
that are replayed, and the compiler that makes the kernels."""

from __future__ import annotations

import shutil
from typing import Any, Callable

import pytest
import torch
from torch import Tensor

from spacy_elmo.bilm import gates, recorded
from spacy_elmo.bilm.fused import FusedRun
from spacy_elmo.bilm.gates import PLAIN, Gates, compiled_gates
from spacy_elmo.bilm.products import BatchedProduct
from spacy_elmo.bilm.recorded import RecordedSteps
from spacy_elmo.bilm.recurrence import (
    Clips,
    OperationsRun,
    Products,
    Weights,
    recur,
    recur_without_gradient,
)

DIM, WIDTH = 10, 6
PROJECTED = pytest.mark.parametrize("projected", [True, False])
CLIPS = pytest.mark.parametrize(
    "clips", [Clips(0.6, 0.3), Clips(None, None)], ids=["clips", "no clips"]
)
SIZES = pytest.mark.parametrize(
    "sizes",
    [[1], [3] * 9, [5, 5, 3, 3, 2, 1, 1], [20, 9, 9, 8, 8, 8, 8, 8, 7, 3, 1]],
    ids=str,
)


def given(
    sizes: list[int], projected: bool, dtype: torch.dtype = torch.float64, n: int = 2
) -> tuple[Weights, list[Tensor]]:
    """Weights; inputs, hidden and cell."""
    torch.manual_seed(sum(sizes))
    dim = DIM if projected else WIDTH

    def new(*shape: int) -> Tensor:
        return torch.randn(n, *shape, dtype=dtype) * 0.7

    weights = Weights(
        new(4 * dim, WIDTH),
        new(4 * dim, WIDTH),
        new(1, 4 * dim),
        new(WIDTH, dim) if projected else None,
    )
    start = [new(sizes[0], WIDTH).clamp_(-0.3, 0.3), new(sizes[0], dim)]
    return weights, [new(sum(sizes), WIDTH), *start]


def results(
    make_run: Callable[..., OperationsRun],
    weights: Weights,
    tensors: list[Tensor],
    sizes: list[int],
    clips: Clips,
    dtype: torch.dtype,
    **settings: Any,
) -> list[Tensor]:
    """Outputs, state after, and all gradients."""
    leaves = [t.clone().requires_grad_() for t in tensors]
    own = [None if w is None else w.clone().requires_grad_() for w in weights]
    products = [
        None if weight is None else BatchedProduct(weight, dtype)
        for weight in (own[0], own[1], own[3])
    ]
    run = make_run(products, sizes, clips, **settings)
    found = recur(*leaves, Weights(*own), run)  # type: ignore[call-arg,misc]
    loss = sum((part.sin() * (n + 1)).sum() for n, part in enumerate(found))
    loss.backward()  # type: ignore[union-attr]
    gradients = [t.grad for t in (*leaves, *own) if t is not None]
    assert all(gradient is not None for gradient in gradients)
    return [*found, *gradients]  # type: ignore[list-item]


@PROJECTED
@CLIPS
@SIZES
def test_training(projected: bool, clips: Clips, sizes: list[int]) -> None:
    weights, tensors = given(sizes, projected)
    expected = results(OperationsRun, weights, tensors, sizes, clips, torch.float64)
    found = results(
        FusedRun, weights, tensors, sizes, clips, torch.float64, gates=PLAIN
    )
    if clips.cell is not None and len(sizes) > 1:
        assert (expected[2].abs() == clips.cell).any()
    assert len(found) == len(expected) == (10 if projected else 9)
    for one, other in zip(found, expected):
        torch.testing.assert_close(one, other)


@PROJECTED
def test_training_in_bfloat16(projected: bool) -> None:
    sizes = [5, 5, 3, 3, 2, 1, 1]
    weights, tensors = given(sizes, projected, torch.float32)
    clips = Clips(None, None)
    exact = results(OperationsRun, weights, tensors, sizes, clips, torch.float32)
    found = results(
        FusedRun, weights, tensors, sizes, clips, torch.bfloat16, gates=PLAIN
    )
    for one, other in zip(found, exact):
        assert one.dtype == other.dtype == torch.float32
        cosine = torch.cosine_similarity(one.flatten(), other.flatten(), 0)
        assert cosine > 0.995
        assert not torch.equal(one, other)


class Recorder:
    """In place of CUDA graphs; like them it gives the same tensors each time."""

    def __init__(self) -> None:
        self.n_recorded = self.n_replayed = 0

    def __call__(self, run: Callable[[], Any], device: torch.device, pool: Any) -> Any:
        self.n_recorded += 1
        kept = [tuple(t.clone() for t in step) for step in run()]

        def replay() -> Any:
            self.n_replayed += 1
            for places, tensors in zip(kept, run()):
                for place, tensor in zip(places, tensors):
                    place.copy_(tensor)
            return kept

        return replay


def steps(
    weights: Weights, clips: Clips, dtype: torch.dtype, record: Any
) -> RecordedSteps:
    products = Products.of(weights, lambda weight: BatchedProduct(weight, dtype))
    return RecordedSteps(products, weights.bias, clips, PLAIN, record)


@PROJECTED
@CLIPS
@SIZES
@pytest.mark.parametrize("largest", [0, 8, 256])
def test_windows(
    projected: bool,
    clips: Clips,
    sizes: list[int],
    largest: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also of more sequences than any window holds, and again and again."""
    within = tuple(n for n in recorded.N_SEQUENCES if n <= largest)
    monkeypatch.setattr(recorded, "N_SEQUENCES", within)
    weights, tensors = given(sizes, projected)
    recorder = Recorder()
    window = steps(weights, clips, torch.float64, recorder)
    products = Products.of(weights, lambda weight: BatchedProduct(weight, weight.dtype))
    for n in range(3):
        inputs, hidden, cell = (tensor / (n + 1) for tensor in tensors)
        before = [tensor.clone() for tensor in (inputs, hidden, cell)]
        found = window.block(inputs, hidden, cell, sizes)
        expected = recur_without_gradient(
            inputs, hidden, cell, sizes, weights.bias, clips, products
        )
        for one, other in zip(found, expected):
            torch.testing.assert_close(one, other)
        for tensor, copy in zip((inputs, hidden, cell), before):
            assert torch.equal(tensor, copy)
    n_windows = len(range(0, len(sizes), recorded.N_STEPS))
    if largest == 256:
        assert recorder.n_replayed == 3 * n_windows
        assert recorder.n_recorded <= n_windows
    elif largest == 0:
        assert recorder.n_replayed == 0


def test_windows_in_inference_mode_and_out_of_it() -> None:
    sizes = [3, 2]
    weights, tensors = given(sizes, True)
    window = steps(weights, Clips(0.6, 0.3), torch.float64, Recorder())
    with torch.inference_mode():
        first = window.block(*tensors, sizes)[0].clone()
    with torch.no_grad():
        again = window.block(*tensors, sizes)[0]
    torch.testing.assert_close(first, again)


def test_where_nothing_can_be_recorded() -> None:
    """It says so once, and goes on step by step."""

    def fails(run: Any, device: torch.device, pool: Any) -> Any:
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    sizes = [3, 2]
    weights, tensors = given(sizes, True)
    clips = Clips(0.6, 0.3)
    window = steps(weights, clips, torch.float64, fails)
    with pytest.warns(RuntimeWarning, match="No CUDA graph of 8.*capturing") as told:
        found = [window.block(*tensors, sizes) for _ in range(2)][1]
    assert len([each for each in told if "CUDA graph" in str(each.message)]) == 1
    expected = steps(weights, clips, torch.float64, None).block(*tensors, sizes)
    for one, other in zip(found, expected):
        assert torch.equal(one, other)


@pytest.fixture
def _asked_anew() -> Any:
    gates._compile.cache_clear()
    yield
    gates._compile.cache_clear()


@pytest.mark.usefixtures("_asked_anew")
def test_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*args: Any, **kwargs: Any) -> Any:
        def call(*args: Any) -> Any:
            raise RuntimeError("Failed to find C compiler.\nmore")

        return call

    monkeypatch.setattr(gates.torch, "compile", fails)
    with pytest.warns(RuntimeWarning, match="Failed to find C compiler"):
        assert compiled_gates(torch.device("cpu"), torch.float32, True) is PLAIN


@pytest.mark.usefixtures("_asked_anew")
def test_a_compiler_that_computes_other_numbers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def wrong(function: Any = None, **settings: Any) -> Any:
        return lambda *args: tuple(
            None if t is None else t + 1 for t in function(*args)
        )

    monkeypatch.setattr(gates.torch, "compile", wrong)
    with pytest.warns(RuntimeWarning, match="it gives other numbers"):
        assert compiled_gates(torch.device("cpu"), torch.float32, True) is PLAIN


@pytest.mark.slow
@pytest.mark.usefixtures("_asked_anew")
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler, g++")
def test_compiled() -> None:
    """One minute of compiling; what it makes serves all shapes."""
    from torch._dynamo.utils import counters

    compiled = {}
    for dtype in (torch.float32, torch.bfloat16):
        compiled[dtype] = compiled_gates(torch.device("cpu"), dtype, True)
        assert isinstance(compiled[dtype], Gates)
        assert compiled[dtype] is not PLAIN
    n_graphs = counters["stats"]["unique_graphs"]
    for projected in (True, False):
        for sizes in ([3] * 4, [5, 5, 3, 3, 2, 1, 1]):
            weights, tensors = given(sizes, projected, torch.float32)
            # In bfloat16 0.7 is rounded down, 0.3 up.
            clips = Clips(0.6, 0.7) if projected else Clips(None, None)
            for dtype, ours in compiled.items():
                arguments = (weights, tensors, sizes, clips, dtype)
                expected = results(FusedRun, *arguments, gates=PLAIN)
                found = results(FusedRun, *arguments, gates=ours)
                close = 1e-5 if dtype == torch.float32 else 0.05
                for one, other in zip(found, expected):
                    torch.testing.assert_close(one, other, atol=close, rtol=close)
    assert counters["stats"]["unique_graphs"] == n_graphs
