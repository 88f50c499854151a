"""An interrupted run resumes as if nothing had happened, bit for bit."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import Any, Callable

import pytest
from helpers import runs
from helpers.corpora import contents

from spacy_elmo.pretraining.signals import Interrupted

SECTIONS: runs.Values = {"training": {"max_steps": 14, "dropout": 0.2}}
"""An epoch ends after step 10; checkpoints at steps 4, 6 (the best), 8, 12 and 14."""

Reference = Callable[..., Path]


@pytest.fixture
def whole(reference: Reference) -> Path:
    """The undisturbed run."""
    return reference(**SECTIONS)


@pytest.fixture
def stopped(texts: Path, tmp_path: Path) -> Path:
    """A run that broke off after 11 steps."""
    runs.stop_at(texts, tmp_path / "stopped", 11, **SECTIONS)
    return tmp_path / "stopped"


def resumed_at(output: Path) -> list[int]:
    return [line["step"] for line in runs.log(output, "resume")]


def send(number: int) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), number)


# Interrupted between steps


@pytest.mark.parametrize(
    ("step", "resumes"),
    [(0, []), (3, []), (4, [4]), (7, [6]), (10, [8]), (11, [8]), (13, [12])],
)
def test_resumes_after_any_step(
    texts: Path, whole: Path, tmp_path: Path, step: int, resumes: list[int]
) -> None:
    runs.stop_at(texts, tmp_path, step, **SECTIONS)
    assert not (tmp_path / "model-last").exists()
    runs.run(texts, tmp_path, **SECTIONS)
    assert resumed_at(tmp_path) == resumes
    runs.assert_same(tmp_path, whole)


@pytest.mark.parametrize(
    "sections",
    [
        {"softmax": {"type": "full"}},
        {"softmax": {"type": "adaptive", "cutoffs": [6]}},
        {"training": {"optimizer": {"name": "adagrad", "learn_rate": 0.3}}},
        {"training": {"schedule": {"name": "cosine", "warmup_steps": 5}}},
        {"training": {"accumulate_gradient": 2, "log_frequency": 5}},
        {"training": {"ema_decay": 0.9}},
        {"training": {"noise": {"misspelled": 0.2, "upper_case": 0.3}}},
        {"training": {"precision": "bfloat16"}},
        {"training": {"max_steps": 0, "max_epochs": 2}},
        {"corpus": {"dev": None}},
        {"corpus": {"shard_tokens": 40}},
    ],
    ids=str,
)
def test_resumes_with_any_settings(texts: Path, tmp_path: Path, sections: Any) -> None:
    chosen = runs.merged(SECTIONS, sections)
    whole = runs.run(texts, tmp_path / "whole", **chosen)
    runs.stop_at(texts, tmp_path / "parts", 11, **chosen)
    runs.run(texts, tmp_path / "parts", **chosen)
    runs.assert_same(tmp_path / "parts", whole)


# Asked to stop


@pytest.mark.parametrize(
    ("step", "number"),
    [
        (0, signal.SIGTERM),
        (5, signal.SIGINT),
        (8, signal.SIGTERM),
        (9, signal.SIGTERM),
        (12, signal.SIGINT),
    ],
)
def test_a_signal_stops_the_run_with_a_checkpoint(
    texts: Path, whole: Path, tmp_path: Path, step: int, number: int
) -> None:
    at_step = runs.before_step(step, send(number))
    with pytest.raises(Interrupted) as caught:
        runs.run(texts, tmp_path, callbacks=[at_step], **SECTIONS)
    assert caught.value.exit_status == 128 + number
    # The step in progress is completed.
    assert runs.checkpoints(tmp_path)[-1] == step + 1
    assert f"Stopped on request at step {step + 1}" in runs.messages(tmp_path)[-1]
    assert runs.log(tmp_path, "train")[-1]["step"] == step + 1
    last = runs.weights(tmp_path / "model-last")
    runs.run(texts, tmp_path, **SECTIONS)
    assert resumed_at(tmp_path) == [step + 1]
    runs.assert_same(tmp_path, whole)
    assert runs.weights(tmp_path / "model-last") != last


def test_a_signal_in_the_last_step(texts: Path, whole: Path, tmp_path: Path) -> None:
    """Nothing is left to do."""
    at_step = runs.before_step(13, send(signal.SIGTERM))
    with pytest.raises(Interrupted):
        runs.run(texts, tmp_path, callbacks=[at_step], **SECTIONS)
    runs.assert_same(tmp_path, whole)
    runs.run(texts, tmp_path, **SECTIONS)
    runs.assert_same(tmp_path, whole)


# Damaged files


def flip_bit(folder: Path) -> None:
    path = folder / "state.safetensors"
    data = bytearray(path.read_bytes())
    data[-50] ^= 1
    path.write_bytes(data)


def test_the_newest_checkpoint_is_damaged(
    texts: Path, whole: Path, stopped: Path
) -> None:
    flip_bit(stopped / "checkpoints" / "step-00000008")
    runs.run(texts, stopped, **SECTIONS)
    warnings = [text for text in runs.messages(stopped) if "is damaged" in text]
    assert len(warnings) == 1
    assert "step-00000008" in warnings[0]
    assert resumed_at(stopped) == [6]
    runs.assert_same(stopped, whole)


def test_all_checkpoints_are_damaged(texts: Path, stopped: Path) -> None:
    """Starting over would lose the run."""
    assert runs.checkpoints(stopped) == [6, 8]
    for step in (6, 8):
        flip_bit(stopped / "checkpoints" / f"step-{step:08}")
    log = (stopped / "log.jsonl").read_bytes()
    with pytest.raises(ValueError, match="expected an intact checkpoint"):
        runs.run(texts, stopped, **SECTIONS)
    assert (stopped / "log.jsonl").read_bytes() == log


# Finished runs


def test_a_finished_run_is_left_alone(texts: Path, whole: Path, tmp_path: Path) -> None:
    output = tmp_path / "again"
    shutil.copytree(whole, output)
    runs.run(texts, output, callbacks=[runs.on("before_step")], **SECTIONS)
    assert runs.messages(output)[-1] == "Training already ended at step 14."
    before, after = contents(whole), contents(output)
    assert after.pop("log.jsonl") != before.pop("log.jsonl")
    assert after == before
    assert runs.records(output) == runs.records(whole)


def test_a_finished_run_is_extended(texts: Path, tmp_path: Path) -> None:
    """A constant learning rate does not depend on the number of steps."""
    for name, max_steps in (("parts", 7), ("parts", 14), ("whole", 14)):
        training = {"max_steps": max_steps, "eval_frequency": 0}
        runs.run(texts, tmp_path / name, training=training)
    parts, whole = tmp_path / "parts", tmp_path / "whole"
    assert runs.losses(parts) == runs.losses(whole)
    assert runs.weights(parts / "model-last") == runs.weights(whole / "model-last")


def test_patience_survives_interruptions(texts: Path, tmp_path: Path) -> None:
    """Also if it runs out between two evaluations."""
    chosen: runs.Values = {
        "training": {
            "max_steps": 30,
            "eval_frequency": 4,
            "checkpoint_frequency": 3,
            "patience": 6,
            "optimizer": {"learn_rate": 1e-20},
        }
    }
    runs.run(texts, tmp_path / "whole", **chosen)
    assert runs.log(tmp_path / "whole", "train")[-1]["step"] == 12
    for step in (5, 7, 9, 10, 11):
        at_step = runs.before_step(step, send(signal.SIGTERM))
        with pytest.raises(Interrupted):
            runs.run(texts, tmp_path / "parts", callbacks=[at_step], **chosen)
    runs.run(texts, tmp_path / "parts", **chosen)
    runs.assert_same(tmp_path / "parts", tmp_path / "whole")
