"""When an unfrozen biLM is updated."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.pipelines import LISTENER, docs_of, examples, same_numbers, trainable
from spacy.language import Language
from spacy.training import Example
from thinc.api import Adam, Optimizer

from spacy_elmo import BiLM


def pipeline_with_gradients(weights: Path, *heads: str) -> tuple[Language, Optimizer]:
    """Build a pipeline whose first gradients are not zero, and an optimizer that does
    not change parameters without a gradient."""
    nlp = trainable(dict.fromkeys(heads, LISTENER), weights, elmo={"frozen": False})
    weight = nlp.get_pipe("tagger").model.get_ref("softmax").get_param("W")
    weight += np.linspace(-0.1, 0.1, weight.size).reshape(weight.shape)
    return nlp, Adam(0.01, L2=0.0)


def changed(nlp: Language, bilm: BiLM) -> set[bool]:
    """For all parameters of the biLM, whether they have changed."""
    same = same_numbers(nlp.get_pipe("elmo").bilm, bilm)
    return {not one for one in same.values()}


def has_gradients(nlp: Language) -> bool:
    parameters = nlp.get_pipe("elmo").bilm.parameters()
    return any(p.grad is not None and bool(p.grad.any()) for p in parameters)


@pytest.mark.parametrize("heads", [("tagger",), ("tagger", "ner")])
def test_update_with_an_optimizer(
    weights: Path, tiny_bilm: BiLM, heads: tuple[str, ...]
) -> None:
    """nlp.update calls `finish_update` of each component before it updates the next, so
    gradients arrive after that."""
    nlp, sgd = pipeline_with_gradients(weights, *heads)
    nlp.update(examples(nlp), sgd=sgd)
    assert changed(nlp, tiny_bilm) == {True}
    assert not has_gradients(nlp)


def test_last_accumulated_batch_without_gradients(
    weights: Path, tiny_bilm: BiLM
) -> None:
    """As in `spacy train` with accumulate_gradient = 2, if the head learns nothing from
    the second batch."""
    nlp, sgd = pipeline_with_gradients(weights, "tagger")
    unannotated = [Example(doc, doc.copy()) for doc in docs_of(nlp, "he sat")]
    nlp.update(examples(nlp), sgd=False)
    nlp.get_pipe("elmo").update(unannotated)
    assert changed(nlp, tiny_bilm) == {False}
    for _, component in nlp.pipeline:
        component.finish_update(sgd)
    assert changed(nlp, tiny_bilm) == {True}
    assert not has_gradients(nlp)


def test_batch_without_gradients(weights: Path, tiny_bilm: BiLM) -> None:
    nlp, sgd = pipeline_with_gradients(weights, "tagger")
    elmo = nlp.get_pipe("elmo")
    unannotated = [Example(doc, doc.copy()) for doc in docs_of(nlp, "he sat")]
    for _ in range(2):
        elmo.update(unannotated, sgd=sgd)
        elmo.finish_update(sgd)
    assert changed(nlp, tiny_bilm) == {False}
    nlp.update(examples(nlp), sgd=sgd)
    assert changed(nlp, tiny_bilm) == {True}


def test_component_does_not_hold_the_optimizer(weights: Path) -> None:
    """It has twice as many numbers as the biLM."""
    nlp, optimizer = pipeline_with_gradients(weights, "tagger")

    def sgd(*args: Any, **kwargs: Any) -> Any:
        return optimizer(*args, **kwargs)

    reference = weakref.ref(sgd)
    nlp.update(examples(nlp), sgd=sgd)  # type: ignore[arg-type]
    del sgd
    gc.collect()
    assert reference() is None
