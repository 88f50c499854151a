"""When an unfrozen biLM takes its step."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from helpers.pipelines import LISTENER, docs_of, examples, same_numbers, trainable
from spacy.language import Language
from spacy.training import Example
from thinc.api import Adam, Optimizer

from spacy_elmo import BiLM


def with_answers(weights: Path, *heads: str) -> tuple[Language, Optimizer]:
    """A pipeline whose heads' first answers are not 0, and an optimizer that moves
    nothing without a gradient."""
    nlp = trainable(dict.fromkeys(heads, LISTENER), weights, elmo={"frozen": False})
    weight = nlp.get_pipe("tagger").model.get_ref("softmax").get_param("W")
    weight += np.linspace(-0.1, 0.1, weight.size).reshape(weight.shape)
    return nlp, Adam(0.01, L2=0.0)


def changed(nlp: Language, bilm: BiLM) -> set[bool]:
    """Of its parameters."""
    same = same_numbers(nlp.get_pipe("elmo").bilm, bilm)
    return {not one for one in same.values()}


def has_gradients(nlp: Language) -> bool:
    parameters = nlp.get_pipe("elmo").bilm.parameters()
    return any(p.grad is not None and bool(p.grad.any()) for p in parameters)


@pytest.mark.parametrize("heads", [("tagger",), ("tagger", "ner")])
def test_unfrozen_learns_from_a_batch_at_once(
    weights: Path, tiny_bilm: BiLM, heads: tuple[str, ...]
) -> None:
    """nlp.update ends with each component, by `finish_update`, before the next one
    begins: the heads answer after that."""
    nlp, sgd = with_answers(weights, *heads)
    nlp.update(examples(nlp), sgd=sgd)
    assert changed(nlp, tiny_bilm) == {True}
    assert not has_gradients(nlp)


def test_the_last_of_several_batches_is_not_answered(
    weights: Path, tiny_bilm: BiLM
) -> None:
    """As `spacy train` steps with accumulate_gradient = 2, where the second batch has
    nothing that the head learns from."""
    nlp, sgd = with_answers(weights, "tagger")
    unannotated = [Example(doc, doc.copy()) for doc in docs_of(nlp, "he sat")]
    nlp.update(examples(nlp), sgd=False)
    nlp.get_pipe("elmo").update(unannotated)
    assert changed(nlp, tiny_bilm) == {False}
    for _, component in nlp.pipeline:
        component.finish_update(sgd)
    assert changed(nlp, tiny_bilm) == {True}
    assert not has_gradients(nlp)


def test_a_batch_that_nobody_answers_changes_nothing(
    weights: Path, tiny_bilm: BiLM
) -> None:
    nlp, sgd = with_answers(weights, "tagger")
    elmo = nlp.get_pipe("elmo")
    unannotated = [Example(doc, doc.copy()) for doc in docs_of(nlp, "he sat")]
    for _ in range(2):
        elmo.update(unannotated, sgd=sgd)
        elmo.finish_update(sgd)
    assert changed(nlp, tiny_bilm) == {False}
    nlp.update(examples(nlp), sgd=sgd)
    assert changed(nlp, tiny_bilm) == {True}


def test_the_optimizer_does_not_stay_with_the_component(weights: Path) -> None:
    """It holds twice as many numbers as the biLM."""
    nlp, sgd = with_answers(weights, "tagger")
    elmo = nlp.get_pipe("elmo")
    nlp.update(examples(nlp), sgd=sgd)
    assert elmo._gradients is not None
    assert elmo._gradients._callback is None
    size = len(pickle.dumps(elmo))
    elmo._gradients = None
    assert size - len(pickle.dumps(elmo)) < 10_000
