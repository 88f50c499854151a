"""Files written by version 0.1 load to the same numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Iterator

import numpy as np
import pytest
import spacy
from helpers.pipelines import no_warnings, same_numbers, train
from numpy.testing import assert_allclose
from spacy.language import Language
from spacy.tokens import Doc, DocBin
from spacy.vocab import Vocab

from spacy_elmo import load_bilm

STORED = Path(__file__).parent.parent / "data" / "v0_1"
TEXTS = ["She sat on the river bank .", "He left Paris"]
HEADS = ("tagger", "senter", "morphologizer")


@pytest.fixture(scope="module")
def expected() -> Iterator[dict[str, np.ndarray]]:
    with np.load(STORED / "expected.npz") as arrays:
        yield dict(arrays)


@pytest.fixture
def nlp() -> Language:
    """A tagger with a listener, a senter with ElmoConcatTok2Vec, and a morphologizer
    whose listener was replaced."""
    with no_warnings():
        return spacy.load(STORED / "pipeline")


def check_docs(docs: list[Doc], expected: dict[str, np.ndarray]) -> None:
    for i, doc in enumerate(docs):
        for name in ("layers", "vectors"):
            array = getattr(doc._.elmo, name)
            assert_allclose(array, expected[f"{name}{i}"], rtol=1e-5, atol=1e-5)
        assert_allclose(doc[2].vector, expected[f"vectors{i}"][2], rtol=1e-5, atol=1e-5)


def test_weights(nlp: Language) -> None:
    bilm = load_bilm(STORED / "weights")
    assert all(same_numbers(bilm, nlp.get_pipe("elmo").bilm).values())


def test_pipeline(nlp: Language, expected: dict[str, np.ndarray]) -> None:
    docs = list(nlp.pipe(TEXTS))
    check_docs(docs, expected)
    for name in HEADS:
        for i, scores in enumerate(nlp.get_pipe(name).model.predict(docs)):
            assert_allclose(scores, expected[f"{name}{i}"], rtol=1e-4, atol=1e-5)
    assert [token.tag_ for token in docs[1]] == ["NNP", "VBD", "NNP"]


def test_docbin(expected: dict[str, np.ndarray]) -> None:
    docbin = DocBin().from_disk(STORED / "docs.spacy")
    check_docs(list(docbin.get_docs(Vocab())), expected)


def test_pipeline_can_be_trained_and_stored_again(
    nlp: Language, tmp_path: Path
) -> None:
    losses = train(nlp, 2, rate=0.001)
    assert losses[1]["tagger"] < losses[0]["tagger"]
    nlp.to_disk(tmp_path)
    tags = [[token.tag_ for token in doc] for doc in nlp.pipe(TEXTS)]
    loaded = spacy.load(tmp_path)
    assert [[token.tag_ for token in doc] for doc in loaded.pipe(TEXTS)] == tags
