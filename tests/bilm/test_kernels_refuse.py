"""What the compiled kernels refuse: an error, not a write beyond an array's end."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from spacy_elmo.bilm import kernels

pytestmark = pytest.mark.skipif(
    kernels.why_absent() is not None, reason=f"no kernels here: {kernels.why_absent()}"
)
WIDTH, DIM = 64, 192


@pytest.fixture
def lanes() -> int:
    return kernels.lanes()


def arguments(lanes: int) -> dict[str, Tensor]:
    panels = kernels.forward_panels(
        torch.zeros(1, 4 * DIM, WIDTH), torch.zeros(1, WIDTH, DIM), lanes
    )
    return {
        "hidden_panels": panels.hidden[0],
        "projection_panels": panels.projection[0],
        "bias": torch.zeros(4 * DIM),
        "gates": torch.zeros(5, 4 * DIM),
        "cells": torch.zeros(5, DIM),
        "rows": torch.zeros(5, DIM),
        "outputs": torch.zeros(5, WIDTH),
        "hidden": torch.zeros(3, WIDTH),
        "cell": torch.zeros(3, DIM),
    }


def call(given: dict[str, Tensor], batch_sizes: list[int]) -> None:
    arrays = tuple(tensor.numpy() for tensor in given.values())
    kernels._kernels.forward(np.array(batch_sizes, np.int64), [arrays], 3.0, 3.0, 2)


@pytest.mark.parametrize(
    "name", ["projection_panels", "bias", "gates", "cells", "rows", "outputs", "cell"]
)
def test_wrong_shapes(name: str, lanes: int) -> None:
    """An error, not a write beyond an array's end."""
    given = arguments(lanes)
    call(given, [3, 2])
    given[name] = given[name][:-1].contiguous()
    with pytest.raises(ValueError, match=f"{name}: expected the shape"):
        call(given, [3, 2])


@pytest.mark.parametrize("batch_sizes", [[2, 3], [4, 1], [3, 2, 0], []])
def test_wrong_steps(batch_sizes: list[int], lanes: int) -> None:
    with pytest.raises(ValueError, match="batch sizes that never rise"):
        call(arguments(lanes), batch_sizes)


def test_wrong_layout_and_dtype(lanes: int) -> None:
    given = arguments(lanes)
    turned = {**given, "outputs": torch.zeros(WIDTH, 5).t()}
    with pytest.raises(ValueError, match="contiguous"):
        call(turned, [3, 2])
    with pytest.raises(ValueError, match="dtype"):
        call({**given, "outputs": given["outputs"].double()}, [3, 2])
    narrow = kernels.forward_panels(
        torch.zeros(1, 4 * DIM, WIDTH), torch.zeros(1, WIDTH, DIM), 4
    )
    given["hidden_panels"] = narrow.hidden[0]
    with pytest.raises(ValueError, match="vectors of 4 floats"):
        call(given, [3, 2])


@pytest.mark.parametrize("name", ["forward", "backward"])
def test_no_lstm(name: str) -> None:
    run = getattr(kernels._kernels, name)
    with pytest.raises(ValueError, match="one LSTM or more, found none"):
        run(np.array([2, 1], np.int64), [], 3.0, 3.0, 2)
