"""What goes wrong in a run: infinite losses, full disks, too little memory."""

from __future__ import annotations

import errno
import json
import math
from pathlib import Path
from typing import Any, Callable

import pytest
import torch
from helpers import runs

from spacy_elmo.pretraining.callback import Callback
from spacy_elmo.pretraining.output import checkpoints
from spacy_elmo.pretraining.pretrain import pretrain
from spacy_elmo.pretraining.step import StepOutput, TrainingError
from spacy_elmo.pretraining.trainer import Trainer

LONG: runs.Values = {"training": {"max_steps": 20, "eval_frequency": 0}}
NO_DEV: runs.Values = {"corpus": {"dev": None}}

Reference = Callable[..., Path]


# Not finite


def spoil(output: StepOutput, lanes: list[Any], value: float) -> None:
    """Set the losses of these lanes, pairs of a direction and a number."""
    for direction, lane in lanes:
        output.lane_losses[direction, lane] = value
    output.losses.copy_(output.lane_losses.sum(dim=1))


def spoil_step(step: int, lane: tuple[int, int], value: float) -> Callback:
    def act(trainer: Trainer, output: StepOutput) -> None:
        spoil(output, [lane], value)

    return runs.on("after_backward", act, call=step + 1)


def train_words(texts: Path) -> list[str]:
    """The training text, with | for the end of a sentence."""
    lines = (texts / "train.txt").read_text(encoding="utf8").splitlines()
    return [word for line in lines for word in [*line.split(), "|"]]


@pytest.mark.parametrize(
    ("direction", "name", "value"),
    [(0, "forward", math.nan), (1, "backward", math.inf)],
)
def test_a_loss_that_is_not_finite(
    texts: Path, tmp_path: Path, direction: int, name: str, value: float
) -> None:
    fault = spoil_step(13, (direction, 2), value)
    with pytest.raises(TrainingError) as caught:
        runs.run(texts, tmp_path, callbacks=[fault], **LONG)
    message = str(caught.value)
    # An epoch has 10 steps.
    assert "step 14 (batch 3 of epoch 1)" in message
    assert "expected finite losses" in message
    assert f"{name} {value}" in message
    assert f"lane 2, {name} LM" in message
    # The five words that the lane reads in that step, and their position.
    place, _, words = message.partition("token ")[2].partition(" of shard 0: ")
    text = train_words(texts)
    ring = [*text, *text]
    printed = words.partition(". The last checkpoint")[0]
    assert printed == " ".join(ring[int(place) : int(place) + 5])


def test_a_learning_rate_that_is_far_too_high(texts: Path, tmp_path: Path) -> None:
    """A real divergence: files from before are intact, and no more are written."""
    training: runs.Values = {
        "max_steps": 30,
        "eval_frequency": 1,
        "checkpoint_frequency": 1,
        "keep_checkpoints": 30,
        "optimizer": {"name": "adamw", "learn_rate": 1e30},
    }
    with pytest.raises(TrainingError, match="expected finite losses and gradients"):
        runs.run(texts, tmp_path, training=training)
    steps = runs.checkpoints(tmp_path)
    assert steps == list(range(1, len(steps) + 1))
    assert [line["step"] for line in runs.log(tmp_path, "train")] == steps
    assert all(math.isfinite(loss) for loss in runs.losses(tmp_path))
    assert not (tmp_path / "model-last").exists()
    newest = checkpoints.load_newest(tmp_path / "checkpoints", pytest.fail)
    assert newest is not None
    assert newest.step == steps[-1]


def test_a_gradient_that_is_not_finite(texts: Path, tmp_path: Path) -> None:
    """Although every loss is."""

    def act(trainer: Trainer, output: StepOutput) -> None:
        gradient = next(trainer.model.bilm.parameters()).grad
        assert gradient is not None
        gradient[0] = math.inf

    with pytest.raises(TrainingError, match="the gradient alone") as caught:
        runs.run(texts, tmp_path, callbacks=[runs.on("after_backward", act)])
    assert "step 1 (batch 0 of epoch 0)" in str(caught.value)
    assert not (tmp_path / "checkpoints").exists()


