"""Tables and plots of the project probing, and a short run of the whole project."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from helpers.probing_project import (
    COMMANDS,
    DESCRIPTION,
    PROJECT,
    importable,
    write_assets,
)
from helpers.project_copies import call, copy_project, good, run, script

scripts = pytest.fixture(autouse=True)(importable)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return copy_project(PROJECT, tmp_path, "results")


def made_figure(mean: float) -> dict[str, Any]:
    return {"mean": mean, "interval": [mean - 0.01, mean + 0.01]}


def made_result(**scores: float) -> dict[str, Any]:
    names = [name.strip("_") for name in scores]
    found = dict(zip(names, scores.values()))
    return {
        "title": "Tags",
        "model": {"parameters": 1000, "layers": 3, "width": 16, "md5": "m"},
        "baselines": {"a guess": 0.25},
        "layers": {name: made_figure(score) for name, score in found.items()},
        "differences": {
            f"{one} - {other}": made_figure(found[one] - found[other])
            for one, other in zip(names[1:], names)
        },
        "mix": [0.25, 0.5, 0.25],
    }


def write_result(folder: Path, name: str, result: dict[str, Any]) -> None:
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(result), encoding="utf8")


# table.py, plots.py


def test_table_includes_the_figures_of_the_paper(project: Path) -> None:
    result = made_result(_0=0.5, _1=0.75, _2=0.7, mix=0.705)
    write_result(project / "results", "upos", result)
    shown = script(project, "table", "results", "results/README.md")
    text = (project / "results" / "README.md").read_text(encoding="utf8")
    assert " ".join(text.split()) in shown
    lines = text.split("\n")
    assert (
        "| Tags | 50.0 (49.0 to 51.0) | 75.0 (74.0 to 76.0) | 70.0 (69.0 to 71.0) | "
        "70.5 (69.5 to 71.5) | a guess: 25.0 |"
    ) in lines
    assert "| *the paper: Penn Treebank tags* |  | 97.3 | 96.8 |  |  |" in lines
    better = [line.split(" | ") for line in lines if " - layer" in line]
    assert [row[1:] for row in better] == [
        ["layer 1 - layer 0", "+25.0 (+24.0 to +26.0)", "", "layer 1 |"],
        ["layer 2 - layer 1", "-5.0 (-6.0 to -4.0)", "-0.5", "layer 1 |"],
        ["mix - layer 2", "+0.5 (-0.5 to +1.5)", "", "undecided |"],
    ]
    assert "| Tags | 0.25 | 0.50 | 0.25 |" in lines


def test_results_of_several_models_are_refused(project: Path) -> None:
    result = call(project, "table", "scripts", "README.md")
    assert isinstance(result.exception, ValueError)
    assert "found those of 0" in str(result.exception)
    result_of_one = made_result(_0=0.5, _1=0.7)
    other = {**result_of_one, "model": {**result_of_one["model"], "md5": "n"}}
    write_result(project / "results", "upos", result_of_one)
    write_result(project / "results", "wsd", other)
    for name in ("table", "plots"):
        found = call(project, name, "results", "results/out").exception
        assert "found those of 2" in str(found)
    assert len(list((project / "results").iterdir())) == 2


def test_context_of_a_word() -> None:
    from table import context

    words = [f"w{n}" for n in range(20)]
    shown = context({"words": words, "position": 9})
    assert shown == f"… {' '.join(words[1:9])} **w9** {' '.join(words[10:18])} …"
    assert context({"words": ["a", "|"], "position": 0}) == "**a** \\|"


# The whole project


def substituted(line: str, variables: dict[str, Any]) -> list[str]:
    found = re.sub(r"\$\{vars\.(\w+)\}", lambda match: str(variables[match[1]]), line)
    return shlex.split(found)


def test_commands_run(project: Path, weights: Path) -> None:
    """In this process, on generated corpora."""
    write_assets(project)
    variables = {**DESCRIPTION["vars"], "weights": weights, "seeds": 2}
    del variables["semcor_checksum"]
    for name in DESCRIPTION["workflows"]["all"]:
        for line in COMMANDS[name]["script"]:
            line = line.replace("--checksum ${vars.semcor_checksum}", "")
            _, path, *arguments = substituted(line, variables)
            script(project, Path(path).stem, *arguments)
    results = project / "results"
    names = {path.name for path in results.iterdir()}
    assert names == {
        *("upos.json", "wsd.json", "wic.json", "nouns.json", "word-bank.json"),
        "README.md",
        *("layers.png", "mixes.png", "word-bank.png"),
    }
    for name in ("upos", "wsd", "wic"):
        result = json.loads((results / f"{name}.json").read_text(encoding="utf8"))
        assert list(result["layers"]) == ["0", "1", "2", "mix"]
        for found in [*result["layers"].values(), *result["differences"].values()]:
            low, high = found["interval"]
            assert low <= found["mean"] <= high
        assert sum(result["mix"]) == pytest.approx(1)
    upos = json.loads((results / "upos.json").read_text(encoding="utf8"))
    assert upos["n"] == {"train": 12, "test": 12}
    assert [run["seed"] for run in upos["runs"]["1"]] == [0, 1]
    nouns = json.loads((results / "nouns.json").read_text(encoding="utf8"))
    assert nouns["n"] == {"nouns": 1, "occurrences": 32}
    assert list(nouns["layers"]) == ["0", "1", "2"]
    assert nouns["layers"]["0"]["mean"] == pytest.approx(0.5)
    word = json.loads((results / "word-bank.json").read_text(encoding="utf8"))
    assert word["n"] == {"bank n1 (object)": 16, "bank n2 (group)": 16}
    assert word["separation"]["layers"]["0"]["mean"] == pytest.approx(0.5)
    assert len(word["points"]) == 3
    text = (results / "README.md").read_text(encoding="utf8")
    assert '## "bank", SemCor' in text
    assert text.count("| 67.4 | 69.0 |") == 1
    for path in results.glob("*.png"):
        assert path.read_bytes().startswith(b"\x89PNG")
        assert path.stat().st_size < 100_000


@pytest.mark.slow
def test_whole_project_runs_and_is_skipped_when_run_again(
    project: Path, weights: Path
) -> None:
    write_assets(project)
    shown = script(project, "semcor", "assets/semcor3.0.tar", "trial.jsonl")
    assert "32 sentences" in shown
    result = call(
        project, "semcor", "assets/semcor3.0.tar", "trial.jsonl", "--checksum", "x"
    )
    (checksum,) = re.findall(r"\(MD5 ([0-9a-f]{32})\)", " ".join(result.output.split()))
    variables = ("--vars.weights", weights, "--vars.semcor_checksum", checksum)
    command = ("-m", "spacy", "project", "run", "all", ".", *variables)
    good(run(project, *command))
    assert (project / "results" / "README.md").is_file()
    again = good(run(project, *command))
    for name in DESCRIPTION["workflows"]["all"]:
        skipped = f"Skipping '{name}'" in again
        assert skipped != COMMANDS[name].get("no_skip", False), name


@pytest.mark.slow
def test_corpora_match_their_checksums(project: Path, shared: Path) -> None:
    folder = shared / "data" / "eval"
    if not folder.is_dir():
        pytest.skip(f"no corpora in {folder}")
    script(project, "local_assets", folder)
    checksum = DESCRIPTION["vars"]["semcor_checksum"]
    arguments = ("assets/semcor3.0.tar", "semcor.jsonl", "--checksum", checksum)
    shown = script(project, "semcor", *arguments)
    assert "37,176 sentences, 820,410 words" in shown
    assert "test: 38 documents, 36,201 senses" in shown
