"""Benchmark of trained pipelines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from helpers.benchmark_project import call, good, importable
from helpers.pipelines import blank

from spacy_elmo import BiLM

scripts = pytest.fixture(autouse=True)(importable)


def test_pipelines_are_compared_with_their_bilms(
    tmp_path: Path, tiny_bilm: BiLM
) -> None:
    text, target = tmp_path / "text.conllu", tmp_path / "pipelines.json"
    text.write_text("1\tA\ta\n2\tdog\tdog\n\n" * 3, encoding="utf8")
    nlp = blank({})
    nlp.get_pipe("elmo").set_bilm(tiny_bilm)  # type: ignore[attr-defined]
    nlp.to_disk(tmp_path / "trained")
    threads = torch.get_num_threads()
    try:
        pipelines = [f"{name}={tmp_path / 'trained'}" for name in ("one", "two")]
        options = ("--n-sentences", 2, "--n-rounds", 2)
        good(call("pipelines", text, target, *pipelines, *options))
        message = call("pipelines", text, target, f"one={tmp_path}").output
    finally:
        torch.set_num_threads(threads)
    assert "of a trained pipeline" in message
    found = json.loads(target.read_text("utf8"))
    assert found["words"] == 4
    names = ("pipe share of encode", "pipe words_per_second", "encode words_per_second")
    for one in found["pipelines"].values():
        assert one["components"] == ["elmo"]
        for share, pipe, encode in zip(*(one[name]["rounds"] for name in names)):
            assert share == pytest.approx(pipe / encode, rel=1e-6)
