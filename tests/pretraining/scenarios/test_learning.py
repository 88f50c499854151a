"""Training reduces the loss, and its settings have the documented effect."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Callable

import pytest
import torch
from helpers import runs

from spacy_elmo.pretraining.step import StepOutput
from spacy_elmo.pretraining.trainer import Trainer

FULL = {"type": "full"}
ADAPTIVE = {"type": "adaptive", "cutoffs": [6, 12], "div_value": 2.0}


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


@pytest.mark.parametrize(
    ("softmax", "optimizer", "rate"),
    [({}, "adamw", 0.02), (FULL, "adagrad", 0.5), (ADAPTIVE, "adamw", 0.02)],
    ids=str,
)
def test_training_learns(
    texts: Path, tmp_path: Path, softmax: runs.Values, optimizer: str, rate: float
) -> None:
    def perplexity(name: str, rate: float, max_steps: int) -> float:
        training = {
            "max_steps": max_steps,
            "eval_frequency": 0,
            "checkpoint_frequency": 100,
            "optimizer": {"name": optimizer, "learn_rate": rate},
        }
        runs.run(texts, tmp_path / name, softmax=softmax, training=training)
        return float(runs.log(tmp_path / name, "dev")[-1]["perplexity"])

    untrained = perplexity("untrained", 1e-20, 1)
    trained = perplexity("trained", rate, 60)
    losses = runs.losses(tmp_path / "trained")
    assert mean(losses[-10:]) < mean(losses[:10]) - 0.2
    assert trained < 0.6 * untrained
    # No better than the process that generates the text.
    choices = math.log(3) + math.log(2) + math.log(3)
    assert trained > math.exp(choices / 8)


@pytest.mark.parametrize(("softmax", "n_parts"), [({}, 2), ({}, 4), (FULL, 2)], ids=str)
def test_accumulated_gradients_equal_those_of_a_whole_batch(
    texts: Path,
    reference: Callable[..., Path],
    tmp_path: Path,
    softmax: runs.Values,
    n_parts: int,
) -> None:
    training = {"accumulate_gradient": n_parts}
    parts = runs.run(texts, tmp_path, softmax=softmax, training=training)
    runs.assert_close(parts, reference(softmax=softmax), rel=1e-4)


def test_gradient_clipping(texts: Path, tmp_path: Path) -> None:
    """With Adagrad, whose updates are as long as the gradient."""
    biases = {}
    for clip in (None, 1e-6):
        optimizer = {"name": "adagrad", "learn_rate": 0.1, "grad_clip": clip}
        output = tmp_path / str(clip)
        training = {"max_steps": 4, "seed": 3, "optimizer": optimizer}
        runs.run(texts, output, training=training, corpus={"dev": None})
        state = runs.tensors(output, 4)
        biases[clip] = state["model.bilm.forward_layers.0.bias"]
        # The logged norm is that before clipping.
        assert all(line["grad_norm"] > 0.1 for line in runs.log(output, "train"))
    start = torch.zeros_like(biases[None])
    start[biases[None] > 0.5] = 1.0
    assert (biases[None] - start).abs().max() > 1e-3
    assert (biases[1e-6] - start).abs().max() < 1e-5


def test_bfloat16(texts: Path, plain: Path, tmp_path: Path) -> None:
    output = runs.run(texts, tmp_path, training={"precision": "bfloat16"})
    assert runs.losses(output) == pytest.approx(runs.losses(plain), rel=2e-2)
    assert runs.losses(output) != runs.losses(plain)
    state = runs.tensors(output, 12)
    dtypes = {tensor.dtype for tensor in state.values() if tensor.is_floating_point()}
    assert dtypes == {torch.float32}


def test_dropout_applies_to_training_only(
    texts: Path, plain: Path, tmp_path: Path
) -> None:
    output = runs.run(texts, tmp_path, training={"dropout": 0.5})
    assert runs.losses(output)[0] != runs.losses(plain)[0]
    evaluation = runs.log(output, "dev")[-1]
    expected = runs.perplexities(output / "model-last", texts / "dev.txt")
    assert evaluation["perplexity"] == pytest.approx(expected.mean, rel=1e-6)


def test_the_schedule_sets_the_learning_rate(texts: Path, tmp_path: Path) -> None:
    schedule = {"name": "cosine", "warmup_steps": 4, "final_factor": 0.1}
    training = {"schedule": schedule, "optimizer": {"learn_rate": 0.02}}
    output = runs.run(texts, tmp_path, training=training)
    rates = [line["learn_rate"] for line in runs.log(output, "train")]
    assert rates[:5] == pytest.approx([0.005, 0.01, 0.015, 0.02, 0.02])
    shares = [(1 + math.cos(math.pi * n / 8)) / 2 for n in range(1, 8)]
    expected = [0.02 * (0.1 + 0.9 * share) for share in shares]
    assert rates[5:] == pytest.approx(expected)


def test_lstm_state_is_carried_until_the_epoch_ends(
    texts: Path, tmp_path: Path
) -> None:
    """The next epoch starts at another position of the text, with an empty state."""
    is_zero: list[bool] = []
    carried = [torch.zeros(0)]

    def before_step(trainer: Trainer) -> None:
        is_zero.append(not any(layer.cell.any() for layer in trainer.state))
        assert is_zero[-1] or torch.equal(trainer.state[-1].cell, carried[-1])

    def after_backward(trainer: Trainer, output: StepOutput) -> None:
        carried.append(output.state[-1].cell)

    callbacks = [
        runs.on("before_step", before_step),
        runs.on("after_backward", after_backward),
    ]
    runs.run(texts, tmp_path, callbacks=callbacks)
    assert is_zero == [True, *[False] * 9, True, False]


def test_a_cluster_without_targets_has_a_zero_gradient(
    texts: Path, tmp_path: Path
) -> None:
    """The optimizer updates it nonetheless, as if another process had such words."""
    is_zero: list[bool] = []

    def after_backward(trainer: Trainer, output: StepOutput) -> None:
        softmax: Any = trainer.model.softmax
        tail = softmax.softmax.tail[1]
        is_zero.append(not any(weight.grad.any() for weight in tail.parameters()))

    callbacks = [runs.on("after_backward", after_backward)]
    softmax = {**ADAPTIVE, "cutoffs": [6, 17]}
    runs.run(texts, tmp_path, callbacks=callbacks, softmax=softmax)
    assert set(is_zero) == {True, False}
