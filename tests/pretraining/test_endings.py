"""pretrain(): when a run ends, and which model is its best."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import runs

from spacy_elmo import BiLM, load_bilm
from spacy_elmo.pretraining import loop
from spacy_elmo.pretraining.evaluation import Perplexities


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runs.make_texts(tmp_path_factory.mktemp("texts"))


@pytest.fixture(scope="module")
def plain(texts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with nothing set."""
    return runs.run(texts, tmp_path_factory.mktemp("plain"))


def evaluations(monkeypatch: pytest.MonkeyPatch, found: list[float]) -> None:
    """Have evaluations find these perplexities, one after another."""
    left = iter(found)

    def patched(*arguments: Any, **named: Any) -> Perplexities:
        perplexity = next(left)
        return Perplexities(perplexity, perplexity, perplexity, 0.0, 100)

    monkeypatch.setattr(loop, "evaluate", patched)


def perplexity_of(name: str, output: Path) -> float:
    """What the folder says of itself."""
    meta = json.loads((output / name / "pretraining.json").read_text(encoding="utf8"))
    return float(meta["held_out"]["mean"])


# When it ends


@pytest.mark.parametrize(
    ("max_steps", "max_epochs", "expected"), [(0, 2, 20), (15, 2, 15), (15, 1, 10)]
)
def test_ends(
    texts: Path, tmp_path: Path, max_steps: int, max_epochs: int, expected: int
) -> None:
    training = {"max_steps": max_steps, "max_epochs": max_epochs}
    output = runs.run(texts, tmp_path, training=training)
    assert runs.log(output, "train")[-1]["step"] == expected
    assert runs.log(output, "dev")[-1]["step"] == expected
    assert runs.checkpoints(output)[-1] == expected


def test_patience(texts: Path, tmp_path: Path) -> None:
    """Nothing is learned: the first evaluation stays the best."""
    training: runs.Values = {
        "max_steps": 30,
        "eval_frequency": 2,
        "checkpoint_frequency": 30,
        "patience": 5,
        "optimizer": {"learn_rate": 1e-20},
    }
    output = runs.run(texts, tmp_path, training=training)
    assert [line["step"] for line in runs.log(output, "dev")] == [2, 4, 6, 8]
    assert [line["best"] for line in runs.log(output, "dev")] == [True, *[False] * 3]
    assert runs.log(output, "train")[-1]["step"] == 8
    assert runs.checkpoints(output) == [2, 8]
    runs.run(texts, tmp_path, training=training)
    assert "Training ended at step 8 already." in runs.messages(output)
    assert runs.log(output, "train")[-1]["step"] == 8


def test_patience_waits_from_the_best_one(
    texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluations(monkeypatch, [9.0, 8.0, 8.5, 7.0, 7.5, 7.5, 3.0])
    training = {"max_steps": 30, "eval_frequency": 2, "patience": 4}
    output = runs.run(texts, tmp_path, training=training)
    assert [line["step"] for line in runs.log(output, "dev")] == [2, 4, 6, 8, 10, 12]
    assert runs.log(output, "train")[-1]["step"] == 12


def test_no_held_out_text(texts: Path, plain: Path, tmp_path: Path) -> None:
    output = runs.run(texts, tmp_path, corpus={"dev": None})
    assert runs.losses(output) == runs.losses(plain)
    assert runs.log(output, "dev") == []
    assert not (output / "model-best").exists()
    assert runs.weights(output / "model-last") == runs.weights(plain / "model-last")
    assert (output / "curves.png").exists()
    meta = json.loads(
        (output / "model-last" / "pretraining.json").read_text(encoding="utf8")
    )
    assert meta["held_out"] is None


def test_only_some_of_the_held_out_text(
    texts: Path, plain: Path, tmp_path: Path
) -> None:
    output = runs.run(texts, tmp_path, training={"n_evaluated": 60})
    dev = runs.log(output, "dev")
    assert all(40 < line["n_words"] <= 60 for line in dev)
    assert runs.losses(output) == runs.losses(plain)
    lines = (texts / "dev.txt").read_text(encoding="utf8").splitlines(keepends=True)
    words = np.cumsum([len(line.split()) for line in lines]).tolist()
    first = texts / "first.txt"
    first.write_text(
        "".join(lines[: words.index(dev[-1]["n_words"]) + 1]), encoding="utf8"
    )
    found = runs.perplexities(output / "model-last", first)
    assert dev[-1]["perplexity"] == pytest.approx(found.mean, rel=1e-5)


# The best one


@pytest.mark.parametrize(("keep", "expected"), [(1, [4, 12]), (2, [4, 10, 12])])
def test_the_best_is_exported_and_its_checkpoint_kept(
    texts: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    keep: int,
    expected: list[int],
) -> None:
    evaluations(monkeypatch, [9.0, 6.0, 8.0, math.nan, 6.0, 7.0])
    training = {
        "eval_frequency": 2,
        "checkpoint_frequency": 2,
        "keep_checkpoints": keep,
    }
    output = runs.run(texts, tmp_path, training=training)
    assert runs.checkpoints(output) == expected
    best = [line["step"] for line in runs.log(output, "dev") if line["best"]]
    assert best == [2, 4]
    assert perplexity_of("model-best", output) == 6.0
    assert perplexity_of("model-last", output) == 7.0
    assert_weights_of(output, "model-best", 4)
    assert_weights_of(output, "model-last", 12)


def assert_weights_of(output: Path, name: str, step: int) -> None:
    bilm: BiLM = load_bilm(output / name)
    state = runs.tensors(output, step)
    for key, tensor in bilm.state_dict().items():
        assert torch.equal(tensor, state[f"model.bilm.{key}"]), key