EXPLODING: runs.Values = {
    "max_steps": 120,
    "eval_frequency": 0,
    "checkpoint_frequency": 60,
    "log_frequency": 20,
}


def test_an_exploded_gradient(texts: Path, tmp_path: Path) -> None:
    """It counts as zero, and the state starts over; also in a run that is resumed, and
    began without grad_skip."""
    steps = range(105, 107)
    folders = [tmp_path / name for name in ("zero", "exploded", "resumed")]
    for folder, factor in zip(folders, (0.0, 1e6, 1e6)):
        if folder.name == "resumed":
            optimizer = {"grad_skip": None}
            first = {**EXPLODING, "max_steps": 60, "optimizer": optimizer}
            training = runs.merged(runs.SETTINGS["training"], first)
            runs.run(texts, folder, training=training, **NO_DEV)
        faults = [runs.explode(steps, factor)]
        runs.run(texts, folder, training=EXPLODING, callbacks=faults, **NO_DEV)
    zero, exploded, resumed = folders
    expected = runs.tensors(zero, 120)
    for output in (exploded, resumed):
        for name, value in runs.tensors(output, 120).items():
            if not name.startswith("clipper."):
                assert torch.equal(value, expected[name]), name
        records = runs.log(output, "train")
        assert [line["ignored_steps"] for line in records] == [0, 0, 0, 0, 0, 2]
        assert "Exploded gradients, ignored: 2" in runs.messages(output)


def test_a_training_that_diverges(texts: Path, tmp_path: Path) -> None:
    """It ends, also if a checkpoint is written on the way."""
    training = {**EXPLODING, "max_steps": 1000, "checkpoint_frequency": 130}
    fault = runs.explode(range(102, 1000), 1e9)
    for first in (0, 130):
        with pytest.raises(TrainingError) as caught:
            runs.run(texts, tmp_path, training=training, callbacks=[fault], **NO_DEV)
        message = str(caught.value)
        assert message.startswith("step 202: expected gradients about as long as usual")
        assert "found 100 in a row that training.optimizer.grad_skip ignores" in message
        assert "a lower training.optimizer.learn_rate" in message
        assert runs.checkpoints(tmp_path) == [130], first


def test_an_infinite_perplexity_does_not_end_a_run(texts: Path, tmp_path: Path) -> None:
    training: runs.Values = {
        "max_steps": 4,
        "eval_frequency": 2,
        "checkpoint_frequency": 2,
        "optimizer": {"name": "adagrad", "learn_rate": 3e3, "grad_clip": None},
    }
    runs.run(texts, tmp_path, training=training)
    evaluations = runs.log(tmp_path, "dev")
    assert [line["perplexity"] for line in evaluations] == [math.inf] * 2
    assert not any(line["best"] for line in evaluations)
    assert runs.checkpoints(tmp_path) == [2, 4]
    runs.run(texts, tmp_path, training=training)
    assert (tmp_path / "model-last").is_dir()


# Full disks


def full_disk(hook: str, call: int) -> Callback:
    """The disk is full at this call of a hook, counted from 1."""
    error = OSError(errno.ENOSPC, "No space left on device")
    return runs.on(hook, error, call=call)


@pytest.mark.parametrize("hook", ["before_checkpoint", "after_checkpoint"])
def test_a_checkpoint_that_cannot_be_written(
    texts: Path, tmp_path: Path, reference: Reference, hook: str
) -> None:
    """The second of the checkpoints at steps 4, 8 and 12."""
    fault = full_disk(hook, 2)
    output = runs.run(texts, tmp_path / "out", callbacks=[fault], **NO_DEV)
    (warning,) = [text for text in runs.messages(output) if "checkpoint" in text]
    assert "No checkpoint was written at step 8" in warning
    assert "No space left on device" in warning
    assert "Training continues" in warning
    if hook == "before_checkpoint":
        assert runs.checkpoints(output) == [4, 12]
    runs.assert_same(output, reference(**NO_DEV))


