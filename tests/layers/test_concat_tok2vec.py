"""ElmoConcatTok2Vec.v1: ELMo next to the head's embedding and after its encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.pipelines import (
    CONCAT,
    CONCAT_TWICE,
    EMBED,
    ENCODE,
    LISTENER,
    blank,
    docs_of,
    examples,
    mixes,
    own_bilm,
    train,
    trainable,
)
from numpy.testing import assert_allclose
from spacy import registry
from thinc.api import Model

from spacy_elmo.layers.concat_tok2vec import build_elmo_concat_tok2vec_v1


def _build(config: dict[str, Any]) -> Model:
    return registry.resolve({"tok2vec": config})["tok2vec"]


def test_is_registered() -> None:
    build = registry.get("architectures", "spacy_elmo.ElmoConcatTok2Vec.v1")
    assert build is build_elmo_concat_tok2vec_v1


def test_width_and_refs() -> None:
    tok2vec = _build(CONCAT)
    assert tok2vec.get_dim("nO") == 12
    assert tok2vec.get_ref("elmo").name == "elmo_listener"
    assert not tok2vec.has_ref("output_elmo")
    twice = _build(CONCAT_TWICE)
    assert twice.get_ref("output_elmo") is not twice.get_ref("elmo")


@pytest.mark.parametrize(("config", "width"), [(CONCAT, 12), (CONCAT_TWICE, 28)])
def test_output_width(weights: Path, config: dict[str, Any], width: int) -> None:
    nlp = trainable({"tagger": config}, weights)
    tok2vec = nlp.get_pipe("tagger").model.get_ref("tok2vec")
    assert tok2vec.get_dim("nO") == width
    docs = list(nlp.pipe(["She sat on the bank .", "", "He"]))
    assert [a.shape for a in tok2vec.predict(docs)] == [
        (6, width),
        (0, width),
        (1, width),
    ]


def test_without_an_embedding(weights: Path) -> None:
    nlp = trainable({"tagger": {**CONCAT, "embed": None}}, weights)
    tok2vec = nlp.get_pipe("tagger").model.get_ref("tok2vec")
    assert not tok2vec.has_ref("embed")
    train(nlp, 2)
    doc = nlp("She sat on the bank .")
    assert tok2vec.predict([doc])[0].shape == (6, 12)
    tok2vec.get_ref("elmo").layers[0].set_param("gamma", np.zeros(1, dtype="float32"))
    rows = tok2vec.predict([doc])[0]
    assert_allclose(rows[2], rows[3], atol=1e-6)


def test_output_elmo_is_the_mix(weights: Path) -> None:
    nlp = trainable({"tagger": CONCAT_TWICE}, weights)
    tok2vec = nlp.get_pipe("tagger").model.get_ref("tok2vec")
    doc = nlp("She sat on the bank .")
    expected = doc._.elmo.layers.mean(axis=0)
    assert_allclose(tok2vec.predict([doc])[0][:, 12:], expected, atol=1e-5)


def test_elmo_reaches_the_encoder(weights: Path) -> None:
    """The output depends on both parts of the input."""
    nlp = trainable({"tagger": CONCAT}, weights)
    tok2vec = nlp.get_pipe("tagger").model.get_ref("tok2vec")
    doc = nlp("She sat on the bank .")
    before = tok2vec.predict([doc])[0]
    tok2vec.get_ref("elmo").layers[0].set_param("gamma", np.zeros(1, dtype="float32"))
    without_elmo = tok2vec.predict([doc])[0]
    assert np.abs(before - without_elmo).max() > 1e-3
    for node in tok2vec.get_ref("embed").walk():
        if node.has_param("E"):
            node.set_param("E", node.get_param("E") * 0)
    assert np.abs(tok2vec.predict([doc])[0] - without_elmo).max() > 1e-3


def test_both_mixes_and_the_embedding_learn(weights: Path) -> None:
    nlp = trainable({"tagger": CONCAT_TWICE}, weights)
    model = nlp.get_pipe("tagger").model
    embedding = next(node for node in model.walk() if node.has_param("E"))
    before = embedding.get_param("E").copy()
    train(nlp, 5)
    first, second = mixes(model)
    for mix in (first, second):
        assert np.abs(mix.get_param("scalars")).max() > 0
        assert mix.get_param("gamma")[0] != 1.0
    assert not np.array_equal(first.get_param("scalars"), second.get_param("scalars"))
    assert not np.array_equal(before, embedding.get_param("E"))


def test_elmo_tok2vec_inside(weights: Path) -> None:
    nlp = trainable({"tagger": {**CONCAT, "elmo": own_bilm(weights)}}, weights)
    train(nlp, 2)
    tok2vec = nlp.get_pipe("tagger").model.get_ref("tok2vec")
    assert tok2vec.predict(docs_of(nlp, "a b c"))[0].shape == (3, 12)


@pytest.mark.parametrize("config", [CONCAT, CONCAT_TWICE])
def test_embedding_with_static_vectors(weights: Path, config: dict[str, Any]) -> None:
    nlp = blank(
        {"tagger": {**config, "embed": {**EMBED, "include_static_vectors": True}}},
        weights,
    )
    nlp.vocab.set_vector("bank", np.ones(5, dtype="float32"))
    nlp.initialize(lambda: examples(nlp))
    assert np.isfinite([loss["tagger"] for loss in train(nlp, 2)]).all()


def test_width_is_known_if_those_of_the_parts_are() -> None:
    twice = {**CONCAT_TWICE, "output_elmo": {**LISTENER, "width": 16}}
    assert _build(twice).get_dim("nO") == 28
    assert not _build(CONCAT_TWICE).has_dim("nO")


def test_encoder_of_unknown_width() -> None:
    embed, listener = _build(EMBED), _build(LISTENER)
    with pytest.raises(ValueError, match="encode: expected an encoder that knows"):
        build_elmo_concat_tok2vec_v1(embed, listener, Model("mystery", lambda: None))
    assert _build(ENCODE).get_dim("nO") == 12
