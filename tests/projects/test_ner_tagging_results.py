"""Tables and plots of the project ner_tagging."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from helpers.ner_tagging_project import importable, write_results

scripts = pytest.fixture(autouse=True)(importable)

SCORES = {
    ("tagging", "a"): [94.0, 95.0, 96.0],
    ("tagging", "c"): [96.0, 96.0, 96.0],
    ("ner", "a"): [20.0],
    ("ner", "g"): [40.0],
}


def test_means_deviations_and_errors(tmp_path: Path) -> None:
    from results import read_results
    from table import render_scores

    runs = read_results(write_results(tmp_path, SCORES))
    tagging = render_scores("tagging", runs["tagging"])
    assert (
        "| (a) | hash embedding, CNN (spaCy's HashEmbedCNN) | 3 | 95.00 ± 1.00 |"
        in tagging
    )
    assert "| (c) | ELMo, frozen, learned mix | 3 | 96.00 ± 0.00 |" in tagging
    assert "| 20.0 % |" in tagging
    assert "| 97.00 |" in tagging
    assert "| 1,000 | 1.3 |" in tagging
    ner = render_scores("ner", runs["ner"])
    assert ner.count("25.0 %") == 1
    assert "| 40.00 |" in ner


def test_error_reduction_needs_the_baseline(tmp_path: Path) -> None:
    from results import read_results
    from table import render_scores

    runs = read_results(write_results(tmp_path, {("ner", "c"): [40.0]}))
    assert " % |" not in render_scores("ner", runs["ner"])


def test_table_of_mixes(tmp_path: Path) -> None:
    from results import read_results
    from table import render_mixes

    runs = read_results(write_results(tmp_path, SCORES))
    assert render_mixes({"a": runs["ner"]["a"]}) == ""
    text = render_mixes(runs["ner"])
    assert "| (g) | ner | input | 0.200  0.500  0.300 | 0.400 |" in text
    assert "| (g) | ner | output |" in text
    assert "| (c) | morphologizer | input |" in render_mixes(runs["tagging"])


def test_files_are_written(tmp_path: Path) -> None:
    from plots import main as plot
    from table import main as tabulate

    folder = write_results(tmp_path, SCORES)
    tabulate(folder, tmp_path / "out.md", note="By night.")
    text = (tmp_path / "out.md").read_text(encoding="utf8")
    assert text.endswith("\n* By night.\n")
    assert text.index("## UD English EWT") < text.index("## WNUT-17")
    assert "* 8 trainings, 0.2 CPU hours" in text
    assert "spacy 3.8.0" in text
    plot(folder, tmp_path)
    for name in ("scores.png", "mixes.png"):
        assert (tmp_path / name).read_bytes()[:4] == b"\x89PNG"


def test_no_plot_without_mixes(tmp_path: Path) -> None:
    from plots import main as plot

    plot(write_results(tmp_path, {("ner", "a"): [1.0, 2.0]}), tmp_path)
    assert (tmp_path / "scores.png").is_file()
    assert not (tmp_path / "mixes.png").exists()


def test_missing_results_are_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from results import read_results

    with pytest.raises(typer.Exit):
        read_results(tmp_path)
    assert "found none" in " ".join(capsys.readouterr().out.split())
