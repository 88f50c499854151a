"""What goes wrong in a run: numbers that are not finite, full disks."""

from __future__ import annotations

import errno
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import runs

from spacy_elmo.pretraining import loop
from spacy_elmo.pretraining.data.shards import Shards
from spacy_elmo.pretraining.evaluation import Perplexities
from spacy_elmo.pretraining.output import checkpoints, model_folder
from spacy_elmo.pretraining.output import reporter as reporting
from spacy_elmo.pretraining.progress import TrainingError

LONG: runs.Values = {"training": {"max_steps": 20, "eval_frequency": 0}}


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runs.make_texts(tmp_path_factory.mktemp("texts"))


# Not finite


def spoil(
    monkeypatch: pytest.MonkeyPatch, step: int, places: list[Any], value: float
) -> None:
    """Have the loss of a step at these lanes, (direction, lane), be this value."""
    compute = loop.compute_gradient

    def patched(*arguments: Any, **named: Any) -> Any:
        numbers, lane_losses, rows, state = compute(*arguments, **named)
        if arguments[5] == step:
            for direction, lane in places:
                lane_losses[direction, lane] = value
            numbers[:2] = lane_losses.sum(dim=1)
        return numbers, lane_losses, rows, state

    monkeypatch.setattr(loop, "compute_gradient", patched)


def train_words(texts: Path) -> list[str]:
    """The training text, | at the sentences' ends."""
    lines = (texts / "train.txt").read_text(encoding="utf8").splitlines()
    return [word for line in lines for word in [*line.split(), "|"]]


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize(("direction", "name"), [(0, "forward"), (1, "backward")])
def test_a_loss_that_is_not_finite(
    texts: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    direction: int,
    name: str,
    value: float,
) -> None:
    spoil(monkeypatch, 13, [(direction, 2)], value)
    with pytest.raises(TrainingError) as caught:
        runs.run(texts, tmp_path, **LONG)
    message = str(caught.value)
    # An epoch has 10 steps.
    assert "step 14 (batch 3 of epoch 1)" in message
    assert "expected finite losses" in message
    assert f"{name} {value}" in message
    assert f"lane 2, {name} LM" in message
    # The five words that lane reads in that step, and where they stand.
    place, _, words = message.partition("token ")[2].partition(" of shard 0: ")
    text = train_words(texts)
    ring = [*text, *text]
    shown = words.partition(". The last checkpoint")[0]
    assert shown == " ".join(ring[int(place) : int(place) + 5])