def test_the_last_checkpoint_must_be_written(
    texts: Path, tmp_path: Path, reference: Reference
) -> None:
    """The run fails; it finishes once there is room on the disk."""
    fault = full_disk("before_checkpoint", 3)
    with pytest.raises(OSError, match="No space left on device"):
        runs.run(texts, tmp_path, callbacks=[fault], **NO_DEV)
    assert runs.checkpoints(tmp_path) == [4, 8]
    runs.run(texts, tmp_path, **NO_DEV)
    runs.assert_same(tmp_path, reference(**NO_DEV))


def test_a_best_model_that_cannot_be_written(
    texts: Path, tmp_path: Path, plain: Path
) -> None:
    """Step 6 fails to export its model; step 12 succeeds."""
    assert [line["best"] for line in runs.log(plain, "dev")] == [True, True]
    fault = full_disk("before_export", 1)
    output = runs.run(texts, tmp_path, callbacks=[fault])
    assert any(
        "No model-best was written at step 6" in t for t in runs.messages(output)
    )
    assert [line["best"] for line in runs.log(output, "dev")] == [False, True]
    for name in ("model-best", "model-last"):
        assert runs.weights(output / name) == runs.weights(plain / name)


def test_the_best_model_is_the_best_that_was_written(
    texts: Path, tmp_path: Path
) -> None:
    """Step 8 is best, but fails to export; step 12 replaces the model of step 4."""
    output = runs.run(
        texts,
        tmp_path,
        trainer=runs.scripted(50.0, 40.0, 45.0),
        callbacks=[full_disk("before_export", 2)],
        training={"eval_frequency": 4},
    )
    assert any(
        "No model-best was written at step 8" in t for t in runs.messages(output)
    )
    log = runs.log(output, "dev")
    assert [line["best"] for line in log] == [True, False, True]
    meta = json.loads((output / "model-best" / "pretraining.json").read_text("utf8"))
    assert (meta["step"], meta["held_out"]["mean"]) == (12, 45.0)


def test_the_last_model_must_be_written(texts: Path, tmp_path: Path) -> None:
    fault = full_disk("before_export", 1)
    with pytest.raises(OSError, match="No space left on device"):
        runs.run(texts, tmp_path, callbacks=[fault], **NO_DEV)
    assert runs.checkpoints(tmp_path) == [8, 12]
    runs.run(texts, tmp_path, **NO_DEV)
    assert runs.weights(tmp_path / "model-last")


def test_files_truncated_by_the_system(
    texts: Path, tmp_path: Path, plain: Path
) -> None:
    """A limit on the size of a process's files causes the writers' own errors."""
    pytest.importorskip("resource")
    sizes = {path.name: path.stat().st_size for path in plain.rglob("*.safetensors")}
    limit = 50_000
    assert sizes.pop("state.safetensors") > limit > max(sizes.values())
    config = runs.write_config(tmp_path / "run.cfg", texts)
    program = (
        "import resource, runpy, sys\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
        "runpy.run_module('spacy_elmo.pretraining', run_name='__main__')\n"
    )
    output = tmp_path / "out"
    status, printed = runs.finish(runs.start("-c", program, config, output, "--quiet"))
    assert status == 1, printed
    assert "Traceback" not in printed
    assert "step-00000012: expected to write it" in printed
    for step in (4, 6, 8):
        warnings = [t for t in runs.messages(output) if f"at step {step}:" in t]
        assert len(warnings) == 1
    assert list((output / "checkpoints").iterdir()) == []
    assert runs.records(output) == runs.records(plain)
    runs.run(texts, output)
    runs.assert_same(output, plain)


# Too little memory


def test_a_batch_that_does_not_fit_into_memory(texts: Path, tmp_path: Path) -> None:
    error = torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")
    callbacks = [runs.on("after_backward", error)]
    with pytest.raises(TrainingError, match="Tried to allocate 9 GiB") as caught:
        pretrain(runs.settings(texts), tmp_path, show=False, callbacks=callbacks)
    assert "accumulate_gradient" in str(caught.value)
