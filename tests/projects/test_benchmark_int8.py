"""Benchmark of int8, with a small network."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from helpers.benchmark_project import call, importable, summary

from spacy_elmo import BiLM, BiLMConfig, save_bilm
from spacy_elmo.bilm.backends import CPUBackend
from spacy_elmo.bilm.backends import cpu as kernels

scripts = pytest.fixture(autouse=True)(importable)


@pytest.mark.skipif(
    CPUBackend.why_no_int8() is not None, reason=f"{CPUBackend.why_no_int8()}"
)
def test_precisions_are_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import int8

    monkeypatch.setattr(int8, "WIDTHS", ((64, 16), (60, 15)))
    text = tmp_path / "text.conllu"
    text.write_text("1\tA\ta\n2\tdog\tdog\n\n" * 20, encoding="utf8")
    filters = ((1, 8), (2, 24))
    save_bilm(
        BiLM(BiLMConfig(dim=64, projection_dim=16, filters=filters)), tmp_path / "tiny"
    )
    threads = torch.get_num_threads()
    names = [each.name for each in kernels.supported()]
    try:
        target = tmp_path / "int8.json"
        int8.main(text, target, [str(tmp_path / "tiny")], [names[0]], n_rounds=2)
    finally:
        torch.set_num_threads(threads)
    found = json.loads(target.read_text("utf8"))
    one = found["sizes"]["tiny"]
    assert one["words"] == 40
    assert one["cosines"]["int8"]["min"] > 0.9
    at = one["instructions"][names[0]]
    speeds = at["words_per_second"]
    for other in ("float32", "bfloat16"):
        ratios = at["int8_relative_to"][other]["rounds"]
        pairs = zip(ratios, speeds["int8"]["rounds"], speeds[other]["rounds"])
        assert all(math.isclose(ratio, a / b, rel_tol=1e-6) for ratio, a, b in pairs)
    assert found["widths"].keys() == {"60/15"}


def test_steps_between_calls() -> None:
    from int8 import largest_step

    times = {"1": 10, "2": 20, "4": 80, "5": 100}
    assert largest_step({name: summary(ms) for name, ms in times.items()}) == (
        pytest.approx(80 / (20 + 2 / 3 * 80))
    )


def test_without_kernels(tmp_path: Path) -> None:
    text = tmp_path / "text.conllu"
    text.write_text("1\tA\ta\n\n", encoding="utf8")
    with kernels.limited_to("none"):
        result = call("int8", text, tmp_path / "int8.json", tmp_path)
    assert result.exit_code == 1
    assert "no int8 here, SPACY_ELMO_CPU is none" in " ".join(result.output.split())
