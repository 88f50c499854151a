"""Warning about heads that see other sentence boundaries in training than in use."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.pipelines import LISTENER, blank, examples, no_warnings
from spacy.language import Language
from spacy.training import Example


def _pipeline(weights: Path) -> Language:
    senter = {"factory": "sentencizer"}
    nlp = blank(
        {"senter": senter, "elmo": {"factory": "elmo"}, "tagger": LISTENER},
        weights,
        None,
    )
    nlp.initialize(lambda: examples(nlp))
    return nlp


def _examples(nlp: Language) -> list[Example]:
    words = ["She", "sat", ".", "He", "left", "."]
    tags = ["PRP", "VBD", "."] * 2
    doc = nlp.make_doc(" ".join(words))
    return [Example.from_dict(doc, {"words": words, "tags": tags})]


def test_warns_once(weights: Path) -> None:
    nlp = _pipeline(weights)
    nlp.update(_examples(nlp))
    with pytest.warns(UserWarning, match=r"(?s)'elmo'.*annotating_"):
        nlp.evaluate(_examples(nlp))
    with no_warnings():
        nlp.update(_examples(nlp))
        nlp.evaluate(_examples(nlp))


def test_no_warning_if_training_docs_have_boundaries(weights: Path) -> None:
    with no_warnings():
        nlp = _pipeline(weights)
        nlp.update(_examples(nlp), annotates=["senter"])
        nlp.evaluate(_examples(nlp))


def test_no_warning_if_docs_are_single_sentences(weights: Path) -> None:
    with no_warnings():
        nlp = _pipeline(weights)
        nlp.update(examples(nlp))
        nlp.evaluate(examples(nlp))
