"""The project grammar: from BLiMP's repository to tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Iterator

import pytest
from helpers import runs
from helpers.grammar_project import PROJECT, write_blimp
from helpers.project_copies import call, copy_project, import_from, script

from spacy_elmo.scoring.scorer import Scorer, perplexity


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    yield from import_from(PROJECT / "scripts", monkeypatch)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    texts = runs.make_texts(tmp_path_factory.mktemp("texts"))
    return runs.run(texts, tmp_path_factory.mktemp("out"))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    copy = copy_project(PROJECT, folder)
    write_blimp(folder / "blimp.tar.gz")
    address = (folder / "blimp.tar.gz").as_uri()
    script(copy, "blimp", address, "corpus/blimp.jsonl")
    return copy


def test_accuracy_by_paradigm_and_phenomenon(project: Path, run: Path) -> None:
    model = run / "model-last"
    options = ("--pairs", 2)
    script(project, "pairs", model, "corpus/blimp.jsonl", "out/blimp.json", *options)
    result = json.loads((project / "out" / "blimp.json").read_text())
    assert result["overall"]["n_pairs"] == 2 * 67
    good, bad = Scorer.load(model).log_probs(
        [
            f"{words} number7".split()
            for words in ("the dog sees a cat", "dog the cat a sees")
        ]
    )
    paradigm = result["paradigms"]["paradigm07"]
    is_right = good.forward_total > bad.forward_total
    assert paradigm["accuracy"]["forward"] == is_right
    assert paradigm["unknown_rate"] == 1
    script(project, "table", "out/blimp.json", "out/README.md")
    table = (project / "out" / "README.md").read_text(encoding="utf8")
    for start in ("| argument structure |", "| binding |", "| **all** |"):
        (row,) = (line for line in table.splitlines() if line.startswith(start))
        assert len(row.split("|")) == 11
    assert "| 100.0 | 71.9 | 73.2 | 72.2 | 81.8 |" in table


def test_incomplete_blimp_is_refused(project: Path, tmp_path: Path) -> None:
    write_blimp(tmp_path / "blimp.tar.gz", n_paradigms=66)
    result = call(project, "blimp", tmp_path / "blimp.tar.gz", "corpus/less.jsonl")
    assert result.exit_code == 1
    assert "found 66 paradigms and 66000 pairs" in result.output


def test_weights_without_output_layer_are_refused(project: Path, weights: Path) -> None:
    result = call(project, "pairs", weights, "corpus/blimp.jsonl", "out/none.json")
    assert result.exit_code == 1
    assert "softmax_steps" in result.output


def test_each_checkpoint_is_scored_once(project: Path, run: Path) -> None:
    arguments = (run, "corpus/blimp.jsonl", "out/steps.json", "--pairs", 1)
    script(project, "steps", *arguments)
    path = project / "out" / "steps.json"
    results = json.loads(path.read_text())
    checkpoints = sorted((run / "checkpoints").glob("step-*"))
    assert [r["step"] for r in results] == [int(c.name[5:]) for c in checkpoints]
    script(
        project,
        "pairs",
        run / "model-last",
        "corpus/blimp.jsonl",
        "out/last.json",
        "--pairs",
        1,
    )
    last = json.loads((project / "out" / "last.json").read_text())
    assert results[-1]["accuracy"] == last["overall"]["accuracy"]
    results[0]["accuracy"] = {"forward": 0.5, "backward": 0.5, "both": 0.25}
    path.write_text(json.dumps(results))
    script(project, "steps", *arguments)
    assert json.loads(path.read_text()) == results


def test_surprisal_by_frequency_and_length(
    project: Path, run: Path, tmp_path: Path
) -> None:
    text = tmp_path / "text.txt"
    text.write_text("Ann sees the 7 birds\nit unseenword hears cats\n" * 3)
    script(project, "frequency", run / "model-last", text, "out/frequency.json")
    result = json.loads((project / "out" / "frequency.json").read_text())
    scorer = Scorer.load(run / "model-last")
    sentences = [line.split() for line in text.read_text().splitlines()]
    scores = scorer.log_probs(sentences)
    assert result["text"]["forward"] == pytest.approx(perplexity(scores).forward)
    known = [
        (word, -float(value))
        for words, s in zip(sentences, scores)
        for word, value in zip(words, s.forward)
        if word in scorer.words and word != "7"
    ]
    assert result["n_words"] == len(known) > 0
    pairs = (run / "model-last", "corpus/blimp.jsonl", "out/b.json", "--pairs", 1)
    script(project, "pairs", *pairs)
    frequency = ("--frequency", "out/frequency.json")
    script(project, "table", "out/b.json", "out/b.md", *frequency)
    table = (project / "out" / "b.md").read_text(encoding="utf8")
    row = f"| 1 to under 3 | {result['length'][0]['n']} | "
    assert f"{row}{result['length'][0]['mean'][0]:.1f} |" in table
    short = [value for word, value in known if len(word) < 3]
    assert result["length"][0]["n"] == len(short)
    assert result["length"][0]["mean"][0] == pytest.approx(
        sum(short) / len(short), abs=1e-3
    )
