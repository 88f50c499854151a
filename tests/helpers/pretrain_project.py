"""The project pretrain, and settings for short runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import srsly

ROOT = Path(__file__).parents[2]
PROJECT = ROOT / "projects" / "pretrain"
DESCRIPTION: dict[str, Any] = srsly.read_yaml(PROJECT / "project.yml")
COMMANDS: dict[str, dict[str, Any]] = {
    command["name"]: command for command in DESCRIPTION["commands"]
}
SIZES = {
    "dim": 16,
    "projection_dim": 8,
    "filters": "[[1, 4], [2, 4]]",
    "max_size": "null",
    "n_samples": 5,
    "batch_size": 4,
    "unroll_steps": 5,
    "max_epochs": 0,
    "max_steps": 300,
    "eval_frequency": 100,
    "checkpoint_frequency": 10,
    "log_frequency": 5,
}


def write_config(source: Path, target: Path) -> None:
    """Write a config with settings for a short run."""
    text = source.read_text(encoding="utf8")
    for key, value in SIZES.items():
        text = re.sub(rf"(?m)^{key} = .*", f"{key} = {value}", text, count=1)
    target.write_text(text, encoding="utf8")
