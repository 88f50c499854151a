"""Benchmark of the compiled kernels, with a small LSTM."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from helpers.benchmark_project import call, good, importable

from spacy_elmo.bilm.backends import cpu as kernels

scripts = pytest.fixture(autouse=True)(importable)
FEW = ["128/64", "--n-sequences", 3, "--n-steps", 2, "--n-rounds", 2, "--threads", 1]


@pytest.mark.skipif(
    kernels.why_absent() is not None, reason=f"no kernels here: {kernels.why_absent()}"
)
def test_kernels_and_operations_are_timed(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    try:
        good(call("kernels", tmp_path / "kernels.json", *FEW))
    finally:
        torch.set_num_threads(threads)
    found = json.loads((tmp_path / "kernels.json").read_text("utf8"))
    one = found["sizes"]["128/64"]
    assert found["instructions"] == getattr(kernels.selected(), "name", None)
    assert len(one["seconds"]) == 8
    assert len(one["gains"]) == 4
    for name, gain in one["gains"].items():
        slow, fast = (
            one["seconds"][f"{name} {way}"]["rounds"]
            for way in ("operations", "kernels")
        )
        assert len(fast) == 2
        for ratio, over, under in zip(gain["rounds"], slow, fast):
            assert math.isclose(ratio, over / under, rel_tol=1e-6)


def test_disagreement_is_refused() -> None:
    from kernels import check_agreement

    same = torch.ones(3)
    check_agreement("a", {"x float32 kernels": same, "x float32 operations": same})
    found = {"x float32 kernels": same + 1e-3, "x float32 operations": same}
    with pytest.raises(ValueError, match=r"a, x float32 kernels: expected .* 1e-04"):
        check_agreement("a", found)


def test_without_kernels(tmp_path: Path) -> None:
    with kernels.limited_to("none"):
        result = call("kernels", tmp_path / "kernels.json", *FEW)
    assert result.exit_code == 1
    assert "no kernels here, SPACY_ELMO_CPU is none" in " ".join(result.output.split())
    assert not (tmp_path / "kernels.json").exists()
