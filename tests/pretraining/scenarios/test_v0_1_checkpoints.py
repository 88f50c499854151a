"""Runs that version 0.1 started are finished by this version."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from helpers import runs
from safetensors.torch import load_file

STORED = Path(__file__).parents[2] / "data" / "v0_1" / "pretraining"
"""A folder for each run: its config without [corpus], "interrupted" with a checkpoint
of version 0.1, and "expected" with the weights and the log of an undisturbed run."""


@pytest.mark.parametrize(
    ("name", "step"), [("sampled-adamw", 10), ("adaptive-adagrad", 8)]
)
def test_a_run_of_version_0_1_is_finished(name: str, step: int, tmp_path: Path) -> None:
    output, expected = tmp_path / "out", STORED / name / "expected"
    shutil.copytree(STORED / name / "interrupted", output)
    corpus = {
        "train": str(STORED / "train.txt"),
        "dev": str(STORED / "dev.txt"),
        "cache": str(tmp_path / "cache"),
    }
    config = json.loads((STORED / name / "config.json").read_text(encoding="utf8"))
    runs.run(STORED, output, corpus=corpus, **config)
    assert [line["step"] for line in runs.log(output, "resume")] == [step]
    runs.assert_close(output, expected, rel=1e-5)
    for file in ("model.safetensors", "softmax.safetensors"):
        weights = load_file(output / "model-last" / file)
        for key, tensor in load_file(expected / file).items():
            # Not bit for bit: processors differ in their order of additions.
            torch.testing.assert_close(weights[key], tensor, rtol=1e-4, atol=1e-6)
