"""A run that was interrupted goes on as if nothing had happened, bit for bit."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import Any, Iterator

import pytest
from helpers import runs
from helpers.corpora import contents

from spacy_elmo.pretraining import loop
from spacy_elmo.pretraining.output import checkpoints, model_folder
from spacy_elmo.pretraining.output import log as records
from spacy_elmo.pretraining.signals import Interrupted

SECTIONS: runs.Values = {"training": {"max_steps": 14, "dropout": 0.2}}
"""With an epoch's end after 10 steps, checkpoints after 4, 6 (the best), 8 and 12."""


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runs.make_texts(tmp_path_factory.mktemp("texts"))


@pytest.fixture(scope="module")
def whole(texts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody has disturbed."""
    return runs.run(texts, tmp_path_factory.mktemp("whole"), **SECTIONS)


@pytest.fixture(autouse=True)
def _no_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    """They take longer than the steps."""
    monkeypatch.setattr(records, "plot_curves", lambda log, target: None)


@pytest.fixture
def stopped(texts: Path, tmp_path: Path) -> Path:
    """One that was gone after 11 steps."""
    runs.stop_at(texts, tmp_path / "stopped", 11, **SECTIONS)
    return tmp_path / "stopped"


def resumed_at(output: Path) -> list[int]:
    return [line["step"] for line in runs.log(output, "resume")]


# Interrupted between steps


@pytest.mark.parametrize(
    ("step", "resumes"),
    [(0, []), (3, []), (4, [4]), (7, [6]), (9, [8]), (10, [8]), (11, [8]), (13, [12])],
)
def test_after_any_step(
    texts: Path, whole: Path, tmp_path: Path, step: int, resumes: list[int]
) -> None:
    runs.stop_at(texts, tmp_path, step, **SECTIONS)
    assert not (tmp_path / "model-last").exists()
    runs.run(texts, tmp_path, **SECTIONS)
    assert resumed_at(tmp_path) == resumes
    runs.assert_same(tmp_path, whole)


def test_again_and_again(texts: Path, whole: Path, tmp_path: Path) -> None:
    for step in (2, 5, 9, 11, 13):
        runs.stop_at(texts, tmp_path, step, **SECTIONS)
    runs.run(texts, tmp_path, **SECTIONS)
    assert resumed_at(tmp_path) == [4, 8, 8, 12]
    runs.assert_same(tmp_path, whole)


@pytest.mark.parametrize(
    "sections",
    [
        {"softmax": {"type": "full"}},
        {"softmax": {"type": "adaptive", "cutoffs": [6]}},
        {"training": {"optimizer": {"name": "adagrad", "learn_rate": 0.3}}},
        {"training": {"schedule": {"name": "cosine", "warmup_steps": 5}}},
        {"training": {"accumulate_gradient": 2}},
        {"training": {"log_frequency": 5}},
        {"training": {"ema_decay": 0.9}},
        {"training": {"noise": {"misspelled": 0.2, "upper_case": 0.3}}},
        {"training": {"precision": "bfloat16"}},
        {"training": {"max_steps": 0, "max_epochs": 2}},
        {"corpus": {"dev": None}},
    ],
    ids=str,
)
def test_whatever_is_set(texts: Path, tmp_path: Path, sections: Any) -> None:
    chosen = runs.merged(SECTIONS, sections)
    runs.run(texts, tmp_path / "whole", **chosen)
    for step in (7, 11):
        runs.stop_at(texts, tmp_path / "parts", step, **chosen)
    runs.run(texts, tmp_path / "parts", **chosen)
    runs.assert_same(tmp_path / "parts", tmp_path / "whole")


def test_over_several_shards(texts: Path, tmp_path: Path) -> None:
    chosen = runs.merged(SECTIONS, {"corpus": {"shard_tokens": 40}})
    runs.run(texts, tmp_path / "whole", **chosen)
    runs.stop_at(texts, tmp_path / "parts", 9, **chosen)
    runs.run(texts, tmp_path / "parts", **chosen)
    runs.assert_same(tmp_path / "parts", tmp_path / "whole")


# Interrupted while something is written


@pytest.mark.parametrize("number", [1, 3])
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(
    ("module", "name"),
    [
        (checkpoints, "save"),
        (checkpoints, "prune"),
        (checkpoints, "save_file"),
        (loop, "write_model"),
        (model_folder, "save_bilm"),
    ],
)
def test_around_a_write(
    texts: Path,
    whole: Path,
    tmp_path: Path,
    module: Any,
    name: str,
    after: bool,
    number: int,
) -> None:
    """The number-th call."""
    original, calls = getattr(module, name), 0

    def patched(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == number and not after:
            raise runs.Stopped
        result = original(*arguments, **named)
        if calls == number:
            raise runs.Stopped
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, name, patched)
        with pytest.raises(runs.Stopped):
            runs.run(texts, tmp_path, **SECTIONS)
    runs.run(texts, tmp_path, **SECTIONS)
    runs.assert_same(tmp_path, whole)


# Asked to end


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("step", [0, 5, 8, 9, 12])
def test_a_signal_ends_with_a_checkpoint(
    texts: Path, whole: Path, tmp_path: Path, step: int, number: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        runs.before_step(patch, step, lambda: os.kill(os.getpid(), number))
        with pytest.raises(Interrupted) as caught:
            runs.run(texts, tmp_path, **SECTIONS)
    assert caught.value.exit_status == 128 + number
    # The step in which it came is finished.
    assert runs.checkpoints(tmp_path)[-1] == step + 1
    assert f"Ended on request at step {step + 1}" in runs.messages(tmp_path)[-1]
    assert runs.log(tmp_path, "train")[-1]["step"] == step + 1
    last = runs.weights(tmp_path / "model-last")
    runs.run(texts, tmp_path, **SECTIONS)
    assert resumed_at(tmp_path) == [step + 1]
    runs.assert_same(tmp_path, whole)
    assert runs.weights(tmp_path / "model-last") != last


def test_a_signal_at_the_last_step(texts: Path, whole: Path, tmp_path: Path) -> None:
    """All is done already."""
    with pytest.MonkeyPatch.context() as patch:
        runs.before_step(patch, 13, lambda: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(Interrupted):
            runs.run(texts, tmp_path, **SECTIONS)
    runs.assert_same(tmp_path, whole)
    runs.run(texts, tmp_path, **SECTIONS)
    runs.assert_same(tmp_path, whole)


@pytest.fixture
def _ctrl_c() -> Iterator[None]:
    """As in a program that someone has started by hand. Where the tests are a shell's
    background job SIGINT is ignored: that, too, a run would put back."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_ctrl_c")
