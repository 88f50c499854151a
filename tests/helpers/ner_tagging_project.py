"""Scripts of the project ner_tagging, fake corpora, and results in its format."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Iterator

import pytest
import srsly

from helpers.project_copies import import_from

ROOT = Path(__file__).parents[2]
PROJECT = ROOT / "projects" / "ner_tagging"
SCRIPTS = PROJECT / "scripts"

TEXTS = """\
Ann\tB-person
Lee\tI-person
sings\tO
\t
In\tO
Rome\tB-location
.\tO

"""

TREES = """\
1\tAnn\tAnn\tPROPN\tNNP\tNumber=Sing\t2\tnsubj\t_\t_
2\tsings\tsing\tVERB\tVBZ\tTense=Pres\t0\troot\t_\t_

1\tThey\tthey\tPRON\tPRP\tNumber=Plur\t2\tnsubj\t_\t_
2\tsing\tsing\tVERB\tVBP\tTense=Pres\t0\troot\t_\t_
3\t.\t.\tPUNCT\t.\t_\t2\tpunct\t_\t_

"""


def importable(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fixture that makes the scripts importable."""
    yield from import_from(SCRIPTS, monkeypatch)


def write_assets(folder: Path) -> None:
    """Write fake files for all assets."""
    for asset in srsly.read_yaml(PROJECT / "project.yml")["assets"]:
        path = folder / asset["dest"]
        path.parent.mkdir(parents=True, exist_ok=True)
        content = TREES if path.suffix == ".conllu" else TEXTS
        path.write_text(content * 4, encoding="utf8")


def made_result(task: str, variant: str, seed: int, score: float) -> dict[str, Any]:
    metrics = {
        "tagging": ("tag_acc", "pos_acc", "morph_acc"),
        "ner": ("ents_p", "ents_r", "ents_f"),
    }[task]
    heads = {"tagging": ("tagger", "morphologizer"), "ner": ("ner",)}[task]
    mix = {"weights": [0.2, 0.5, 0.3], "gamma": score / 100}
    n_mixes = {"a": 0, "b": 0, "g": 2}.get(variant, 1)
    return {
        "task": task,
        "variant": variant,
        "seed": seed,
        "inputs": "",
        "dev": dict.fromkeys(metrics, score + 1),
        "test": dict.fromkeys(metrics, score),
        "words_per_second": 1000,
        "steps": 10,
        "best_step": 5,
        "seconds": 90.0,
        "cpu_seconds": 80.0,
        "mixes": {head: [mix] * n_mixes for head in heads} if n_mixes else {},
        "versions": {"spacy": "3.8.0"},
        "processor": "P",
    }


def write_results(folder: Path, scores: dict[tuple[str, str], list[float]]) -> Path:
    """Write results with these scores: one per seed, by task and variant."""
    for (task, variant), values in scores.items():
        for seed, score in enumerate(values):
            path = folder / f"{task}-{variant}-{seed}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            srsly.write_json(path, made_result(task, variant, seed, score))
    return folder
