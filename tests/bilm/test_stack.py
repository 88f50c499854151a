"""Both directions through all layers."""

from __future__ import annotations

from typing import Sequence

import pytest
import torch
from torch import Tensor

from spacy_elmo.bilm.backends import LSTMState
from spacy_elmo.bilm.stack import apply_dropout, run_stack

STATES = [LSTMState(torch.zeros(2, 3, 4), torch.zeros(2, 3, 5))] * 3


def double(
    inputs: Tensor, batch_sizes: Sequence[int], state: LSTMState
) -> tuple[Tensor, LSTMState]:
    """Stands in for a layer's LSTMs."""
    return 2 * inputs, LSTMState(state.hidden + 1, state.cell - 1)


def test_skip_connections_start_at_the_second_layer() -> None:
    inputs = torch.randn(2, 6, 4)
    for skip, factors in ((True, (2, 6, 18)), (False, (2, 4, 8))):
        outputs, states = run_stack(
            [double] * 3, inputs, [3, 3], STATES, skip_connections=skip
        )
        for output, factor in zip(outputs, factors):
            torch.testing.assert_close(output, factor * inputs)
        assert len(states) == 3
        assert all(state.hidden.eq(1).all() for state in states)


def test_dropout_applies_to_the_input_of_each_layer() -> None:
    torch.manual_seed(0)
    inputs = torch.ones(2, 6, 400)
    outputs, _ = run_stack(
        [double] * 2, inputs, [3, 3], STATES, skip_connections=False, dropout=0.5
    )
    assert outputs[0].eq(0).float().mean() == pytest.approx(0.5, abs=0.05)
    assert outputs[1].eq(0).float().mean() == pytest.approx(0.75, abs=0.05)


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.9])
def test_dropout_keeps_the_mean(rate: float) -> None:
    torch.manual_seed(0)
    inputs = torch.ones(100_000)
    dropped = apply_dropout(inputs, rate)
    assert dropped.mean() == pytest.approx(1, abs=0.02)
    assert dropped.eq(0).float().mean() == pytest.approx(rate, abs=0.01)
    assert torch.equal(apply_dropout(inputs, 0.0), inputs)
