"""pretrain(): what a run learns, and how."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import runs

from spacy_elmo.pretraining import loop
from spacy_elmo.pretraining.output import log as records

FULL = {"type": "full"}
ADAPTIVE = {"type": "adaptive", "cutoffs": [6, 12], "div_value": 2.0}


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runs.make_texts(tmp_path_factory.mktemp("texts"))


@pytest.fixture(scope="module")
def plain(texts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with nothing set."""
    return runs.run(texts, tmp_path_factory.mktemp("plain"))


@pytest.fixture(autouse=True)
def _no_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    """They take longer than the steps."""
    monkeypatch.setattr(records, "plot_curves", lambda log, target: None)


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


@pytest.mark.parametrize("softmax", [{}, FULL, ADAPTIVE], ids=str)
@pytest.mark.parametrize(("optimizer", "rate"), [("adamw", 0.02), ("adagrad", 0.5)])
def test_training_learns(
    texts: Path, tmp_path: Path, softmax: runs.Values, optimizer: str, rate: float
) -> None:
    def perplexity(name: str, rate: float, max_steps: int) -> float:
        chosen = {"name": optimizer, "learn_rate": rate}
        training = {
            "max_steps": max_steps,
            "eval_frequency": 0,
            "optimizer": chosen,
        }
        runs.run(texts, tmp_path / name, softmax=softmax, training=training)
        return float(runs.log(tmp_path / name, "dev")[-1]["perplexity"])

    untrained = perplexity("untrained", 1e-20, 1)
    trained = perplexity("trained", rate, 60)
    losses = runs.losses(tmp_path / "trained")
    assert mean(losses[-10:]) < mean(losses[:10]) - 0.2
    assert trained < 0.6 * untrained
    # No better than who knows how the text is made.
    choices = math.log(3) + math.log(2) + math.log(3)
    assert trained > math.exp(choices / 8)


def test_both_optimizers_do_different_things(texts: Path, tmp_path: Path) -> None:
    training = {"optimizer": {"name": "adagrad", "learn_rate": 0.01}}
    runs.run(texts, tmp_path / "adagrad", training=training)
    runs.run(texts, tmp_path / "adamw")
    losses = [runs.losses(tmp_path / name) for name in ("adagrad", "adamw")]
    assert losses[0][0] == losses[1][0]
    assert losses[0][1] != losses[1][1]


def test_a_clip_holds_the_weights(texts: Path, tmp_path: Path) -> None:
    """Of Adagrad, whose steps are as long as the gradient."""
    kept = {}
    for clip in (None, 1e-6):
        optimizer = {"name": "adagrad", "learn_rate": 0.1, "grad_clip": clip}
        output = tmp_path / str(clip)
        training = {"max_steps": 4, "seed": 3, "optimizer": optimizer}
        runs.run(texts, output, training=training, corpus={"dev": None})
        state = runs.tensors(output, 4)
        kept[clip] = state["model.bilm.forward_layers.0.bias"]
        # It is told as it was before.
        assert all(line["grad_norm"] > 0.1 for line in runs.log(output, "train"))
    start = torch.zeros_like(kept[None])
    start[kept[None] > 0.5] = 1.0
    assert (kept[None] - start).abs().max() > 1e-3
    assert (kept[1e-6] - start).abs().max() < 1e-5


@pytest.mark.parametrize("softmax", [{}, FULL], ids=str)
@pytest.mark.parametrize("n_parts", [2, 4])
def test_accumulated_gradients_are_those_of_one_batch(
    texts: Path, tmp_path: Path, softmax: runs.Values, n_parts: int
) -> None:
    for name, parts in (("whole", 1), ("parts", n_parts)):
        training = {"accumulate_gradient": parts}
        runs.run(texts, tmp_path / name, softmax=softmax, training=training)
    runs.assert_close(tmp_path / "parts", tmp_path / "whole", rel=1e-4)


def test_bfloat16(texts: Path, plain: Path, tmp_path: Path) -> None:
    output = runs.run(texts, tmp_path, training={"precision": "bfloat16"})
    assert runs.losses(output) == pytest.approx(runs.losses(plain), rel=2e-2)
    assert runs.losses(output) != runs.losses(plain)
    state = runs.tensors(output, 12)
    assert {tensor.dtype for tensor in state.values()} == {torch.float32}


def test_dropout_is_of_training_alone(texts: Path, plain: Path, tmp_path: Path) -> None:
    output = runs.run(texts, tmp_path, training={"dropout": 0.5})
    assert runs.losses(output)[0] != runs.losses(plain)[0]
    dev = runs.log(output, "dev")[-1]
    found = runs.perplexities(output / "model-last", texts / "dev.txt")
    assert dev["perplexity"] == pytest.approx(found.mean, rel=1e-6)


@pytest.mark.parametrize("name", ["constant", "linear", "cosine"])
def test_schedules(texts: Path, tmp_path: Path, name: str) -> None:
    final = 0.0 if name == "constant" else 0.1
    schedule = {"name": name, "warmup_steps": 4, "final_factor": final}
    training = {"schedule": schedule, "optimizer": {"learn_rate": 0.02}}
    output = runs.run(texts, tmp_path, training=training)
    rates = [line["learn_rate"] for line in runs.log(output, "train")]
    assert rates[:5] == pytest.approx([0.005, 0.01, 0.015, 0.02, 0.02])
    done = [n / 8 for n in range(1, 8)]
    shares = {
        "constant": [1.0] * 7,
        "linear": [1 - part for part in done],
        "cosine": [(1 + math.cos(math.pi * part)) / 2 for part in done],
    }
    expected = [0.02 * (final + (1 - final) * share) for share in shares[name]]
    assert rates[5:] == pytest.approx(expected)


def test_the_state_goes_on_until_the_epoch_ends(
    texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next one begins at another place of the text."""
    compute, is_zero, ends = loop.compute_gradient, [], [torch.zeros(0)]

    def patched(*arguments: Any, **named: Any) -> Any:
        state = arguments[2]
        is_zero.append(not any(layer.cell.any() for layer in state))
        assert is_zero[-1] or torch.equal(state[-1].cell, ends[-1])
        result = compute(*arguments, **named)
        ends.append(result[3][-1].cell)
        return result

    monkeypatch.setattr(loop, "compute_gradient", patched)
    runs.run(texts, tmp_path)
    assert is_zero == [True, *[False] * 9, True, False]


def test_rare_words_that_do_not_come_up(
    texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their cluster takes its step all the same, as where another process has some."""
    compute, is_zero = loop.compute_gradient, []

    def patched(*arguments: Any, **named: Any) -> Any:
        result = compute(*arguments, **named)
        tail = arguments[0].softmax.softmax.tail[1]
        is_zero.append(not any(weight.grad.any() for weight in tail.parameters()))
        return result

    monkeypatch.setattr(loop, "compute_gradient", patched)
    runs.run(texts, tmp_path, softmax={**ADAPTIVE, "cutoffs": [6, 17]})
    assert set(is_zero) == {True, False}
