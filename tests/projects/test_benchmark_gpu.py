"""Benchmark for GPUs, on a CPU with a small biLM."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, Iterator

import pytest
import torch
from helpers.benchmark_project import call, good, importable

from spacy_elmo import BiLM, BiLMConfig

SMALL = BiLMConfig(filters=((1, 8), (2, 8)), dim=24, projection_dim=8, n_highway=1)


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    yield from importable(monkeypatch)


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BiLMConfig, "preset", lambda name: SMALL)


@pytest.mark.usefixtures("_small")
def test_inference(tmp_path: Path) -> None:
    target = tmp_path / "results" / "gpu.json"
    small = ["--batch-size", 6, "--n-rounds", 2, "--peak-size", 64]
    good(call("gpu", target, "small", "--device", "cpu", "--n-steps", 0, *small))
    found = json.loads(target.read_text("utf8"))["sizes"]["small"]
    for precision in ("float32", "bfloat16"):
        speeds: dict[str, float] = found[precision]["words_per_second"]
        ways = {"ours", "step by step", "nn.LSTM, no clips", "encode"}
        assert speeds.keys() == ways
        assert all(speed > 0 for speed in speeds.values())
        seconds = found[precision]["spreads"]["ours"]
        assert seconds[0] <= seconds[1]
        # (W x, U h: 4 D P each; the projection: D P) x 2 directions x 2 layers x 2
        flop = 2 * 2 * 2 * 9 * 24 * 8
        share = speeds["ours"] * flop / found[precision]["peak_tflops"] / 1e12
        assert math.isclose(share, found[precision]["share_of_peak"], rel_tol=1e-6)
    assert "pretraining" not in found


@pytest.mark.usefixtures("_small")
def test_disagreement_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contextualize = BiLM.contextualize

    def wrong(self: BiLM, *args: Any, **kwargs: Any) -> Any:
        layers, state = contextualize(self, *args, **kwargs)
        return layers.flip(2), state

    monkeypatch.setattr(BiLM, "contextualize", wrong)
    small = ["--batch-size", 6, "--peak-size", 64, "--n-steps", 0]
    result = call("gpu", tmp_path / "gpu.json", "small", "--device", "cpu", *small)
    assert result.exit_code != 0
    assert "Expected one top layer, found a cosine" in str(result.exception)
    assert not (tmp_path / "gpu.json").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU")
def test_without_a_gpu(tmp_path: Path) -> None:
    result = call("gpu", tmp_path / "gpu.json", "small")
    assert result.exit_code == 2
    assert "Expected a GPU" in result.output
