"""Training with elmo among the [training] frozen_components."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.pipelines import (
    CONCAT,
    LISTENER,
    mixes,
    same_numbers,
    spied,
    train,
    trainable,
)
from spacy.language import Language

from spacy_elmo import BiLM


def _learned(nlp: Language, head: str) -> np.ndarray:
    return mixes(nlp.get_pipe(head).model)[0].get_param("scalars").copy()


@pytest.mark.parametrize("annotating", [True, False])
def test_frozen_components(
    weights: Path, tiny_bilm: BiLM, annotating: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With and without elmo among the annotating_components."""
    nlp = trainable({"tagger": CONCAT}, weights)
    elmo = nlp.get_pipe("elmo")
    updates: list[Any] = []
    monkeypatch.setattr(elmo, "update", spied(elmo.update, updates))
    annotates = ["elmo"] if annotating else []
    history = train(nlp, 20, exclude=["elmo"], annotates=annotates)
    assert not updates
    assert "elmo" not in history[0]
    assert history[-1]["tagger"] < 0.5 * history[0]["tagger"]
    assert np.abs(_learned(nlp, "tagger")).min() > 0
    assert all(same_numbers(elmo.bilm, tiny_bilm).values())


def test_each_sentence_is_read_once(weights: Path) -> None:
    """In all epochs and evaluations, as with the setting frozen = true."""
    nlp = trainable({"tagger": LISTENER}, weights)
    sentences: list[Any] = []
    bilm = nlp.get_pipe("elmo").bilm
    bilm.register_forward_pre_hook(lambda module, inputs: sentences.extend(inputs[0]))
    counts = []
    for _ in range(3):
        for use in (lambda: train(nlp, 1, exclude=["elmo"]), lambda: nlp("New .")):
            use()
            counts.append(len(sentences))
            sentences.clear()
    assert counts == [4, 1, 0, 0, 0, 0]


def test_equals_the_setting_frozen(weights: Path) -> None:
    found = []
    for settings in ({}, {"exclude": ["elmo"]}, {"annotates": ["elmo"]}):
        nlp = trainable({"tagger": {**LISTENER, "dropout": 0.0}}, weights)
        train(nlp, 5, **settings)
        found.append(_learned(nlp, "tagger"))
    np.testing.assert_allclose(found[0], found[1], rtol=1e-3)
    np.testing.assert_allclose(found[0], found[2], rtol=1e-4)
