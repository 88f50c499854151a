"""One training step: its result, bad losses, CUDA graph capture."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.language_models import make_shards, random_sentences

from spacy_elmo.pretraining.data.lanes import Lanes, Window
from spacy_elmo.pretraining.gradient_clipping import Clipped
from spacy_elmo.pretraining.sections import TrainingSettings
from spacy_elmo.pretraining.step import (
    ResultQueue,
    StepOutput,
    StepResult,
    TrainingError,
    capture_steps,
    check_finite,
)

# Results


def put(queue: ResultQueue, step: int, *, loss: float = 0.25) -> None:
    window = Window(0, step, np.full((2, 3, 5), step), np.zeros((2, 3), dtype=int))
    output = StepOutput(
        losses=torch.tensor([step + loss, step + 0.5]),
        lane_losses=torch.full((2, 3), float(step)),
        stop_requests=torch.tensor([float(step % 2)]),
        rows=None,
        state=[],
    )
    clipped = Clipped(torch.tensor(step + 0.75), torch.tensor(step == 1))
    queue.put(step, window, step / 8, output, clipped)


def test_on_a_cpu_results_arrive_at_once() -> None:
    queue = ResultQueue(torch.device("cpu"))
    assert list(queue.pop()) == []
    for step in range(3):
        put(queue, step)
        (result,) = queue.pop()
        assert result.step == step
        assert result.window.step == step
        assert result.rate == step / 8
        assert result.forward_loss == step + 0.25
        assert result.backward_loss == step + 0.5
        assert result.grad_norm == step + 0.75
        assert result.is_ignored is (step == 1)
        assert result.stop_requests == step % 2
        assert torch.equal(result.lane_losses, torch.full((2, 3), float(step)))
        assert list(queue.pop(wait=True)) == []


def test_results_arrive_once_and_in_order() -> None:
    queue = ResultQueue(torch.device("cpu"))
    for step in range(5):
        put(queue, step)
    results = queue.pop()
    assert next(results).step == 0
    put(queue, 5)
    assert [result.step for result in results] == [1, 2, 3, 4, 5]
    assert list(queue.pop(wait=True)) == []


# Losses that are not finite


@pytest.fixture
def lanes(tmp_path: Path) -> Lanes:
    shards = make_shards(tmp_path / "shards", random_sentences(40), 50)
    return Lanes(shards, batch_size=4, unroll_steps=6, seed=1)


def make_result(lanes: Lanes, step: int = 0, **changes: Any) -> StepResult:
    result = StepResult(
        step,
        lanes.window(step),
        rate=0.1,
        forward_loss=4.0,
        backward_loss=6.0,
        grad_norm=0.5,
        stop_requests=0.0,
        lane_losses=torch.ones(2, 2),
    )
    return result._replace(**changes)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("direction", [0, 1])
def test_the_message_quotes_the_text(
    lanes: Lanes, direction: int, value: float
) -> None:
    """In the order of the text, for both directions."""
    own, lane = slice(2, 4), 1
    types = lanes.shards.types()
    for step in (0, 3, lanes.steps_per_epoch + 2):
        losses = torch.ones(2, 2)
        losses[direction, lane] = value
        name = ("forward_loss", "backward_loss")[direction]
        result = make_result(lanes, step, lane_losses=losses, **{name: value})
        with pytest.raises(TrainingError) as caught:
            check_finite(result, lanes, own)
        message = str(caught.value)
        epoch, batch = divmod(step, lanes.steps_per_epoch)
        assert message.startswith(
            f"step {step + 1} (batch {batch} of epoch {epoch}): expected finite losses"
        )
        assert f"{('forward', 'backward')[direction]} {value}" in message
        read = lanes.window(step).tokens[direction, own.start + lane, :-1].tolist()
        words = [types[i - 1] if i else "|" for i in read]
        text = " ".join(words if direction == 0 else words[::-1])
        where = f"lane 3, {('forward', 'backward')[direction]} LM, from token "
        assert where in message
        assert f": {text}. The last checkpoint is from before." in message
        assert "a lower learning rate" in message


def test_an_ignored_gradient_may_be_infinite(lanes: Lanes) -> None:
    result = make_result(lanes, grad_norm=math.inf)
    check_finite(result._replace(is_ignored=True), lanes, slice(2, 4))
    with pytest.raises(TrainingError, match="the gradient alone"):
        check_finite(result, lanes, slice(2, 4))


# CUDA graphs, with a fake model on a CPU

TRAINING = TrainingSettings(max_steps=1, dropout=0.1)


class FakeModel:
    """Takes the place of the language model. error: Raised when capturing."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.captured: list[Any] = []

    def capture(self, *arguments: Any) -> None:
        self.captured.append(arguments)
        if self.error is not None:
            raise self.error


def test_steps_are_captured() -> None:
    model: Any = FakeModel()
    assert capture_steps(model, TRAINING, 5, torch.bfloat16) == []
    assert model.captured == [(TRAINING.unroll_steps, 5, 0.1, torch.bfloat16)]


def test_accumulated_steps_are_not_captured() -> None:
    model: Any = FakeModel()
    training = TRAINING.model_copy(update={"accumulate_gradient": 2})
    (message,) = capture_steps(model, training, 5, torch.float32)
    assert "needs training.accumulate_gradient = 1; it is 2" in message
    assert model.captured == []


def test_a_gpu_that_cannot_capture() -> None:
    model: Any = FakeModel(RuntimeError("capture is not permitted"))
    with pytest.raises(TrainingError, match=r"not permitted.*cuda_graph false"):
        capture_steps(model, TRAINING, 5, torch.float32)


def test_capturing_does_not_hide_a_lack_of_memory() -> None:
    model: Any = FakeModel(torch.cuda.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(torch.cuda.OutOfMemoryError):
        capture_steps(model, TRAINING, 5, torch.float32)
