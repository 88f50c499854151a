"""Progress: resuming from a checkpoint, records of the log, the best evaluation."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.language_models import CONFIG, make_shards, random_sentences

from spacy_elmo.pretraining.data.lanes import Lanes
from spacy_elmo.pretraining.output import checkpoints
from spacy_elmo.pretraining.output.checkpoints import Checkpoint
from spacy_elmo.pretraining.progress import Progress
from spacy_elmo.pretraining.sections import (
    CorpusSettings,
    ScheduleSettings,
    TrainingSettings,
)
from spacy_elmo.pretraining.settings import PretrainSettings
from spacy_elmo.pretraining.step import StepResult, TrainingError
from spacy_elmo.scoring.perplexity import Perplexities

IDENTITY = {"corpus.train": "a1", "corpus.dev": "b2", "vocabulary": "c3"}
SETTINGS = PretrainSettings(
    corpus=CorpusSettings(train="text.txt", dev="dev.txt"),
    training=TrainingSettings(max_steps=100, dropout=0.1),
    bilm=CONFIG,
)
N_LANES, UNROLL_STEPS = 4, 6


@pytest.fixture
def progress() -> Progress:
    return Progress.new(SETTINGS, IDENTITY, 9)


@pytest.fixture
def lanes(tmp_path: Path) -> Lanes:
    shards = make_shards(tmp_path / "shards", random_sentences(40), 50)
    return Lanes(shards, N_LANES, UNROLL_STEPS, seed=1)


def result_of(lanes: Lanes, step: int = 0, **changes: Any) -> StepResult:
    result = StepResult(
        step,
        lanes.window(step),
        rate=0.01 * step,
        forward_loss=4.0 + step,
        backward_loss=6.0 + step,
        grad_norm=0.5 * step,
        stop_requests=0.0,
        lane_losses=torch.ones(2, 2),
    )
    return result._replace(**changes)


def found(mean: float) -> Perplexities:
    return Perplexities(mean + 1, mean - 1, mean, 0.25, 77)


# Resuming


def test_a_checkpoint_restores_everything(
    progress: Progress, lanes: Lanes, tmp_path: Path
) -> None:
    progress.step, progress.seconds = 12, 0.1 + 0.2
    for step in range(3):
        progress.add(result_of(lanes, step), 24)
    progress.evaluated(found(30.0), best=True)
    progress.step = 15
    progress.evaluated(found(31.0), best=False)
    checkpoints.save(tmp_path, 15, {}, progress.to_meta())
    checkpoint = checkpoints.load_newest(tmp_path, pytest.fail)
    assert checkpoint is not None
    resumed = Progress.new(SETTINGS, IDENTITY, 9).resumed(checkpoint)
    assert resumed.to_meta() == progress.to_meta()
    assert (resumed.step, resumed.words, resumed.best_step) == (15, 72, 12)
    assert resumed.last_evaluation() == found(31.0)
    assert resumed.unlogged_steps == 3
    resumed.add(result_of(lanes, 3), 24)
    progress.add(result_of(lanes, 3), 24)
    assert resumed.train_record(5.0) == progress.train_record(5.0)


def checkpoint_of(progress: Progress) -> Checkpoint:
    return Checkpoint(8, {}, json.loads(json.dumps(progress.to_meta())))


WSD = {"name": "warmup_stable_decay", "decay_steps": 4}


@pytest.mark.parametrize(
    ("old", "new", "may"),
    [
        # When eight steps are done.
        (("constant", 20, 0), ("constant", 9, 0), True),
        (("constant", 20, 0), ("constant", 0, 3), True),
        (("constant", 20, 0), ("linear", 20, 0), False),
        (("linear", 20, 0), ("linear", 21, 0), False),
        # The second epoch ends at step 18.
        (("linear", 18, 0), ("linear", 0, 2), True),
        ((WSD, 20, 0), (WSD, 200, 0), True),
        ((WSD, 20, 0), (WSD, 12, 0), True),
        ((WSD, 20, 0), ({**WSD, "decay_steps": 12}, 20, 0), True),
        ((WSD, 20, 0), ("constant", 20, 0), True),
        ((WSD, 20, 0), (WSD, 10, 0), False),
        ((WSD, 20, 0), ({**WSD, "warmup_steps": 2}, 20, 0), False),
    ],
)
def test_the_length_may_change_if_learning_rates_do_not(
    old: Any, new: Any, may: bool
) -> None:
    def settings(schedule: Any, max_steps: int, max_epochs: int) -> PretrainSettings:
        if isinstance(schedule, str):
            schedule = {"name": schedule}
        training = TrainingSettings(
            dropout=0.1,
            max_steps=max_steps,
            max_epochs=max_epochs,
            schedule=ScheduleSettings(**schedule),
        )
        return SETTINGS.model_copy(update={"training": training})

    before = Progress.new(settings(*old), IDENTITY, 9)
    after = Progress.new(settings(*new), IDENTITY, 9)
    if may:
        assert after.resumed(checkpoint_of(before)).settings == after.settings
    else:
        with pytest.raises(TrainingError, match=r"training\.(schedule|max_steps)"):
            after.resumed(checkpoint_of(before))


def test_the_clock_includes_earlier_runs(progress: Progress) -> None:
    progress.seconds = 100.0
    clock = progress.start_clock()
    first = clock()
    assert 100 <= first < 110
    time.sleep(0.01)
    assert first + 0.01 <= clock() < 110


# Records


def test_a_record_averages_the_steps_since_the_last(
    progress: Progress, lanes: Lanes
) -> None:
    for step in range(3):
        progress.add(result_of(lanes, step), 24)
    record = progress.train_record(6.0)
    assert record._asdict() == {
        "step": 3,
        "epoch": 1 / 3,
        "loss": 6.0,
        "forward_loss": 5.0,
        "backward_loss": 7.0,
        "learn_rate": 0.02,
        "grad_norm": 1.0,
        "words_per_second": 12.0,
        "words": 72,
        "seconds": 6.0,
        "ignored_steps": 0,
        "teacher_loss": None,
    }
    assert progress.unlogged_steps == 0
    progress.add(result_of(lanes, 10), 24)
    record = progress.train_record(7.0)
    assert (record.step, record.loss, record.words) == (11, 15.0, 96)
    assert record.words_per_second == pytest.approx(24.0)


def test_a_record_averages_the_teacher_loss(progress: Progress, lanes: Lanes) -> None:
    for loss in (0.75, 0.25):
        progress.add(result_of(lanes, teacher_loss=loss), 24)
    assert progress.train_record(1.0).teacher_loss == 0.5
    progress.add(result_of(lanes, teacher_loss=0.125), 24)
    assert progress.train_record(2.0).teacher_loss == 0.125


def test_ignored_gradients_are_counted(progress: Progress, lanes: Lanes) -> None:
    for is_ignored in (True, False, True, True):
        progress.add(result_of(lanes, is_ignored=is_ignored), 24)
    assert progress.ignored_in_a_row == 2
    assert progress.train_record(1.0).ignored_steps == 3
    assert progress.ignored_in_a_row == 2
    progress.add(result_of(lanes), 24)
    assert progress.ignored_in_a_row == 0
    assert progress.train_record(2.0).ignored_steps == 0


def test_a_record_after_no_time(progress: Progress, lanes: Lanes) -> None:
    progress.add(result_of(lanes), 24)
    assert progress.train_record(0.0).words_per_second > 0


# Evaluations


def test_the_best_evaluation(progress: Progress) -> None:
    assert progress.last_evaluation() is None
    results = []
    for step, mean in enumerate([50.0, 40.0, 45.0, 40.0, 39.9]):
        progress.step = step
        results.append(progress.is_best(found(mean)))
        progress.evaluated(found(mean), best=results[-1])
        assert progress.last_evaluation() == found(mean)
    assert results == [True, True, False, False, True]
    assert (progress.best, progress.best_step) == (39.9, 4)


@pytest.mark.parametrize("mean", [math.nan, math.inf])
def test_a_perplexity_that_is_not_finite_is_never_best(
    progress: Progress, mean: float
) -> None:
    assert not progress.is_best(found(mean))
    progress.evaluated(found(mean), best=False)
    assert progress.best_step is None
    assert progress.is_best(found(9.0))
    progress.evaluated(found(9.0), best=True)
    assert not progress.is_best(found(mean))
    assert progress.is_best(found(8.0))


@pytest.mark.parametrize(
    ("step", "best_step", "patience", "expected"),
    [
        (9, None, 0, False),
        (10, None, 0, True),
        (11, None, 3, True),
        (9, 5, 0, False),
        (7, 5, 3, False),
        (8, 5, 3, True),
        (9, None, 3, False),
        (10, 10, 3, True),
    ],
)
def test_when_a_run_is_finished(
    progress: Progress,
    step: int,
    best_step: int | None,
    patience: int,
    expected: bool,
) -> None:
    progress.step, progress.best_step = step, best_step
    assert progress.is_finished(10, patience) is expected
