"""Benchmark of small biLMs through spaCy."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from helpers.benchmark_project import call, good, importable

scripts = pytest.fixture(autouse=True)(importable)


def test_small_models_are_timed_next_to_the_weights_that_ship(tmp_path: Path) -> None:
    text = tmp_path / "text.conllu"
    text.write_text("1\tA\ta\n2\tdog\tdog\n\n" * 3, encoding="utf8")
    threads = torch.get_num_threads()
    try:
        few = ["32/16/1", "--n-sentences", 2, "--n-rounds", 2]
        good(call("small_sizes", text, tmp_path / "sizes.json", *few))
    finally:
        torch.set_num_threads(threads)
    found = json.loads((tmp_path / "sizes.json").read_text("utf8"))
    assert found["tokens"] == 4
    shipped, small = found["sizes"]["shipped"], found["sizes"]["32/16/1"]
    assert small["parameters"] < shipped["parameters"]
    for kind in ("new text", "known words"):
        assert shipped[kind]["ratio"]["rounds"] == [1.0, 1.0]
        speeds = (m[kind]["words_per_second"]["rounds"] for m in (small, shipped))
        for ratio, own, other in zip(small[kind]["ratio"]["rounds"], *speeds):
            assert math.isclose(ratio, own / other, rel_tol=1e-6)
