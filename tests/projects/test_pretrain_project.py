"""The whole project pretrain, on a generated text."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import spacy
import srsly

from spacy_elmo import load_bilm

ROOT = Path(__file__).parents[2]
PROJECT = ROOT / "projects" / "pretrain"

TINY = {
    "dim": "16",
    "projection_dim": "8",
    "filters": "[[1, 4], [2, 4]]",
    "n_samples": "8",
    "batch_size": "4",
    "unroll_steps": "5",
    "max_steps": "30",
    "max_epochs": "0",
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the project as a fresh clone has it, with its assets in place and a
    config of a few seconds."""
    ignored = [
        line.strip("/\n") for line in (PROJECT / ".gitignore").open(encoding="utf8")
    ]
    copy = tmp_path / "pretrain"
    shutil.copytree(PROJECT, copy, ignore=shutil.ignore_patterns(*ignored))
    text = "".join(
        f" = Heading {n} = \n the {n % 7} cat sees {n % 5} dogs . it runs !\n"
        for n in range(200)
    )
    for asset in srsly.read_yaml(copy / "project.yml")["assets"]:
        path = copy / asset["dest"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text * (16 if "valid" in path.name else 1), encoding="utf8")
    config = (ROOT / "configs" / "pretrain_tiny.cfg").read_text(encoding="utf8")
    for key, value in TINY.items():
        config, n_changed = re.subn(
            rf"(?m)^{key} = .*", f"{key} = {value}", config, count=1
        )
        assert n_changed == 1, key
    (copy / "mine").mkdir()
    (copy / "mine" / "pretrain_mine.cfg").write_text(config, encoding="utf8")
    return copy


def run(project: Path, *arguments: str) -> str:
    result = subprocess.run(
        [sys.executable, *arguments],
        cwd=project,
        capture_output=True,
        text=True,
        encoding="utf8",
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout + result.stderr


@pytest.mark.slow
def test_whole_project_runs(project: Path, tmp_path: Path) -> None:
    command = ("-m", "spacy", "project", "run", "all", ".")
    variables = (
        "--vars.configs",
        "mine",
        "--vars.size",
        "mine",
        "--vars.min_count",
        "1",
    )
    run(project, *command, *variables)
    metrics = json.loads((project / "metrics" / "mine.json").read_text("utf8"))
    assert 1 < metrics["perplexity" if "perplexity" in metrics else "mean"] < 100
    assert metrics["oov_rate"] == 0
    half = load_bilm(project / "weights" / "mine")
    published = load_bilm(project / "weights" / "mine-hdf5")
    assert half.config == published.config
    (archive,) = (project / "packages").glob("*/dist/*.tar.gz")
    shutil.unpack_archive(archive, tmp_path / "unpacked", filter="data")
    (folder,) = (tmp_path / "unpacked").glob("*/*/*/config.cfg")
    doc = spacy.load(folder.parent)("the cat runs")
    assert doc._.elmo.layers.shape == (3, 3, 16)
    # Steps without changes are skipped.
    again = run(project, *command, *variables)
    assert again.count("nothing changed") >= 6
