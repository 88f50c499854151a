"""File names that are not valid UTF-8, as some older systems wrote them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from helpers import runs

from spacy_elmo.files import write_json
from spacy_elmo.pretraining.data.prepare import prepare
from spacy_elmo.pretraining.output import checkpoints

NAME = os.fsdecode(b"caf\xe9.txt")


@pytest.fixture
def text(tmp_path: Path) -> Path:
    try:
        return runs.write_text(tmp_path / NAME, 24)
    except OSError:
        pytest.skip("this system has no such names")


def test_shards_store_the_name(text: Path, tmp_path: Path) -> None:
    shards = prepare([text], tmp_path / "cache")
    assert shards.meta["files"] == [NAME]


def test_a_run_resumes(text: Path, tmp_path: Path) -> None:
    """Every checkpoint has the name in its settings, under a checksum."""
    chosen = {"corpus": {"train": str(text), "dev": str(text)}}
    whole = runs.run(tmp_path, tmp_path / "whole", **chosen)
    runs.stop_at(tmp_path, tmp_path / "out", 9, **chosen)
    output = runs.run(tmp_path, tmp_path / "out", **chosen)
    assert [line["step"] for line in runs.log(output, "resume")] == [8]
    runs.assert_same(output, whole)


@pytest.mark.parametrize("name", ["a", "é 日本 😀", NAME, f"😀{NAME}", f"é{NAME}é"])
def test_names_survive_json_and_checkpoints(tmp_path: Path, name: str) -> None:
    value = {"files": [name], name: 'quote " and backslash \\udce9'}
    write_json(tmp_path / "a.json", value)
    data = (tmp_path / "a.json").read_bytes()
    assert json.loads(data.decode("utf8")) == value
    if NAME not in name:
        assert name.encode("utf8") in data
    checkpoints.save(tmp_path / "checkpoints", 3, {}, value)
    found = checkpoints.load_newest(tmp_path / "checkpoints", pytest.fail)
    assert found is not None
    assert found.meta == value
