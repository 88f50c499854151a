"""All projects: their parts fit together, and their READMEs are up to date."""

from __future__ import annotations

import lzma
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import srsly
from helpers.project_copies import call, copy_project, script
from weasel.cli.document import project_document
from weasel.util import load_project_config

from spacy_elmo import BiLM, load_bilm
from spacy_elmo.formats.bundled import BUNDLED

FOLDER = Path(__file__).parents[2] / "projects"
SHARED = FOLDER / "shared"
PROJECTS = sorted(path.parent for path in FOLDER.glob("*/project.yml"))
WITH_ASSETS = [
    path for path in PROJECTS if "assets:" in (path / "project.yml").read_text("utf8")
]

projects = pytest.mark.parametrize("project", PROJECTS, ids=lambda path: path.name)


def described(project: Path) -> dict[str, Any]:
    return dict(srsly.read_yaml(project / "project.yml"))


def commands(project: Path) -> dict[str, dict[str, Any]]:
    return {command["name"]: command for command in described(project)["commands"]}


def filled(text: str, variables: dict[str, Any]) -> str:
    while "${vars." in text:
        text = re.sub(r"\$\{vars\.(\w+)\}", lambda m: str(variables[m[1]]), text)
    return text


@projects
def test_workflows_consist_of_commands(project: Path) -> None:
    for name, steps in described(project)["workflows"].items():
        assert steps, name
        assert set(steps) <= set(commands(project)), name


@projects
def test_each_step_finds_its_inputs(project: Path) -> None:
    """They are files of the repository, assets, or outputs of earlier steps."""
    description = described(project)
    variables = description["vars"]
    assets = {asset["dest"] for asset in description.get("assets", [])}
    # The user's own text.
    texts = {str(variables[name]) for name in ("train", "dev") if name in variables}
    for steps in description["workflows"].values():
        there = with_folders(assets) | texts
        for step in steps:
            command = commands(project)[step]
            for name in command.get("deps", []):
                path = filled(name, variables)
                assert path in there or (project / path).exists(), f"{step}: {name}"
            for kind in ("outputs", "outputs_no_cache"):
                outputs = {filled(name, variables) for name in command.get(kind, [])}
                there |= with_folders(outputs)


def with_folders(names: set[str]) -> set[str]:
    folders = {folder.as_posix() for name in names for folder in Path(name).parents}
    return names | folders


@projects
def test_scripts_exist_and_are_used(project: Path) -> None:
    called = set()
    for name, command in commands(project).items():
        assert command["help"], name
        for line in command["script"]:
            program, path, *_ = shlex.split(line)
            assert program in ("python", "environments/bilm_tf/bin/python"), line
            if path != "-m":
                assert (project / path).is_file(), line
                called.add((project / path).resolve())
    sources = [path.read_text("utf8") for path in (project / "scripts").glob("*.py")]
    for path in (project / "scripts").glob("*.py"):
        used_by_others = any(
            re.search(rf"(from|import) {path.stem}\b|\"{path.name}\"", text)
            or (path.stem.endswith("_worker") and '_worker.py"' in text)
            for text in sources
        )
        assert path.resolve() in called or used_by_others, path.name


@projects
def test_variables_are_used(project: Path) -> None:
    text = (project / "project.yml").read_text(encoding="utf8")
    assert set(re.findall(r"\$\{vars\.(\w+)\}", text)) == set(
        described(project)["vars"]
    )


@projects
def test_weasel_fills_the_variables(project: Path) -> None:
    """Weasel joins neighboring entries of a list that consist of a single variable."""
    for command in load_project_config(project)["commands"]:
        for text in (*command["script"], *command.get("deps", [])):
            assert "${" not in text
            assert ", " not in text or "--note" in text


def test_variables_within_variables_can_be_overridden() -> None:
    project = load_project_config(FOLDER / "pretrain", overrides={"vars.size": "small"})
    (command,) = (c for c in project["commands"] if c["name"] == "pretrain")
    (line,) = command["script"]
    assert "../../configs/pretrain_small.cfg training/small" in line


@projects
def test_readme_is_up_to_date(project: Path, tmp_path: Path) -> None:
    copy = copy_project(project, tmp_path, "results", "assets")
    before = (copy / "README.md").read_text(encoding="utf8")
    project_document(copy, copy / "README.md")
    after = (copy / "README.md").read_text(encoding="utf8")
    assert after == before, "run: python -m spacy project document --output README.md"


@pytest.mark.parametrize("project", WITH_ASSETS, ids=lambda path: path.name)
def test_local_assets_are_checked(project: Path, tmp_path: Path) -> None:
    """Files with the right names and other contents are refused."""
    copy = copy_project(project, tmp_path, "results")
    local = tmp_path / "local"
    local.mkdir()
    assets = described(project)["assets"]
    for asset in assets:
        with lzma.open(local / (Path(asset["dest"]).name + ".xz"), "wt") as file:
            file.write("something else")
    result = call(copy, "local_assets", local)
    assert result.exit_code == 1
    # SemCor has no checksum: its files are checked by `semcor`.
    n_checked = sum("checksum" in asset for asset in assets)
    assert f"{n_checked} of {len(assets)} assets are not in place" in result.output
    placed = [path for path in (copy / "assets").rglob("*") if path.is_file()]
    assert len(placed) == len(assets) - n_checked


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return copy_project(FOLDER / "quickstart", tmp_path)


def test_weights_are_copied(
    project: Path, weights: Path, tiny_bilm: BiLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(project, "weights", weights, "weights/elmo")
    assert load_bilm(project / "weights" / "elmo").config == tiny_bilm.config
    monkeypatch.setitem(BUNDLED, "md", weights)
    script(project, "weights", "null", "weights/shipped")
    assert load_bilm(project / "weights" / "shipped").config == tiny_bilm.config


def test_missing_weights_are_refused(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BUNDLED, "md", project / "none")
    for source, part in (("null", "--vars.weights PATH"), ("none", "nothing there")):
        result = call(project, "weights", source, "weights/elmo")
        assert result.exit_code == 1
        assert isinstance(result.exception, SystemExit)
        assert part in result.output
    assert not (project / "weights").exists()