def test_where_it_stands_is_what_the_lane_read(
    texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a word that stands at one place alone, whose loss is spoilt."""
    words = train_words(texts)
    place = 100
    words[place] = "unique"
    lines = " ".join(words).replace(" |", "\n")
    (tmp_path / "text.txt").write_text(lines, encoding="utf8")
    compute = loop.compute_gradient

    def patched(*arguments: Any, **named: Any) -> Any:
        numbers, lane_losses, rows, state = compute(*arguments, **named)
        tokens = arguments[1][0].window.tokens[:, :, 1:]
        shards = Shards(next((tmp_path / "cache").glob("*/meta.json")).parent)
        unique = shards.types().index("unique") + 1
        for direction, lane in zip(*(tokens == unique).any(axis=2).nonzero()):
            lane_losses[direction, lane] = math.nan
        numbers[:2] = lane_losses.sum(dim=1)
        return numbers, lane_losses, rows, state

    monkeypatch.setattr(loop, "compute_gradient", patched)
    corpus = {
        "train": str(tmp_path / "text.txt"),
        "cache": str(tmp_path / "cache"),
        "dev": None,
    }
    with pytest.raises(TrainingError) as caught:
        runs.run(texts, tmp_path / "out", corpus=corpus, **LONG)
    first, _, shown = (
        str(caught.value).partition("token ")[2].partition(" of shard 0: ")
    )
    assert "unique" in shown
    assert place - 5 < int(first) <= place


def test_a_rate_that_is_far_too_high(texts: Path, tmp_path: Path) -> None:
    """The real thing: what was written before is whole, and nothing after it."""
    training: runs.Values = {
        "max_steps": 30,
        "eval_frequency": 1,
        "checkpoint_frequency": 1,
        "keep_checkpoints": 30,
        "optimizer": {"name": "adamw", "learn_rate": 1e30},
    }
    with pytest.raises(TrainingError, match="expected finite losses and gradients"):
        runs.run(texts, tmp_path, training=training)
    done = runs.checkpoints(tmp_path)
    assert done == list(range(1, len(done) + 1))
    steps = [line["step"] for line in runs.log(tmp_path, "train")]
    assert steps == done
    assert all(math.isfinite(loss) for loss in runs.losses(tmp_path))
    assert not (tmp_path / "model-last").exists()
    said: list[str] = []
    newest = checkpoints.load_newest(tmp_path / "checkpoints", said.append)
    assert newest is not None
    assert newest.step == done[-1]
    assert said == []


def test_nothing_is_written_after_it(
    texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even where a checkpoint and an evaluation are due."""
    spoil(monkeypatch, 7, [(0, 0)], math.nan)
    training = {"checkpoint_frequency": 4, "eval_frequency": 4}
    with pytest.raises(TrainingError):
        runs.run(texts, tmp_path, training=training)
    assert runs.checkpoints(tmp_path) == [4]
    assert [line["step"] for line in runs.log(tmp_path, "dev")] == [4]
    meta = (tmp_path / "model-best" / "pretraining.json").read_text(encoding="utf8")
    assert json.loads(meta)["step"] == 4
    monkeypatch.undo()
    runs.run(texts, tmp_path, training=training)
    assert [line["step"] for line in runs.log(tmp_path, "resume")] == [4]


def test_a_gradient_that_is_not_finite(
    texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where each loss is."""
    clip = loop.clip

    def patched(leaves: Any, bound: Any) -> torch.Tensor:
        leaves[0].grad[0] = math.inf
        return clip(leaves, bound)

    monkeypatch.setattr(loop, "clip", patched)
    with pytest.raises(TrainingError, match="the gradient alone") as caught:
        runs.run(texts, tmp_path)
    assert "step 1 (batch 0 of epoch 0)" in str(caught.value)
    assert not (tmp_path / "checkpoints").exists()


def test_a_perplexity_that_is_infinite(texts: Path, tmp_path: Path) -> None:
    """Bad, but no reason to end: the losses are finite."""
    training: runs.Values = {
        "max_steps": 4,
        "eval_frequency": 2,
        "checkpoint_frequency": 2,
        "optimizer": {"name": "adagrad", "learn_rate": 3e3, "grad_clip": None},
    }
    runs.run(texts, tmp_path, training=training)
    assert [line["perplexity"] for line in runs.log(tmp_path, "dev")] == [math.inf] * 2
    assert not any(line["best"] for line in runs.log(tmp_path, "dev"))
    assert runs.checkpoints(tmp_path) == [2, 4]
    runs.run(texts, tmp_path, training=training)
    assert (tmp_path / "model-last").is_dir()


# Full disks


def full(
    monkeypatch: pytest.MonkeyPatch, module: Any, name: str, *numbers: int
) -> None:
    """Have these calls of a function, counted from 1, find the disk full."""
    original, calls = getattr(module, name), 0

    def patched(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls in numbers:
            raise OSError(errno.ENOSPC, "No space left on device")
        return original(*arguments, **named)

    monkeypatch.setattr(module, name, patched)


@pytest.mark.parametrize("name", ["save_file", "write_json"])
def test_a_checkpoint_that_cannot_be_written(
    texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Those of the steps 4, 8 and 12: the second one."""
    whole = runs.run(texts, tmp_path / "whole", corpus={"dev": None})
    full(monkeypatch, checkpoints, name, 2)
    output = runs.run(texts, tmp_path / "out", corpus={"dev": None})
    (said,) = [text for text in runs.messages(output) if "checkpoint" in text]
    assert "No checkpoint at step 8" in said
    assert "No space left on device" in said
    assert "Training goes on" in said
    assert runs.checkpoints(output) == [4, 12]
    runs.assert_same(output, whole)


def test_a_restart_after_a_full_disk(
    texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = runs.run(texts, tmp_path / "whole", corpus={"dev": None})
    full(monkeypatch, checkpoints, "save_file", 2)
    runs.stop_at(texts, tmp_path / "out", 10, corpus={"dev": None})
    monkeypatch.undo()
    runs.run(texts, tmp_path / "out", corpus={"dev": None})
    assert [line["step"] for line in runs.log(tmp_path / "out", "resume")] == [4]
    runs.assert_same(tmp_path / "out", whole)


def test_the_last_checkpoint_cannot_be_written(
    texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run has then no end; with room on the disk it comes to it."""
    whole = runs.run(texts, tmp_path / "whole", corpus={"dev": None})
    full(monkeypatch, checkpoints, "save_file", 3)
    with pytest.raises(OSError, match="No space left on device"):
        runs.run(texts, tmp_path / "out", corpus={"dev": None})
    assert runs.checkpoints(tmp_path / "out") == [4, 8]
    monkeypatch.undo()
    runs.run(texts, tmp_path / "out", corpus={"dev": None})
    runs.assert_same(tmp_path / "out", whole)


def test_the_best_model_cannot_be_written(
    texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That of step 6; the one of step 12 can."""
    whole = runs.run(texts, tmp_path / "whole")
    assert [line["best"] for line in runs.log(whole, "dev")] == [True, True]
    full(monkeypatch, model_folder, "save_file", 1)
    output = runs.run(texts, tmp_path / "out")
    assert any("No model-best at step 6" in text for text in runs.messages(output))
    assert [line["best"] for line in runs.log(output, "dev")] == [False, True]
    for name in ("model-best", "model-last"):
        assert runs.weights(output / name) == runs.weights(whole / name)


def test_a_best_model_that_is_not_there_is_no_best(
    texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the steps 4, 8 and 12 the second is the best: the last one takes its place."""
    means = iter([50.0, 40.0, 45.0])

    def evaluate(*_: Any, **__: Any) -> Perplexities:
        mean = next(means)
        return Perplexities(mean, mean, mean, 0.0, 10)

    monkeypatch.setattr(loop, "evaluate", evaluate)
    full(monkeypatch, model_folder, "save_file", 2)
    output = runs.run(texts, tmp_path / "out", training={"eval_frequency": 4})
    assert any("No model-best at step 8" in text for text in runs.messages(output))
    log = runs.log(output, "dev")
    assert [line["best"] for line in log] == [True, False, True]
    meta = json.loads((output / "model-best" / "pretraining.json").read_text("utf8"))
    assert (meta["step"], meta["held_out"]["mean"]) == (12, 45.0)


def test_the_last_model_cannot_be_written(
    texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full(monkeypatch, model_folder, "save_file", 1)
    with pytest.raises(OSError, match="No space left on device"):
        runs.run(texts, tmp_path, corpus={"dev": None})
    assert runs.checkpoints(tmp_path) == [8, 12]
    monkeypatch.undo()
    runs.run(texts, tmp_path, corpus={"dev": None})
    assert runs.weights(tmp_path / "model-last")


def test_the_log_cannot_be_written(
    texts: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What it would say is shown."""
    full(monkeypatch, reporting, "_to_line", 5)
    loop.pretrain(runs.settings(texts, corpus={"dev": None}), tmp_path, show=True)
    assert "No space left on device" in capsys.readouterr().err
    steps = [line["step"] for line in runs.log(tmp_path, "train")]
    assert len(steps) == 11
    assert runs.checkpoints(tmp_path) == [8, 12]


def test_files_that_the_system_cuts_short(texts: Path, tmp_path: Path) -> None:
    """By the limit that a process may have: the writers' own errors."""
    pytest.importorskip("resource")
    whole = runs.run(texts, tmp_path / "whole")
    sizes = {path.name: path.stat().st_size for path in whole.rglob("*.safetensors")}
    limit = 50_000
    assert sizes.pop("state.safetensors") > limit > max(sizes.values())
    config = runs.write_config(tmp_path / "run.cfg", texts)
    program = (
        "import resource, runpy, sys\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
        "runpy.run_module('spacy_elmo.pretraining', run_name='__main__')\n"
    )
    output = tmp_path / "out"
    status, shown = runs.finish(runs.start("-c", program, config, output, "--quiet"))
    assert status == 1, shown
    assert "Traceback" not in shown
    assert "state.safetensors" in shown
    for step in (4, 6, 8):
        said = [text for text in runs.messages(output) if f"at step {step}:" in text]
        assert len(said) == 1
    assert list((output / "checkpoints").iterdir()) == []
    assert runs.records(output) == runs.records(whole)
    runs.run(texts, output)
    runs.assert_same(output, whole)
