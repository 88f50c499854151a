"""Training with a sampled softmax that draws the whole vocabulary."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import runs

from spacy_elmo.pretraining.data.vocabulary import Vocabulary
from spacy_elmo.pretraining.output.model_folder import VOCABULARY

ONE_STEP = {"max_steps": 1, "eval_frequency": 0}


def test_its_loss_and_gradient_are_those_of_the_full_softmax(tmp_path: Path) -> None:
    """However many tries the draw took."""
    texts = runs.make_texts(tmp_path / "texts")
    full = runs.run(
        texts, tmp_path / "full", softmax={"type": "full"}, training=ONE_STEP
    )
    words = Vocabulary.read(full / "model-last" / VOCABULARY)
    chosen = {"type": "sampled", "n_samples": len(words)}
    found = runs.run(texts, tmp_path / "all", softmax=chosen, training=ONE_STEP)
    ours, theirs = runs.log(found, "train")[0], runs.log(full, "train")[0]
    for name in ("forward_loss", "backward_loss", "grad_norm"):
        assert ours[name] == pytest.approx(theirs[name], rel=1e-5), name
    fewer = {**chosen, "n_samples": len(words) - 1}
    other = runs.run(texts, tmp_path / "fewer", softmax=fewer, training=ONE_STEP)
    line = runs.log(other, "train")[0]
    assert line["loss"] != pytest.approx(theirs["loss"], rel=1e-3)
