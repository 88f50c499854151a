"""What a GPU may not be able to do, on a CPU that says so in its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import runs

from spacy_elmo.pretraining import loop
from spacy_elmo.pretraining.progress import TrainingError
from spacy_elmo.pretraining.settings import TrainingSettings
from spacy_elmo.pretraining.step import record_steps

TRAINING = TrainingSettings(max_steps=1, dropout=0.1)
NO_MEMORY = torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")


class Model:
    """Takes the language model's place. error: what a record ends in."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.recorded: list[Any] = []

    def record(self, *arguments: Any) -> None:
        self.recorded.append(arguments)
        if self.error is not None:
            raise self.error


def test_steps_are_recorded() -> None:
    model: Any = Model()
    assert record_steps(model, TRAINING, 5, torch.bfloat16) is None
    assert model.recorded == [(TRAINING.unroll_steps, 5, 0.1, torch.bfloat16)]


def test_batches_in_parts_are_not_recorded_and_it_is_told() -> None:
    model: Any = Model()
    training = TRAINING.model_copy(update={"accumulate_gradient": 2})
    told = record_steps(model, training, 5, torch.float32)
    assert told is not None
    assert "accumulate_gradient is 2, not 1" in told
    assert model.recorded == []


def test_a_gpu_that_records_nothing() -> None:
    model: Any = Model(RuntimeError("capture is not permitted"))
    with pytest.raises(TrainingError, match=r"not permitted.*cuda_graph false"):
        record_steps(model, TRAINING, 5, torch.float32)


def test_too_little_memory_is_no_fault_of_the_graph(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model: Any = Model(NO_MEMORY)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        record_steps(model, TRAINING, 5, torch.float32)
    texts = runs.make_texts(tmp_path)

    def compute(*_: Any, **__: Any) -> Any:
        raise NO_MEMORY

    monkeypatch.setattr(loop, "compute_gradient", compute)
    with pytest.raises(TrainingError, match="Tried to allocate 9 GiB") as told:
        runs.run(texts, tmp_path / "out")
    assert "accumulate_gradient" in str(told.value)
