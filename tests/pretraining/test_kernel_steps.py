"""Pretraining by the compiled kernels, at sizes that they are made for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers import runs

from spacy_elmo.bilm.backends import cpu as kernels

SIZES = {"dim": 128, "projection_dim": 64}
with_kernels = pytest.mark.skipif(
    kernels.why_absent() is not None, reason=f"no kernels here: {kernels.why_absent()}"
)


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runs.make_texts(tmp_path_factory.mktemp("texts"))


@with_kernels
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_same_training(texts: Path, tmp_path: Path, precision: str) -> None:
    training = {"precision": precision, "dropout": 0.1}
    found = runs.run(texts, tmp_path / "kernels", bilm=SIZES, training=training)
    with kernels.limited_to("none"):
        plain = runs.run(texts, tmp_path / "plain", bilm=SIZES, training=training)
    losses = torch.tensor([runs.losses(folder) for folder in (found, plain)])
    assert losses[0, -1] < losses[0, 0] - 0.05
    off = 1e-5 if precision == "float32" else 0.02
    torch.testing.assert_close(losses[0], losses[1], rtol=0, atol=off)
    assert not torch.equal(*losses), "one of them did not take other steps"
    assert not any("kernels" in message for message in runs.messages(found))


@with_kernels
def test_resumes_bit_for_bit(texts: Path, tmp_path: Path) -> None:
    whole = runs.run(texts, tmp_path / "whole", bilm=SIZES)
    for step in (3, 7, 10):
        runs.stop_at(texts, tmp_path / "stopped", step, bilm=SIZES)
    runs.run(texts, tmp_path / "stopped", bilm=SIZES)
    runs.assert_same(tmp_path / "stopped", whole)


def test_missing_kernels_are_logged(texts: Path, tmp_path: Path) -> None:
    with kernels.limited_to("none"):
        runs.run(texts, tmp_path)
    told = "Training is slower without compiled kernels: SPACY_ELMO_CPU is none"
    assert any(message.startswith(told) for message in runs.messages(tmp_path))
