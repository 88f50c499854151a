"""The project pretrain as a fresh clone has it, and ways to run its parts."""

from __future__ import annotations

import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import runs
import srsly
import typer
from click.testing import Result
from typer.testing import CliRunner

ROOT = Path(__file__).parents[1]
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


def copy_of_project(folder: Path) -> Path:
    """As a fresh clone has it."""
    ignored = [
        line.strip("/\n") for line in (PROJECT / ".gitignore").open(encoding="utf8")
    ]
    copy = folder / "pretrain"
    shutil.copytree(PROJECT, copy, ignore=shutil.ignore_patterns(*ignored))
    return copy


def write_config(source: Path, target: Path) -> None:
    """The same settings in small."""
    text = source.read_text(encoding="utf8")
    for key, value in SIZES.items():
        text = re.sub(rf"(?m)^{key} = .*", f"{key} = {value}", text, count=1)
    target.write_text(text, encoding="utf8")


def run(
    project: Path, *arguments: object, **variables: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=project,
        env=runs.environment(ANSI_COLORS_DISABLED="1", **variables),
        capture_output=True,
        text=True,
        encoding="utf8",
        check=False,
    )


def good(result: subprocess.CompletedProcess[str]) -> str:
    shown = result.stdout + result.stderr
    assert result.returncode == 0, shown
    return " ".join(shown.split())


def call(project: Path, name: str, *arguments: object) -> Result:
    """One of its scripts, in this process: imports take longer than the work."""
    app = typer.Typer()
    app.command()(runpy.run_path(str(project / "scripts" / f"{name}.py"))["main"])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        return CliRunner().invoke(app, [str(argument) for argument in arguments])


def script(project: Path, name: str, *arguments: object) -> str:
    result = call(project, name, *arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    return " ".join(result.output.split())


def refused(project: Path, name: str, *arguments: object) -> str:
    """Status 1, a message, no traceback."""
    result = call(project, name, *arguments)
    assert result.exit_code == 1, (result.output, result.exception)
    assert isinstance(result.exception, SystemExit), result.exception
    return " ".join(result.output.split())
