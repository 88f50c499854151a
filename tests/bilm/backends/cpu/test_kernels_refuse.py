"""What the compiled kernels refuse: an error, not a write beyond an array's end."""

from __future__ import annotations

from typing import Any, Callable

import numpy as np
import pytest
import torch

from spacy_elmo.bilm.backends import LSTMWeights
from spacy_elmo.bilm.backends import cpu as kernels
from spacy_elmo.bilm.backends.cpu import available
from spacy_elmo.bilm.backends.cpu import lstm as kernel_lstm
from spacy_elmo.bilm.backends.cpu.arrays import LOW_LANES

if kernels.why_absent() is not None:
    pytest.skip(f"no kernels here: {kernels.why_absent()}", allow_module_level=True)

from spacy_elmo.bilm.backends.cpu import _char_cnn as _convolution
from spacy_elmo.bilm.backends.cpu import _gemm as _products
from spacy_elmo.bilm.backends.cpu import _lstm
from spacy_elmo.bilm.backends.cpu import _softmax as _loss

WIDTH, DIM, COLUMNS = 64, 192, available.columns()
WEIGHTS = LSTMWeights(
    torch.zeros(4 * DIM, WIDTH),
    torch.zeros(4 * DIM, WIDTH),
    torch.zeros(4 * DIM),
    torch.zeros(WIDTH, DIM),
)
Arguments = dict[str, Any]


def zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


def forward() -> Arguments:
    panels = kernel_lstm.forward_panels(WEIGHTS, torch.float32)
    return {
        "input_panels": panels.inputs,
        "hidden_panels": panels.hidden,
        "projection_panels": panels.projection,
        "bias": zeros(4 * DIM),
        "inputs": zeros(5, WIDTH),
        "gates": zeros(5, 4 * DIM),
        "cells": zeros(5, DIM),
        "rows": zeros(5, DIM),
        "outputs": zeros(5, WIDTH),
        "hidden": zeros(3, WIDTH),
        "cell": zeros(3, DIM),
    }


def backward() -> Arguments:
    panels = kernel_lstm.backward_panels(WEIGHTS, torch.float32)
    return {
        "input_panels": panels.inputs,
        "hidden_panels": panels.hidden,
        "projection_panels": panels.projection,
        "gates": zeros(5, 4 * DIM),
        "cells": zeros(5, DIM),
        "outputs": zeros(5, WIDTH),
        "first_cell": zeros(3, DIM),
        "d_outputs": zeros(5, WIDTH),
        "d_inputs": zeros(5, WIDTH),
        "d_gates": zeros(5, 4 * DIM),
        "d_projected": zeros(5, WIDTH),
        "d_hidden": zeros(3, WIDTH),
        "d_cell": zeros(3, DIM),
    }


def call_lstm(run: Callable[..., None], given: Arguments, sizes: list[int]) -> None:
    run(np.array(sizes, np.int64), [given], 3.0, 3.0, 2)


LSTM_RUNS = [(_lstm.forward, forward), (_lstm.backward, backward)]
NAMES = [
    pytest.param(run, make, name, id=f"{run.__name__} {name}")
    for run, make in LSTM_RUNS
    for name in make()
    if name not in ("hidden", "d_hidden")
]


@pytest.mark.parametrize(("run", "make", "name"), NAMES)
def test_wrong_shapes_of_lstms(
    run: Callable[..., None], make: Callable[[], Arguments], name: str
) -> None:
    given = make()
    call_lstm(run, given, [3, 2])
    given[name] = np.ascontiguousarray(given[name][:-1])
    with pytest.raises(ValueError, match=f"{name}: expected the shape"):
        call_lstm(run, given, [3, 2])


@pytest.mark.parametrize("name", ["inputs", "rows", "projection_panels", "outputs"])
def test_wrong_layouts_and_dtypes_of_lstms(name: str) -> None:
    given = forward()
    turned = {**given, name: np.asfortranarray(given[name])}
    with pytest.raises(ValueError, match="contiguous"):
        call_lstm(_lstm.forward, turned, [3, 2])
    with pytest.raises(ValueError, match=r"dtype|of float32, found .* of float64"):
        call_lstm(_lstm.forward, {**given, name: given[name].astype(float)}, [3, 2])


