"""Copies of spaCy projects, and ways to run their parts."""

from __future__ import annotations

import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Iterator

import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

from helpers import runs


def copy_project(project: Path, folder: Path, *ignored: str) -> Path:
    """Copy a project and the scripts that all projects share, without what git ignores.

    ignored (str): Further names to leave out.
    """
    lines = (project / ".gitignore").read_text(encoding="utf8").splitlines()
    patterns = [line.strip("/") for line in lines]
    ignore = shutil.ignore_patterns(*patterns, *ignored)
    shutil.copytree(project.parent / "shared", folder / "shared")
    return Path(shutil.copytree(project, folder / project.name, ignore=ignore))


def run(
    project: Path, *arguments: object, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run Python with these arguments in the project's folder."""
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
    """Check that a process succeeded. Returns its output."""
    shown = result.stdout + result.stderr
    assert result.returncode == 0, shown
    return " ".join(shown.split())


def call(project: Path, name: str, *arguments: object) -> Result:
    """Call a script of the project, or a shared one, in this process and in the
    project's folder: imports take longer than the work."""
    path = project / "scripts" / f"{name}.py"
    if not path.is_file():
        path = project.parent / "shared" / f"{name}.py"
    app = typer.Typer()
    app.command()(runpy.run_path(str(path))["main"])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        return CliRunner().invoke(app, [str(argument) for argument in arguments])


def script(project: Path, name: str, *arguments: object) -> str:
    result = call(project, name, *arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    return " ".join(result.output.split())


def refused(project: Path, name: str, *arguments: object) -> str:
    """Check that a script fails with status 1 and a message, without a traceback."""
    result = call(project, name, *arguments)
    assert result.exit_code == 1, (result.output, result.exception)
    assert isinstance(result.exception, SystemExit), result.exception
    return " ".join(result.output.split())


def import_from(scripts: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make scripts importable while a fixture is active."""
    names = [path.stem for path in scripts.glob("*.py")]
    for name in names:
        sys.modules.pop(name, None)
    monkeypatch.syspath_prepend(str(scripts))
    yield
    for name in names:
        sys.modules.pop(name, None)
