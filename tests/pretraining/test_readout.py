"""ReadOut: the numbers of each step, in order; on a CPU at once."""

from __future__ import annotations

import math

import numpy as np
import torch

from spacy_elmo.pretraining.data.lanes import Window
from spacy_elmo.pretraining.readout import ReadOut


def window_of(step: int) -> Window:
    return Window(0, step, np.full((2, 3, 5), step), np.zeros((2, 3), dtype=int))


def put(readout: ReadOut, step: int) -> None:
    numbers = torch.tensor([step + 0.25, step + 0.5, step + 0.75, step % 2])
    lanes = torch.full((2, 3), float(step))
    readout.put(step, window_of(step), step / 8, numbers, lanes)


def test_on_a_cpu_at_once() -> None:
    readout = ReadOut(torch.device("cpu"))
    assert not readout.on_device
    assert list(readout.ready()) == []
    for step in range(3):
        put(readout, step)
        (result,) = readout.ready()
        assert result.step == step
        assert result.window.step == step
        assert result.rate == step / 8
        assert result.forward_loss == step + 0.25
        assert result.backward_loss == step + 0.5
        assert result.grad_norm == step + 0.75
        assert result.stop == step % 2
        assert torch.equal(result.lane_losses, torch.full((2, 3), float(step)))
        assert list(readout.ready(all_of_them=True)) == []


def test_each_once_and_in_order() -> None:
    readout = ReadOut(torch.device("cpu"))
    for step in range(5):
        put(readout, step)
    results = readout.ready()
    assert next(results).step == 0
    put(readout, 5)
    assert [result.step for result in results] == [1, 2, 3, 4, 5]
    assert list(readout.ready(all_of_them=True)) == []


def test_what_is_not_finite_comes_through() -> None:
    readout = ReadOut(torch.device("cpu"))
    numbers = torch.tensor([math.nan, math.inf, -math.inf, 0.0])
    readout.put(0, window_of(0), 0.1, numbers, torch.zeros(2, 3))
    (result,) = readout.ready()
    assert math.isnan(result.forward_loss)
    assert (result.backward_loss, result.grad_norm) == (math.inf, -math.inf)