@pytest.mark.parametrize("batch_sizes", [[2, 3], [4, 1], [3, 2, 0], []])
@pytest.mark.parametrize(("run", "make"), LSTM_RUNS)
def test_wrong_steps(
    run: Callable[..., None], make: Callable[[], Arguments], batch_sizes: list[int]
) -> None:
    with pytest.raises(ValueError, match="batch sizes that never rise"):
        call_lstm(run, make(), batch_sizes)


def test_panels_for_other_processors() -> None:
    given = {**forward(), "hidden_panels": zeros(DIM // 4, WIDTH, 16)}
    with pytest.raises(ValueError, match="vectors of 4 floats"):
        call_lstm(_lstm.forward, given, [3, 2])
    low = np.zeros((4 * DIM // 32, WIDTH // 2, 32, 2), np.int16)
    with pytest.raises(ValueError, match="64 columns of bfloat16"):
        call_lstm(_lstm.forward, {**forward(), "hidden_panels": low}, [3, 2])


@pytest.mark.parametrize(("run", "make"), LSTM_RUNS)
def test_no_lstm_and_two_of_different_shapes(
    run: Callable[..., None], make: Callable[[], Arguments]
) -> None:
    with pytest.raises(ValueError, match="one LSTM or more, all of one shape"):
        run(np.array([2, 1], np.int64), [], 3.0, 3.0, 2)
    name = "hidden" if "hidden" in make() else "d_hidden"
    other = {
        **make(),
        name: zeros(4, WIDTH),
        name.replace("hidden", "cell"): zeros(4, DIM),
    }
    if "first_cell" in other:
        other["first_cell"] = zeros(4, DIM)
    with pytest.raises(ValueError, match="one LSTM or more, all of one shape"):
        run(np.array([3, 2], np.int64), [make(), other], 3.0, 3.0, 2)


def response() -> Arguments:
    return {
        "characters": zeros(5, 9, 4),
        "n_windows": np.array([1, 2, 3, 3, 7]),
        "panels": zeros(2, 12, COLUMNS),
        "depths": np.array([4, 12]),
        "limits": zeros(2 * COLUMNS),
        "best": zeros(5, 2 * COLUMNS),
        "where": np.zeros((5, 2 * COLUMNS), np.int32),
    }


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("n_windows", np.array([1, 2]), "n_windows: expected the shape"),
        ("n_windows", np.array([1, 2, 3, 3, 8]), "no more than 9 columns"),
        ("n_windows", np.array([0, 2, 3, 3, 7]), "expected one or more"),
        ("n_windows", np.array([1, 2, 3, 3, 2**62 + 1]), "no more than 9 columns"),
        ("panels", zeros(1, 12, COLUMNS), "panels: expected the shape"),
        ("panels", zeros(2, 12, 12), "vectors of 3 floats"),
        ("depths", np.array([4]), "depths: expected the shape"),
        ("depths", np.array([4, 13]), "depths: expected 1 to 12, found 4 to 13"),
        ("depths", np.array([0, 12]), "depths: expected 1 to 12, found 0 to 12"),
        ("limits", zeros(3), "limits: expected the shape"),
        ("best", zeros(5, 7), "best: expected a multiple of"),
        ("best", zeros(4, 2 * COLUMNS), "best: expected the shape"),
        ("where", np.zeros((5, 3), np.int32), "where: expected the shape"),
    ],
)
def test_wrong_windows(name: str, value: np.ndarray, message: str) -> None:
    _convolution.response(*response().values(), 2)
    with pytest.raises(ValueError, match=message):
        _convolution.response(*{**response(), name: value}.values(), 2)


def back() -> Arguments:
    return {
        "d_best": zeros(5, 6),
        "where": np.full((5, 6), 6, np.int32),
        "depths": np.array([4, 4, 8, 8, 12, 12]),
        "given": zeros(6, 12),
        "d_given": zeros(5, 9, 4),
        "lanes": kernels.lanes(),
    }


BACK_FAULTS = [
    ("where", np.full((5, 6), 7, np.int32), "within 9 columns"),
    ("where", np.full((5, 6), -1, np.int32), "within 9 columns"),
    ("where", np.full((5, 6), 2**30, np.int32), "within 9 columns"),
    ("where", np.zeros((5, 5), np.int32), "where: expected the shape"),
    ("depths", np.array([4]), "depths: expected the shape"),
    ("depths", np.array([4, 4, 8, 8, 12, 13]), "depths: expected 1 to 12"),
    ("given", zeros(5, 12), "weight: expected the shape"),
    ("d_given", zeros(4, 9, 4), "characters: expected the shape"),
    ("lanes", 4, "vectors of 4 floats"),
]


@pytest.mark.parametrize(("name", "value", "message"), BACK_FAULTS)
def test_wrong_ways_back(name: str, value: Any, message: str) -> None:
    _convolution.characters_back(*back().values(), 2)
    with pytest.raises(ValueError, match=message):
        _convolution.characters_back(*{**back(), name: value}.values(), 2)
    own = {**back(), name: value}
    own["given"], own["d_given"] = own["d_given"], own["given"]
    with pytest.raises(ValueError, match=message):
        _convolution.filters_back(*own.values(), 2)


def log_sum_exp() -> Arguments:
    return {
        "hidden": zeros(5, COLUMNS),
        "panels": zeros(2, COLUMNS, COLUMNS),
        "bias": zeros(2 * COLUMNS),
        "places": np.array([0, 1, 2, 0, 2 * COLUMNS]),
        "total": zeros(5),
        "there": zeros(5),
    }


def logits_back() -> Arguments:
    given = log_sum_exp()
    del given["there"]
    return {
        **given,
        "d_loss": zeros(5),
        "back_panels": zeros(1, 2 * COLUMNS, COLUMNS),
        "d_logits": zeros(5, 2 * COLUMNS),
        "d_hidden": zeros(5, COLUMNS),
    }


@pytest.mark.parametrize(
    ("run", "make", "name"),
    [
        pytest.param(run, make, name, id=f"{run.__name__} {name}")
        for run, make in (
            (_loss.log_sum_exp, log_sum_exp),
            (_loss.logits_back, logits_back),
        )
        for name in make()
        if name not in ("hidden", "bias")
    ],
)
def test_wrong_shapes_of_losses(
    run: Callable[..., None], make: Callable[[], Arguments], name: str
) -> None:
    given = make()
    run(*given.values(), 2)
    given[name] = np.ascontiguousarray(given[name][:-1])
    with pytest.raises(ValueError, match=f"{name}: expected the shape"):
        run(*given.values(), 2)


@pytest.mark.parametrize("place", [-1, 2 * COLUMNS + 1])
def test_places_beyond_the_drawn_words(place: int) -> None:
    given = log_sum_exp()
    given["places"][3] = place
    with pytest.raises(ValueError, match=f"places: expected 0 to {2 * COLUMNS}, found"):
        _loss.log_sum_exp(*given.values(), 2)


@pytest.mark.parametrize(
    ("left", "right", "result", "sums", "lanes", "message"),
    [
        ((5, 3), (5, 60), (60, 3), 60, None, "right: expected a multiple of"),
        ((4, 3), (5, 64), (64, 3), 64, None, "left: expected the shape"),
        ((5, 3), (5, 64), (3, 64), 64, None, "result: expected the shape"),
        ((5, 3), (5, 64), (64, 3), 63, None, "sums: expected the shape"),
        ((0, 3), (0, 64), (64, 3), 64, None, "one row or more, found none"),
        ((5, 3), (5, 64), (64, 3), 64, 4, "vectors of 4 floats"),
        ((5, 3), (5, 64), (64, 3), 64, LOW_LANES, "bfloat16|multiple|32 floats"),
    ],
)
def test_wrong_outer_products(
    left: tuple, right: tuple, result: tuple, sums: int, lanes: int | None, message: str
) -> None:
    lefts = [(zeros(*left), zeros(*result), False)]
    with pytest.raises(ValueError, match=message):
        _products.outer_products(
            lefts, zeros(*right), zeros(sums), lanes or kernels.lanes(), 2
        )


@pytest.mark.parametrize(
    ("shape", "panels", "turned", "gates", "lanes", "message"),
    [
        ((6, COLUMNS), (1, 5, COLUMNS), False, False, None, "expected the shape"),
        ((6, COLUMNS), (1, 6, COLUMNS), False, True, None, "in a turned weight"),
        ((6, 60), (1, 6, 60), False, False, None, "expected a multiple of"),
        ((60, 6), (1, 6, 60), True, True, None, "expected a multiple of"),
        ((6, COLUMNS), (1, 6, COLUMNS), False, False, 4, "vectors of 4 floats"),
        ((5, 64), (1, 2, 64), False, False, LOW_LANES, "even number|32 floats"),
        ((0, 6), (0, 6, COLUMNS), True, False, None, "expected a multiple of"),
    ],
)
def test_wrong_layouts(
    shape: tuple,
    panels: tuple,
    turned: bool,
    gates: bool,
    lanes: int | None,
    message: str,
) -> None:
    with pytest.raises(ValueError, match=message):
        _products.lay_out(
            zeros(*shape), zeros(*panels), turned, gates, lanes or kernels.lanes(), 2
        )


def test_a_layout_that_may_not_be_written_to() -> None:
    weight, panels = zeros(6, COLUMNS), zeros(1, 6, COLUMNS)
    panels.setflags(write=False)
    with pytest.raises(ValueError, match="writable"):
        _products.lay_out(weight, panels, False, False, kernels.lanes(), 2)


@pytest.mark.parametrize("dim", [DIM + 4, 3])
def test_cells_that_fill_no_panel(dim: int) -> None:
    given = forward()
    for name in ("bias", "gates"):
        given[name] = zeros(*given[name].shape[:-1], 4 * dim)
    for name in ("cells", "rows", "cell"):
        given[name] = zeros(len(given[name]), dim)
    for name in ("input_panels", "hidden_panels"):
        given[name] = zeros(4 * dim // COLUMNS, WIDTH, COLUMNS)
    given["projection_panels"] = zeros(1, dim, COLUMNS)
    with pytest.raises(ValueError, match="expected a multiple of"):
        call_lstm(_lstm.forward, given, [3, 2])


def test_outputs_that_fill_no_panel() -> None:
    given = forward()
    for name in ("inputs", "outputs", "hidden"):
        given[name] = zeros(len(given[name]), WIDTH + 1)
    for name in ("input_panels", "hidden_panels"):
        given[name] = zeros(4 * DIM // COLUMNS, WIDTH + 1, COLUMNS)
    with pytest.raises(ValueError, match="expected a multiple of"):
        call_lstm(_lstm.forward, given, [3, 2])


@pytest.mark.parametrize(("name", "n"), [("bias", 2 * COLUMNS + 1), ("hidden", 65)])
def test_losses_that_fill_no_panel(name: str, n: int) -> None:
    given = logits_back()
    if name == "bias":
        given["bias"], given["d_logits"] = zeros(n), zeros(5, n)
    else:
        given["hidden"], given["d_hidden"] = zeros(5, n), zeros(5, n)
        given["panels"] = zeros(2, n, COLUMNS)
    with pytest.raises(ValueError, match="expected a multiple of"):
        _loss.logits_back(*given.values(), 2)


@pytest.mark.parametrize("n_threads", [0, -1])
def test_no_threads_are_one(n_threads: int) -> None:
    call = np.array([3, 2], np.int64), [forward()], 3.0, 3.0
    _lstm.forward(*call, n_threads)
    _loss.log_sum_exp(*log_sum_exp().values(), n_threads)
    given = response()
    given["characters"] += 1
    given["limits"] += 9
    _convolution.response(*given.values(), n_threads)
    assert not given["best"].any()  # of filters that are zeros
    left, right, result = zeros(5, 3), zeros(5, COLUMNS) + 1, zeros(COLUMNS, 3)
    sums = zeros(COLUMNS)
    _products.outer_products(
        [(left, result, False)], right, sums, kernels.lanes(), n_threads
    )
    assert (sums == 5).all()
