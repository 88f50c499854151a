"""The project pretrain: that its parts fit together."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from helpers.pretrain_project import COMMANDS, DESCRIPTION, PROJECT
from helpers.project_copies import copy_project, good, run


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return copy_project(PROJECT, tmp_path)


def test_workflows_name_commands() -> None:
    for name, steps in DESCRIPTION["workflows"].items():
        assert steps, name
        assert set(steps) <= set(COMMANDS), name
    assert DESCRIPTION["workflows"]["all"][-1] == "package"


@pytest.mark.parametrize("workflow", DESCRIPTION["workflows"])
def test_each_step_finds_what_it_needs(workflow: str) -> None:
    """Files of the repository, assets, or outputs of the steps before."""
    there = {asset["dest"] for asset in DESCRIPTION["assets"]}
    there |= {"${vars.train}", "${vars.dev}"}
    for name in DESCRIPTION["workflows"][workflow]:
        for needed in COMMANDS[name]["deps"]:
            path = PROJECT / filled(needed)
            assert needed in there or path.is_file(), f"{name}: {needed}"
        there |= set(COMMANDS[name].get("outputs", []))
        there |= set(COMMANDS[name].get("outputs_no_cache", []))


def filled(text: str) -> str:
    """With the values of its variables."""
    while "${vars." in text:
        text = re.sub(
            r"\$\{vars\.(\w+)\}", lambda m: str(DESCRIPTION["vars"][m[1]]), text
        )
    return text


def test_each_script_is_a_dependency_of_its_command() -> None:
    called = set()
    for name, command in COMMANDS.items():
        assert command["help"], name
        for line in command["script"]:
            for part in shlex.split(line):
                if part.startswith("scripts/"):
                    called.add(part)
                    assert part in command["deps"], f"{name}: {part}"
        # One that runs in another environment is started by a script.
        called |= {part for part in command.get("deps", ()) if part.endswith(".py")}
    files = {f"scripts/{path.name}" for path in (PROJECT / "scripts").glob("*.py")}
    assert called == files


def test_variables_are_all_in_use() -> None:
    text = (PROJECT / "project.yml").read_text(encoding="utf8")
    used = set(re.findall(r"\$\{vars\.(\w+)\}", text))
    assert used == set(DESCRIPTION["vars"])


def test_what_weasel_makes_of_it(project: Path) -> None:
    """Each path by itself, variables in variables, those of a call."""
    command = ("-m", "spacy", "project", "run")
    shown = good(
        run(project, *command, "pretrain", ".", "--dry", "--vars.size", "small")
    )
    assert "../../configs/pretrain_small.cfg training/small" in shown
    shown = good(
        run(
            project,
            *command,
            "shard",
            ".",
            "--dry",
            *("--vars.train", "a.txt", "--vars.dev", "b.txt"),
        )
    )
    assert "command 'shard': a.txt Maybe" in shown
    assert "command 'shard': b.txt Maybe" in shown


def test_the_readme_is_that_of_the_project(project: Path) -> None:
    before = (project / "README.md").read_text(encoding="utf8")
    good(run(project, "-m", "spacy", "project", "document", "--output", "README.md"))
    after = (project / "README.md").read_text(encoding="utf8")
    assert after == before, "run: python -m spacy project document --output README.md"