def test_a_second_signal_acts_at_once(texts: Path, tmp_path: Path) -> None:
    came: list[str] = []

    def twice() -> None:
        # To this thread: sent to the process, both may be waiting as if they were one.
        signal.raise_signal(signal.SIGINT)
        came.append("first")
        signal.raise_signal(signal.SIGINT)
        came.append("second")

    with pytest.MonkeyPatch.context() as patch:
        runs.before_step(patch, 7, twice)
        with pytest.raises(KeyboardInterrupt):
            runs.run(texts, tmp_path, **SECTIONS)
    assert came == ["first"]
    assert runs.log(tmp_path, "train")[-1]["step"] == 7
    assert runs.checkpoints(tmp_path)[-1] == 6


def test_handlers_of_signals_are_put_back(texts: Path, tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    runs.stop_at(texts, tmp_path, 2)
    assert before == (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT))


# Damaged checkpoints


def cut(folder: Path) -> None:
    path = folder / "state.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def flip(folder: Path) -> None:
    path = folder / "state.safetensors"
    data = bytearray(path.read_bytes())
    data[-50] ^= 1
    path.write_bytes(data)


def empty(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def no_json(folder: Path) -> None:
    (folder / "state.json").write_bytes(b"\0" * 100)


@pytest.mark.parametrize("damage", [cut, flip, empty, no_json])
def test_the_newest_checkpoint_is_damaged(
    texts: Path, whole: Path, stopped: Path, damage: Any
) -> None:
    damage(stopped / "checkpoints" / "step-00000008")
    runs.run(texts, stopped, **SECTIONS)
    said = [text for text in runs.messages(stopped) if "is damaged" in text]
    assert len(said) == 1
    assert "step-00000008" in said[0]
    assert resumed_at(stopped) == [6]
    assert (stopped / "checkpoints" / "damaged-step-00000008").is_dir()
    shutil.rmtree(stopped / "checkpoints" / "damaged-step-00000008")
    runs.assert_same(stopped, whole)


def test_all_checkpoints_are_damaged(texts: Path, stopped: Path) -> None:
    """To begin anew would lose the run."""
    assert runs.checkpoints(stopped) == [6, 8]
    for step in (6, 8):
        cut(stopped / "checkpoints" / f"step-{step:08}")
    log = (stopped / "log.jsonl").read_bytes()
    with pytest.raises(ValueError, match="expected a checkpoint that is whole"):
        runs.run(texts, stopped, **SECTIONS)
    assert (stopped / "log.jsonl").read_bytes() == log


def test_the_log_is_cut_short(texts: Path, whole: Path, stopped: Path) -> None:
    path = stopped / "log.jsonl"
    path.write_bytes(path.read_bytes()[:-30])
    runs.run(texts, stopped, **SECTIONS)
    runs.assert_same(stopped, whole)


# At its end


def test_a_finished_run_does_nothing_and_says_so(
    texts: Path, whole: Path, tmp_path: Path
) -> None:
    output = tmp_path / "again"
    shutil.copytree(whole, output)
    with pytest.MonkeyPatch.context() as patch:
        runs.before_step(patch, 14)
        runs.run(texts, output, **SECTIONS)
    assert runs.messages(output)[-1] == "Training ended at step 14 already."
    before, after = contents(whole), contents(output)
    assert after.pop("log.jsonl") != before.pop("log.jsonl")
    assert after == before
    assert runs.records(output) == runs.records(whole)


def test_a_finished_run_that_may_go_on(texts: Path, tmp_path: Path) -> None:
    """A constant rate does not look at the end."""
    for max_steps in (7, 14):
        training = {"max_steps": max_steps, "eval_frequency": 0}
        runs.run(texts, tmp_path / "parts", training=training)
    training = {"max_steps": 14, "eval_frequency": 0}
    runs.run(texts, tmp_path / "whole", training=training)
    assert runs.losses(tmp_path / "parts") == runs.losses(tmp_path / "whole")
    last = [runs.weights(tmp_path / n / "model-last") for n in ("parts", "whole")]
    assert last[0] == last[1]


def test_patience_is_kept_over_interruptions(texts: Path, tmp_path: Path) -> None:
    """Also where it ends between two evaluations."""
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
        with pytest.MonkeyPatch.context() as patch:
            runs.before_step(patch, step, lambda: os.kill(os.getpid(), signal.SIGTERM))
            with pytest.raises(Interrupted):
                runs.run(texts, tmp_path / "parts", **chosen)
    runs.run(texts, tmp_path / "parts", **chosen)
    runs.assert_same(tmp_path / "parts", tmp_path / "whole")
