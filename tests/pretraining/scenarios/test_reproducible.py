"""What two runs with the same seed have in common: every bit on the same kind of
processor, whatever the number of threads; nearly the same losses across instruction
sets and precisions."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import runs

from spacy_elmo.bilm.backends.cpu.instructions import supported

SECTIONS: runs.Values = {
    "bilm": {"dim": 64, "projection_dim": 32},
    "training": {
        "dropout": 0.1,
        "ema_decay": 0.9,
        "noise": {"misspelled": 0.1, "upper_case": 0.1},
    },
}


def run(folder: Path, texts: Path, name: str, **variables: str) -> Path:
    """Train in a process of its own, which may have other threads and instructions."""
    config = runs.write_config(folder / f"{name}.cfg", texts, **SECTIONS)
    precision = variables.pop("precision", "float32")
    options = ("--quiet", "--training.precision", precision)
    runs.complete(*runs.PROGRAM, config, folder / name, *options, **variables)
    return folder / name


def test_same_seed(texts: Path, tmp_path: Path) -> None:
    one = runs.run(texts, tmp_path / "one", **SECTIONS)
    runs.assert_same(runs.run(texts, tmp_path / "two", **SECTIONS), one)
    seeded = runs.merged(SECTIONS, {"training": {"seed": 1}})
    other = runs.run(texts, tmp_path / "other", **seeded)
    assert runs.losses(other) != runs.losses(one)


@pytest.mark.slow
def test_across_threads_instructions_and_precisions(
    texts: Path, tmp_path: Path
) -> None:
    losses = runs.losses(reference := run(tmp_path, texts, "reference"))
    threads = run(tmp_path, texts, "threads", OMP_NUM_THREADS="2")
    assert runs.losses(threads) == losses
    assert runs.weights(threads / "model-last") == runs.weights(
        reference / "model-last"
    )
    for name in ("none", *(instructions.name for instructions in supported())):
        found = run(tmp_path, texts, name, SPACY_ELMO_CPU=name)
        assert runs.losses(found) == pytest.approx(losses, rel=1e-5), name
    rounded = run(tmp_path, texts, "bfloat16", precision="bfloat16")
    assert runs.losses(rounded) != losses
    assert runs.losses(rounded) == pytest.approx(losses, rel=5e-3)
