"""The project languages: tables, plots, cards and packages of its results."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import srsly
import typer
from helpers.languages_project import PROJECT, copy_languages, importable, made_result
from helpers.project_copies import refused, script

from spacy_elmo import load_bilm

MEGABYTES = 1_000_000

scripts = pytest.fixture(autouse=True)(importable)
project = pytest.fixture(copy_languages)


@pytest.fixture
def results(project: Path) -> Path:
    from languages import LANGUAGES
    from variants import VARIANTS, Run

    folder = project / "results"
    metrics = LANGUAGES["se"].tasks["giella"].metrics
    runs = [
        (Run("giella", variant, seed=seed), 80.0 + 3 * index + seed)
        for index, variant in enumerate(VARIANTS)
        for seed in (0, 1)
    ]
    runs.append((Run("giella", "elmo", text="1"), 70.0))
    runs.append((Run("giella", "elmo", sentences=100), 60.0))
    made = {each.name: made_result(metrics, each, score) for each, score in runs}
    made["pretrained-all-all-0"]["passes"] = 3
    srsly.write_json(folder.mkdir() or folder / "giella.json", made)
    return folder


def test_table(project: Path, results: Path) -> None:
    script(project, "plots", "results", "results/curves.png")
    script(project, "table", "results", "results/README.md")
    text = (results / "README.md").read_text("utf8")
    assert "## North Sami: UD North Sami-Giella" in text
    assert "UDPipe 2.12: UPOS 91.78" in text
    assert "| spaCy's CNN after `spacy pretrain`, 3 passes | 2 |" in text
    assert "| ELMo, frozen | 2 | 89.50 ± 0.71 | 89.50 ± 0.71 | 46.2 % |" in text
    assert "70.00" not in text
    assert "curves.png" in text


def test_plot(project: Path, results: Path) -> None:
    from plots import by_sentences, by_text
    from results import read_tasks

    script(project, "plots", "results", "results/curves.png")
    assert (results / "curves.png").read_bytes().startswith(b"\x89PNG")
    ((_, name, _, found),) = read_tasks(results)
    assert name == "giella"
    assert [size for size, _ in by_text(found, "elmo")] == ["1", "all"]
    assert [size for size, _ in by_sentences(found, "elmo")] == [100, "all"]
    assert [len(runs) for _, runs in by_sentences(found, "elmo")] == [1, 2]


def test_plot_without_sizes_of_text(results: Path) -> None:
    from matplotlib.figure import Figure
    from plots import draw_row
    from results import read_tasks

    ((language, _, task, runs),) = read_tasks(results)
    axes = Figure().subplots(1, 2)
    draw_row(axes, language, task, [run for run in runs if run["text"] == "all"])
    assert not axes[0].axison
    assert "North Sami" in axes[1].get_title()
    assert "UPOS" in axes[1].get_ylabel()


def test_the_best_pipeline_is_packaged(project: Path, results: Path) -> None:
    """By the development set, among those with ELMo."""
    from package import select_run

    assert select_run("giella", results).variant == "elmo-embed"
    path = results / "giella.json"
    found = srsly.read_json(path)
    found["elmo-all-all-0"]["dev"] = {"pos_acc": 99.0, "morph_acc": 99.0}
    srsly.write_json(path, found)
    assert select_run("giella", results).variant == "elmo"
    with pytest.raises(typer.Exit):
        select_run("circse", results)


def test_missing_results_are_refused(project: Path) -> None:
    (project / "results").mkdir()
    message = refused(project, "table", "results", "results/README.md")
    assert "Run the command heads" in message
    assert "No learning curves" in script(project, "plots", "results", "curves.png")


def test_card_before_any_head_is_scored(project: Path, tmp_path: Path) -> None:
    for name in ("weights", "training"):
        source = PROJECT / "results" / f"rw-{name}.json"
        shutil.copy(source, tmp_path / source.name)
    script(project, "card", "rw", tmp_path, tmp_path / "README.md")
    card = (tmp_path / "README.md").read_text("utf8")
    assert "CC0 1.0" in card
    assert "20,000 steps" in card
    assert card.endswith("Not measured yet.\n")


def test_card_before_all_heads_are_scored(project: Path, results: Path) -> None:
    for name in ("weights", "training"):
        shutil.copy(PROJECT / "results" / f"se-{name}.json", results)
    path = results / "giella.json"
    runs = srsly.read_json(path)
    left = {name: run for name, run in runs.items() if run["variant"] != "elmo-embed"}
    srsly.write_json(path, left)
    script(project, "card", "se", results, results / "card.md")
    card = (results / "card.md").read_text("utf8")
    assert "| UD North Sami-Giella (CC BY-SA 4.0): UPOS | 80.5 | 89.5 |  |" in card


def test_committed_weights_have_cards_and_are_small() -> None:
    from languages import LANGUAGES

    folders = sorted((PROJECT / "weights").glob("*"))
    assert {folder.name for folder in folders} <= set(LANGUAGES)
    for folder in folders:
        size = (folder / "model.safetensors").stat().st_size
        assert size <= 15 * MEGABYTES, folder
        license = LANGUAGES[folder.name].license
        assert license in (folder / "README.md").read_text("utf8")
        load_bilm(folder)
