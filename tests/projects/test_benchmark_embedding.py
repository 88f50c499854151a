"""Benchmark of `elmo embed`."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from helpers.benchmark_project import call, good, importable

scripts = pytest.fixture(autouse=True)(importable)


def test_writing_and_encoding_are_timed(tmp_path: Path) -> None:
    text = tmp_path / "text.conllu"
    text.write_text("1\tA\ta\n2\tdog\tdog\n\n" * 3, encoding="utf8")
    threads = torch.get_num_threads()
    try:
        few = ["--n-sentences", 2, "--n-copies", 2, "--n-rounds", 2]
        good(call("embedding", text, tmp_path / "embedding.json", *few))
    finally:
        torch.set_num_threads(threads)
    found = json.loads((tmp_path / "embedding.json").read_text("utf8"))
    assert found["words"] == 8
    assert list(found["clocks"]) == ["elapsed", "encoding thread", "all threads"]
    for clock in found["clocks"].values():
        encoding = clock["seconds"]["encode"]["rounds"]
        assert len(clock["share"]) == 4
        for name, share in clock["share"].items():
            writing = clock["seconds"][name]["rounds"]
            for one, other, expected in zip(encoding, writing, share["rounds"]):
                assert math.isclose(one / other, expected, rel_tol=1e-6)


def test_answers_of_explore_are_timed(tmp_path: Path) -> None:
    text = tmp_path / "text.conllu"
    sentence = "".join(f"{i}\tdog\tdog\n" for i in range(1, 16))
    text.write_text(f"1\tA\ta\n\n{sentence}\n{sentence}\n", encoding="utf8")
    good(call("explore", text, tmp_path / "explore.json", "--n-rounds", 2))
    found = json.loads((tmp_path / "explore.json").read_text("utf8"))
    assert (found["sentences"], found["words"]) == (2, 30)
    assert 0 < found["mean_seconds"]["median"] <= found["max_seconds"]["median"] < 60
