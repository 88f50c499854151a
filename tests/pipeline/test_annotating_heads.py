"""Heads as annotating_components and in nlp.rehearse."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
from helpers.pipelines import LISTENER, docs_of, examples, parameters, train, trainable
from spacy.language import Language

from spacy_elmo.layers.elmo_model import get_bilm
from spacy_elmo.layers.listener import is_listener


def _heads(weights: Path, frozen: bool = True) -> Language:
    heads = {"tagger": LISTENER, "ner": LISTENER}
    return trainable(heads, weights, elmo={"frozen": frozen})


@pytest.mark.parametrize("frozen", [True, False])
def test_annotating_head(weights: Path, frozen: bool) -> None:
    """It predicts the docs of the last update, which does not change its training."""
    start, histories = _heads(weights, frozen), []
    for annotates in ([], ["tagger"]):
        nlp = _heads(weights, frozen)  # seeds the random numbers too
        for name in nlp.pipe_names:
            nlp.get_pipe(name).from_bytes(start.get_pipe(name).to_bytes())
        histories.append(
            [step["tagger"] for step in train(nlp, 5, annotates=annotates)]
        )
    alone, together = histories
    assert together == pytest.approx(alone, rel=1e-4)
    assert together[-1] < together[0]
    before, after = (
        parameters(get_bilm(each.get_pipe("elmo").model)) for each in (start, nlp)
    )
    same = [np.array_equal(before[name], after[name]) for name in before]
    assert all(same) if frozen else not any(same)


@pytest.mark.parametrize("heads", [("tagger",), ("ner",), ("tagger", "ner")])
def test_rehearsal(weights: Path, heads: tuple[str, ...]) -> None:
    nlp = _heads(weights)
    train(nlp, 3)
    sgd = nlp.resume_training()
    for name in ("tagger", "ner"):
        if name not in heads:
            nlp.disable_pipe(name)
    losses = nlp.rehearse(examples(nlp), sgd=sgd, losses={})
    assert set(heads) <= set(losses)


def test_deep_copy_of_a_pipeline(weights: Path) -> None:
    nlp = _heads(weights)
    copied = copy.deepcopy(nlp)
    (listener,) = filter(is_listener, copied.get_pipe("tagger").model.walk())
    assert listener.attrs["state"].compute.__self__ is copied.get_pipe("elmo")
    docs = docs_of(copied, "She sat on the bank .")
    assert copied.get_pipe("elmo").predict(docs)[0].any()
