"""Pretraining where neither spaCy nor what comes with it is installed, but typer."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import runs

HIDDEN = ("spacy", "thinc", "wasabi", "matplotlib")

HIDE = f"""\
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
def bare(tmp_path: Path) -> str:
    """A folder for PYTHONPATH, by which Python has none of these packages."""
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "sitecustomize.py").write_text(HIDE, encoding="utf8")
    return str(tmp_path / "bare")


@pytest.mark.parametrize("name", HIDDEN)
def test_they_are_hidden(bare: str, name: str) -> None:
    process = runs.start("-c", f"import {name}", PYTHONPATH=bare)
    status, shown = runs.finish(process)
    assert status == 1
    assert "ModuleNotFoundError" in shown


def test_text_between_blanks(texts: Path, tmp_path: Path, bare: str) -> None:
    config = runs.write_config(tmp_path / "run.cfg", texts)
    output = tmp_path / "out"
    arguments = (config, output, "--corpus.cache", tmp_path / "cache")
    shown = runs.complete(*runs.PROGRAM, *arguments, PYTHONPATH=bare)
    assert f"Trained: {output}" in shown
    assert any("No curves.png" in text for text in runs.messages(output))
    runs.assert_same(output, runs.run(texts, tmp_path / "with"))
    shown = runs.complete(*runs.PROGRAM, *arguments, PYTHONPATH=bare)
    assert "Training already ended at step 12." in shown


def test_ready_shards(texts: Path, tmp_path: Path, bare: str) -> None:
    """Which spaCy has made elsewhere."""
    corpus = {"tokenizer": "en", "cache": str(tmp_path / "cache")}
    whole = runs.run(texts, tmp_path / "with", corpus=corpus)
    shards = {
        "dev" if "dev.txt" in path.read_text(encoding="utf8") else "train": path.parent
        for path in (tmp_path / "cache").glob("*/meta.json")
    }
    config = runs.write_config(tmp_path / "run.cfg", texts, corpus={"tokenizer": "en"})
    output = tmp_path / "out"
    chosen = [x for n, path in shards.items() for x in (f"--corpus.{n}", path)]
    runs.complete(*runs.PROGRAM, config, output, *chosen, PYTHONPATH=bare)
    runs.assert_same(output, whole)


def test_text_that_spacy_should_tokenise(
    texts: Path, tmp_path: Path, bare: str
) -> None:
    config = runs.write_config(
        tmp_path / "run.cfg",
        texts,
        corpus={"tokenizer": "en", "cache": str(tmp_path / "cache")},
    )
    process = runs.start(*runs.PROGRAM, config, tmp_path / "out", PYTHONPATH=bare)
    status, shown = runs.finish(process)
    assert status == 1
    assert "Traceback" not in shown
    assert "where spaCy is not installed" in shown
