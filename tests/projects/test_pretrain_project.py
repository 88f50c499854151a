"""The whole project pretrain, on a generated text."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import spacy
import srsly
from helpers.pretrain_project import PROJECT, ROOT, write_config
from helpers.project_copies import copy_project, good, run

from spacy_elmo import load_bilm


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the project as a fresh clone has it, with its assets in place and a
    config of a few seconds."""
    copy = copy_project(PROJECT, tmp_path)
    text = "".join(
        f" = Heading {n} = \n the {n % 7} cat sees {n % 5} dogs . it runs !\n"
        for n in range(200)
    )
    for asset in srsly.read_yaml(copy / "project.yml")["assets"]:
        path = copy / asset["dest"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text * (16 if "valid" in path.name else 1), encoding="utf8")
    (copy / "mine").mkdir()
    config = ROOT / "configs" / "pretrain_tiny.cfg"
    write_config(config, copy / "mine" / "pretrain_mine.cfg")
    return copy


@pytest.mark.slow
def test_whole_project_runs(project: Path, tmp_path: Path) -> None:
    command = ("-m", "spacy", "project", "run", "all", ".")
    variables = {"configs": "mine", "size": "mine", "min_count": 1}
    options = [part for k, v in variables.items() for part in (f"--vars.{k}", v)]
    good(run(project, *command, *options))
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
    again = good(run(project, *command, *options))
    assert again.count("nothing changed") >= 6
