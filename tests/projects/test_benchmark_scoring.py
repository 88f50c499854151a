"""Benchmark of scoring, with a small language model."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from helpers.benchmark_project import call, good, importable

scripts = pytest.fixture(autouse=True)(importable)


def test_scoring_and_encoding_are_timed(tmp_path: Path) -> None:
    text = tmp_path / "text.conllu"
    text.write_text("1\tA\ta\n2\tdog\tdog\n\n" * 3, encoding="utf8")
    threads = torch.get_num_threads()
    try:
        few = ["64/32", "--n-words", 50, "--n-sentences", 2, "--n-rounds", 2]
        good(call("scoring", text, tmp_path / "scoring.json", *few))
    finally:
        torch.set_num_threads(threads)
    found = json.loads((tmp_path / "scoring.json").read_text("utf8"))
    assert found["tokens"] == 4
    assert found["n_words"] == 50
    for precision in ("float32", "bfloat16"):
        for figures in found["sizes"]["64/32"][precision].values():
            names = ("ratio", "score", "encode")
            for ratio, score, encode in zip(*(figures[n]["rounds"] for n in names)):
                assert math.isclose(ratio, score / encode, rel_tol=1e-6)
