"""Pretraining without spaCy, Thinc and optional packages."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import runs

HIDDEN = ("spacy", "thinc", "wasabi", "matplotlib")

HIDING_FINDER = f"""\
import sys

class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {HIDDEN}:
            raise ModuleNotFoundError("No module named " + repr(name), name=name)

sys.meta_path.insert(0, Hide())
"""


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runs.make_texts(tmp_path_factory.mktemp("texts"))


@pytest.fixture
def without_spacy(tmp_path: Path) -> str:
    """A folder for PYTHONPATH that hides these packages."""
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "sitecustomize.py").write_text(HIDING_FINDER, encoding="utf8")
    return str(tmp_path / "bare")


@pytest.mark.parametrize("name", HIDDEN)
def test_package_is_hidden(without_spacy: str, name: str) -> None:
    process = runs.start("-c", f"import {name}", PYTHONPATH=without_spacy)
    status, shown = runs.finish(process)
    assert status == 1
    assert "ModuleNotFoundError" in shown


def test_tokenized_text(texts: Path, tmp_path: Path, without_spacy: str) -> None:
    config = runs.write_config(tmp_path / "run.cfg", texts)
    output = tmp_path / "out"
    arguments = (config, output, "--corpus.cache", tmp_path / "cache")
    shown = runs.complete(*runs.PROGRAM, *arguments, PYTHONPATH=without_spacy)
    assert f"Trained: {output}" in shown
    assert any("No curves.png" in text for text in runs.messages(output))
    runs.assert_same(output, runs.run(texts, tmp_path / "with"))
    shown = runs.complete(*runs.PROGRAM, *arguments, PYTHONPATH=without_spacy)
    assert "Training already ended at step 12." in shown


def test_ready_shards(texts: Path, tmp_path: Path, without_spacy: str) -> None:
    """The shards were made by spaCy on another machine."""
    corpus = {"tokenizer": "en", "cache": str(tmp_path / "cache")}
    whole = runs.run(texts, tmp_path / "with", corpus=corpus)
    shards = {
        "dev" if "dev.txt" in path.read_text(encoding="utf8") else "train": path.parent
        for path in (tmp_path / "cache").glob("*/meta.json")
    }
    config = runs.write_config(tmp_path / "run.cfg", texts, corpus={"tokenizer": "en"})
    output = tmp_path / "out"
    chosen = [x for n, path in shards.items() for x in (f"--corpus.{n}", path)]
    runs.complete(*runs.PROGRAM, config, output, *chosen, PYTHONPATH=without_spacy)
    runs.assert_same(output, whole)


def test_text_that_needs_spacy(texts: Path, tmp_path: Path, without_spacy: str) -> None:
    config = runs.write_config(
        tmp_path / "run.cfg",
        texts,
        corpus={"tokenizer": "en", "cache": str(tmp_path / "cache")},
    )
    process = runs.start(
        *runs.PROGRAM, config, tmp_path / "out", PYTHONPATH=without_spacy
    )
    status, shown = runs.finish(process)
    assert status == 1
    assert "Traceback" not in shown
    assert "where spaCy is not installed" in shown
