"""Scripts of the project languages, fake assets, and results in its format."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Iterator

import pytest
import srsly

from helpers.pretrain_project import SIZES
from helpers.project_copies import copy_project, import_from

ROOT = Path(__file__).parents[2]
PROJECT = ROOT / "projects" / "languages"

SENTENCES = "Áhčči oidná beatnaga .\n\nDat viehká johtilit , ja dat lea čáppat .\n"
TREES = """\
1\tÁhčči\táhčči\tNOUN\tN\tCase=Nom|Number=Sing\t2\tnsubj\t_\t_
2\toidná\toaidnit\tVERB\tV\tTense=Pres\t0\troot\t_\t_
3\tbeatnaga\tbeana\tNOUN\tN\tCase=Acc|Number=Sing\t2\tobj\t_\t_

1\tDat\tdat\tPRON\tPron\tNumber=Sing\t2\tnsubj\t_\t_
2\tviehká\tviehkat\tVERB\tV\tTense=Pres\t0\troot\t_\t_

"""
ENTITIES = "Kigali B-LOC\nni O\numurwa O\n\n# O\nMiss O\nNimwiza I-PER\n\n"
UPOS = "Kigali PROPN\nni AUX\n\n# SYM\nMiss NOUN\n\n"


def importable(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fixture that makes the scripts importable."""
    yield from import_from(PROJECT / "scripts", monkeypatch)


def copy_languages(tmp_path: Path) -> Path:
    """Fixture: the project as in a fresh clone, with fake assets and no results."""
    copy = copy_project(PROJECT, tmp_path, "results", "weights")
    write_assets(copy)
    return copy


def write_assets(folder: Path) -> None:
    """Write fake files for all assets."""
    for asset in srsly.read_yaml(PROJECT / "project.yml")["assets"]:
        path = folder / asset["dest"]
        path.parent.mkdir(parents=True, exist_ok=True)
        content = ENTITIES
        if path.parent.name == "text":
            content = SENTENCES
        elif path.suffix == ".conllu":
            content = TREES
        elif path.parent.name == "masakhapos":
            content = UPOS
        path.write_text(content * 20, encoding="utf8")


def write_config(target: Path) -> None:
    """Write the config of the biLM with settings for a short run."""
    text = (ROOT / "configs" / "pretrain_own.cfg").read_text(encoding="utf8")
    changes = {**SIZES, "min_count": 1, "max_steps": 60, "eval_frequency": 30}
    changes.update(warmup_steps=5, decay_steps=20)
    for key, value in changes.items():
        text, n = re.subn(rf"(?m)^{key} = .*", f"{key} = {value}", text, count=1)
        assert n == 1, key
    target.write_text(text, encoding="utf8")


def made_result(
    metrics: dict[str, str], run: Any, score: float, **changes: Any
) -> dict[str, Any]:
    """Make a result as heads.py writes it."""
    scores = dict.fromkeys(metrics, score)
    return {
        **run._asdict(),
        "inputs": "0",
        "dev": scores,
        "test": scores,
        "words_per_second": 1000,
        "cpu_seconds": 60.0,
        **changes,
    }
