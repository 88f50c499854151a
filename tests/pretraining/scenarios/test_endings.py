"""When a run ends, and which model is its best."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from helpers import runs

from spacy_elmo import BiLM, load_bilm


def held_out_perplexity(model: Path) -> float:
    """As stored in a model folder."""
    meta = json.loads((model / "pretraining.json").read_text(encoding="utf8"))
    return float(meta["held_out"]["mean"])


# When it ends


@pytest.mark.parametrize(
    ("max_steps", "max_epochs", "expected"), [(0, 2, 20), (15, 2, 15), (15, 1, 10)]
)
def test_the_first_bound_ends_a_run(
    texts: Path, tmp_path: Path, max_steps: int, max_epochs: int, expected: int
) -> None:
    training = {"max_steps": max_steps, "max_epochs": max_epochs}
    output = runs.run(texts, tmp_path, training=training)
    assert runs.log(output, "train")[-1]["step"] == expected
    assert runs.log(output, "dev")[-1]["step"] == expected
    assert runs.checkpoints(output)[-1] == expected


def test_patience(texts: Path, tmp_path: Path) -> None:
    """Nothing is learned, so the first evaluation remains the best."""
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
    assert "Training already ended at step 8." in runs.messages(output)
    assert runs.log(output, "train")[-1]["step"] == 8


def test_a_run_without_held_out_text(texts: Path, plain: Path, tmp_path: Path) -> None:
    output = runs.run(texts, tmp_path, corpus={"dev": None})
    assert runs.losses(output) == runs.losses(plain)
    assert runs.log(output, "dev") == []
    assert not (output / "model-best").exists()
    assert runs.weights(output / "model-last") == runs.weights(plain / "model-last")
    meta = (output / "model-last" / "pretraining.json").read_text(encoding="utf8")
    assert json.loads(meta)["held_out"] is None


def test_evaluation_on_part_of_the_held_out_text(
    texts: Path, plain: Path, tmp_path: Path
) -> None:
    output = runs.run(texts, tmp_path, training={"n_evaluated": 60})
    assert all(40 < line["n_words"] <= 60 for line in runs.log(output, "dev"))
    assert runs.losses(output) == runs.losses(plain)


# The best model


@pytest.mark.parametrize(("keep", "expected"), [(1, [4, 12]), (2, [4, 10, 12])])
def test_the_best_model_is_exported_and_its_checkpoint_kept(
    texts: Path, tmp_path: Path, keep: int, expected: list[int]
) -> None:
    training = {
        "eval_frequency": 2,
        "checkpoint_frequency": 2,
        "keep_checkpoints": keep,
    }
    trainer = runs.scripted(9.0, 6.0, 8.0, math.nan, 6.0, 7.0)
    output = runs.run(texts, tmp_path, trainer=trainer, training=training)
    assert runs.checkpoints(output) == expected
    best = [line["step"] for line in runs.log(output, "dev") if line["best"]]
    assert best == [2, 4]
    for name, step, perplexity in (("model-best", 4, 6.0), ("model-last", 12, 7.0)):
        assert held_out_perplexity(output / name) == perplexity
        bilm: BiLM = load_bilm(output / name)
        state = runs.tensors(output, step)
        for key, tensor in bilm.state_dict().items():
            assert torch.equal(tensor, state[f"model.bilm.{key}"]), key
