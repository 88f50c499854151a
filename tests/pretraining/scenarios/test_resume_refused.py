"""A run is not resumed with other settings or texts, unless they do not affect the
steps that are done."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from helpers import runs
from helpers.corpora import contents

from spacy_elmo import load_bilm, save_bilm
from spacy_elmo.pretraining.step import TrainingError

NO_DEV: runs.Values = {"corpus": {"dev": None}}


@pytest.fixture(scope="module")
def interrupted(texts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that broke off after 9 of 12 steps, with a checkpoint at step 8."""
    output = tmp_path_factory.mktemp("interrupted")
    runs.stop_at(texts, output, 9)
    return output


@pytest.fixture
def stopped(interrupted: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may resume."""
    return Path(shutil.copytree(interrupted, tmp_path / "out"))


def assert_refused(
    texts: Path, output: Path, changes: list[str], **sections: Any
) -> None:
    """Nothing is written, and the message lists exactly these changes."""
    before = contents(output)
    with pytest.raises(TrainingError) as caught:
        runs.run(texts, output, **sections)
    first, *lines, last = str(caught.value).splitlines()
    assert "at step 8" in first
    assert "expected the settings and texts" in first
    assert "found changes" in first
    assert [line.strip() for line in lines] == changes
    assert "name another output folder" in last
    after = contents(output)
    for name in {*before, *after}:
        if not name.startswith("corpus/"):
            assert after[name] == before[name], name


def test_settings_that_affect_training(texts: Path, stopped: Path) -> None:
    assert_refused(
        texts,
        stopped,
        [
            "bilm.dim: 16 -> 24",
            "softmax.n_samples: 10 -> 9",
            "training.seed: 0 -> 7",
            "training.dropout: 0.0 -> 0.1",
            "training.optimizer.learn_rate: 0.01 -> 0.02",
        ],
        bilm={"dim": 24},
        softmax={"n_samples": 9},
        training={"seed": 7, "dropout": 0.1, "optimizer": {"learn_rate": 0.02}},
    )
    # With the original settings, it resumes.
    runs.run(texts, stopped)
    assert runs.log(stopped, "train")[-1]["step"] == 12


def test_another_text(texts: Path, stopped: Path, tmp_path: Path) -> None:
    """With the same words, so that the vocabulary is unchanged."""
    *lines, last = (texts / "train.txt").read_text(encoding="utf8").splitlines()
    lines.append(" ".join(reversed(last.split())))
    (tmp_path / "other.txt").write_text("\n".join(lines) + "\n", encoding="utf8")
    with pytest.raises(TrainingError) as caught:
        runs.run(texts, stopped, corpus={"train": str(tmp_path / "other.txt")})
    assert "corpus.train: different contents (" in str(caught.value)
    assert "vocabulary" not in str(caught.value)


def test_another_vocabulary(texts: Path, stopped: Path, tmp_path: Path) -> None:
    """A vocabulary file, for the same text."""
    lines = (texts / "train.txt").read_text(encoding="utf8").split()
    ready = tmp_path / "vocabulary.txt"
    words = ["<S>", "</S>", "<UNK>", *sorted(set(lines))]
    ready.write_text("".join(f"{word}\t9\n" for word in words), encoding="utf8")
    with pytest.raises(TrainingError) as caught:
        runs.run(texts, stopped, vocabulary={"path": str(ready)})
    assert "vocabulary: different contents (" in str(caught.value)
    assert "corpus.train" not in str(caught.value)


def test_other_initial_weights(texts: Path, tmp_path: Path) -> None:
    """At the same path."""
    start = tmp_path / "start"
    chosen: runs.Values = {"bilm": None, "initialize": {"weights": str(start)}}
    bilm = load_bilm(runs.run(texts, tmp_path / "first", **NO_DEV) / "model-last")
    save_bilm(bilm, start)
    runs.stop_at(texts, tmp_path / "out", 9, **chosen)
    bilm.forward_layers[0].bias.data += 1
    save_bilm(bilm, start)
    with pytest.raises(TrainingError, match=r"initialize\.weights: different contents"):
        runs.run(texts, tmp_path / "out", **chosen)


def test_the_same_text_elsewhere(texts: Path, stopped: Path, tmp_path: Path) -> None:
    """Texts and prepared shards are compared by their contents, not by their path."""
    folder = tmp_path / "moved"
    runs.make_texts(folder)
    runs.stop_at(folder, stopped, 10)
    shards = [path.parent for path in (folder / "cache").glob("*/meta.json")]
    sizes = {path: (path / "counts.npy").stat().st_size for path in shards}
    assert len(sizes) == 2
    train, dev = sorted(shards, key=lambda path: "dev.txt" in _meta(path))
    corpus = {"train": str(train), "dev": str(dev)}
    runs.run(texts, stopped, corpus=corpus)
    assert [line["step"] for line in runs.log(stopped, "resume")] == [8, 8]
    assert runs.log(stopped, "train")[-1]["step"] == 12


def _meta(shards: Path) -> str:
    return (shards / "meta.json").read_text(encoding="utf8")


HARMLESS: list[runs.Values] = [
    {"training": {"log_frequency": 3}},
    {"training": {"keep_checkpoints": 5}},
    {"training": {"checkpoint_frequency": 1}},
    {"training": {"eval_frequency": 5}},
    {"training": {"n_evaluated": 40}},
    {"training": {"patience": 1000}},
    {"training": {"max_steps": 11}},
    {"training": {"max_steps": 13}},
    {"training": {"max_steps": 0, "max_epochs": 2}},
    {"training": {"schedule": {"name": "warmup_stable_decay", "decay_steps": 2}}},
    {"training": {"cuda_graph": False}},
    {"corpus": {"n_process": 2}},
    {"export": {"hdf5": True}},
]


@pytest.mark.parametrize("sections", HARMLESS, ids=str)
def test_settings_that_may_change(
    texts: Path, stopped: Path, tmp_path: Path, sections: runs.Values
) -> None:
    """The run continues as if it had had these settings from the beginning."""
    whole = runs.run(texts, tmp_path / "whole", **sections)
    runs.run(texts, stopped, **sections)
    step = runs.checkpoints(whole)[-1]
    assert runs.checkpoints(stopped)[-1] == step
    found, expected = runs.tensors(stopped, step), runs.tensors(whole, step)
    for name, tensor in expected.items():
        assert found[name].equal(tensor), name


def test_the_end_of_a_decaying_learning_rate(texts: Path, tmp_path: Path) -> None:
    training: runs.Values = {"max_steps": 12, "schedule": {"name": "linear"}}
    runs.stop_at(texts, tmp_path, 9, training=training)
    changed = {**training, "max_steps": 20}
    change = "training.max_steps: 12 -> 20"
    assert_refused(texts, tmp_path, [change], training=changed)


def test_another_held_out_text(texts: Path, stopped: Path, tmp_path: Path) -> None:
    """It does not affect training, and the best evaluation so far is forgotten."""
    assert [line["best"] for line in runs.log(stopped, "dev")] == [True]
    dev = runs.write_text(tmp_path / "dev.txt", 5, seed=2)
    runs.run(texts, stopped, corpus={"dev": str(dev)}, training={"eval_frequency": 10})
    lines = runs.log(stopped, "dev")
    assert [line["step"] for line in lines] == [6, 10, 12]
    assert lines[1]["best"]
    assert lines[1]["n_words"] == len(dev.read_text(encoding="utf8").split())


def test_removing_the_held_out_text(texts: Path, stopped: Path) -> None:
    runs.run(texts, stopped, **NO_DEV)
    assert [line["step"] for line in runs.log(stopped, "dev")] == [6]
