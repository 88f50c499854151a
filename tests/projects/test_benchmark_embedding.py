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
