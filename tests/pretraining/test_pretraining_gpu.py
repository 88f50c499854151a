"""Pretraining on an NVIDIA GPU. Run with `pytest -m gpu`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List

import pytest
import torch
from helpers import runs
from safetensors.torch import load_file

from spacy_elmo.pretraining.output.log import read_log
from spacy_elmo.pretraining.pretrain import pretrain
from spacy_elmo.pretraining.settings import PretrainSettings

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        not torch.cuda.is_available(), reason="PyTorch sees no NVIDIA GPU"
    ),
]


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    lines = [
        f"the {a} {b} sees {n} {a}s ." for n in range(40) for a in "xyz" for b in "uvw"
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf8")
    return path


def settings(text: Path, **training: Any) -> PretrainSettings:
    values: Dict[str, Any] = {
        "corpus": {"train": str(text), "dev": str(text)},
        "bilm": {
            "dim": 64,
            "projection_dim": 32,
            "filters": [[1, 8], [2, 8], [3, 16]],
            "n_highway": 1,
        },
        "softmax": {"n_samples": 20},
        "training": {
            "max_steps": 30,
            "batch_size": 8,
            "unroll_steps": 6,
            "dropout": 0.0,
            "eval_frequency": 10,
            "checkpoint_frequency": 10,
            "log_frequency": 1,
            "optimizer": {"name": "adamw", "learn_rate": 0.003},
            **training,
        },
    }
    return PretrainSettings.from_dict(values)


def losses(output: Path) -> List[float]:
    log = read_log(output / "log.jsonl")
    return [entry["loss"] for entry in log if entry["type"] == "train"]


def test_a_gpu_computes_what_the_cpu_computes(text: Path, tmp_path: Path) -> None:
    for name, gpu_id in (("cpu", -1), ("gpu", 0)):
        pretrain(settings(text), tmp_path / name, gpu_id=gpu_id, show=False)
    assert losses(tmp_path / "gpu") == pytest.approx(losses(tmp_path / "cpu"), abs=1e-3)


def test_a_gpu_learns_from_a_teacher_as_the_cpu_does(
    text: Path, tmp_path: Path
) -> None:
    """The layers come out of captured steps."""
    chosen = settings(text).to_dict()
    chosen["initialize"]["teacher"] = ["bundled"]
    distances = []
    for name, gpu_id in (("cpu", -1), ("gpu", 0)):
        pretrain(
            PretrainSettings.from_dict(chosen),
            tmp_path / name,
            gpu_id=gpu_id,
            show=False,
        )
        log = read_log(tmp_path / name / "log.jsonl")
        distances.append([e["teacher_loss"] for e in log if e["type"] == "train"])
    # The teacher reads in bfloat16.
    assert distances[1] == pytest.approx(distances[0], abs=1e-2)


@pytest.mark.parametrize("softmax", ["sampled", "full", "adaptive"])
def test_captured_steps_equal_plain_ones(
    text: Path, tmp_path: Path, softmax: str
) -> None:
    for name, cuda_graph in (("plain", False), ("captured", True)):
        found = settings(text, cuda_graph=cuda_graph).to_dict()
        found["softmax"] = {
            "type": softmax,
            "n_samples": 20,
            "cutoffs": [10] if softmax == "adaptive" else [],
        }
        run = PretrainSettings.from_dict(found)
        pretrain(run, tmp_path / name, gpu_id=0, show=False)
        messages = [
            entry["message"]
            for entry in read_log(tmp_path / name / "log.jsonl")
            if entry["type"] == "message"
        ]
        assert not any("not captured" in message for message in messages)
    expected = losses(tmp_path / "plain")
    assert losses(tmp_path / "captured") == pytest.approx(expected, abs=1e-3)


def test_captured_steps_draw_new_dropout_masks(text: Path, tmp_path: Path) -> None:
    pretrain(settings(text, dropout=0.3), tmp_path / "a", gpu_id=0, show=False)
    pretrain(settings(text, dropout=0.3), tmp_path / "b", gpu_id=0, show=False)
    pretrain(settings(text, dropout=0.0), tmp_path / "c", gpu_id=0, show=False)
    assert losses(tmp_path / "a") == pytest.approx(losses(tmp_path / "b"), abs=1e-3)
    assert losses(tmp_path / "a") != pytest.approx(losses(tmp_path / "c"), abs=1e-3)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_training_learns_and_resumes(
    text: Path, tmp_path: Path, precision: str
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    run = settings(text, precision=precision, dropout=0.1)
    pretrain(run, whole, gpu_id=0, show=False)
    assert losses(whole)[-1] < 0.8 * losses(whole)[0]
    for max_steps in (10, 30):
        run = settings(text, precision=precision, dropout=0.1, max_steps=max_steps)
        pretrain(run, parts, gpu_id=0, show=False)
    expected = load_file(whole / "model-last" / "model.safetensors")
    found = load_file(parts / "model-last" / "model.safetensors")
    for name, tensor in expected.items():
        # The order of additions on a GPU is not fixed.
        torch.testing.assert_close(found[name], tensor, rtol=1e-2, atol=1e-2)


def test_an_exploded_gradient(text: Path, tmp_path: Path) -> None:
    """It counts as zero, and the state starts over, without waiting for the GPU."""
    run = settings(text, max_steps=110, eval_frequency=0, checkpoint_frequency=110)
    for name, factor in (("zero", 0.0), ("exploded", 1e6)):
        faults = [runs.explode(range(105, 107), factor)]
        pretrain(run, tmp_path / name, gpu_id=0, show=False, callbacks=faults)
    log = read_log(tmp_path / "exploded" / "log.jsonl")
    assert sum(e["ignored_steps"] for e in log if e["type"] == "train") == 2
    expected = losses(tmp_path / "zero")
    assert losses(tmp_path / "exploded") == pytest.approx(expected, abs=1e-2)


def test_a_missing_gpu(text: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="gpu_id: expected one of"):
        pretrain(settings(text), tmp_path, gpu_id=99, show=False)
