"""ElmoListener.v1: the sources of its layers, and errors if there are none."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
from helpers.pipelines import (
    LISTENER,
    blank,
    docs_of,
    examples,
    mixes,
    train,
    trainable,
)
from numpy.testing import assert_allclose
from spacy import registry
from spacy.language import Language
from spacy.tokens import Doc

from spacy_elmo.layers.doc_layers import get_layers, set_layers
from spacy_elmo.layers.listener import (
    ListenerState,
    ReceivedBatch,
    build_elmo_listener_v1,
    is_listener,
)


@pytest.fixture
def docs() -> list[Doc]:
    """Docs with layers, as after the elmo component."""
    rng = np.random.default_rng(0)
    made = docs_of(spacy.blank("en"), "a b c", "", "d e")
    for doc in made:
        set_layers(doc, rng.normal(size=(3, len(doc), 4)).astype("float32"))
    return made


def test_is_registered() -> None:
    build = registry.get("architectures", "spacy_elmo.ElmoListener.v1")
    assert build is build_elmo_listener_v1
    assert is_listener(build())
    assert not is_listener(build().layers[0])


def test_mixes_the_layers_on_the_docs(docs: list[Doc]) -> None:
    listener = build_elmo_listener_v1()
    listener.initialize(X=docs)
    assert listener.get_dim("nO") == 4
    for output, doc in zip(listener.predict(docs), docs):
        assert_allclose(output, get_layers(doc).mean(axis=0), atol=1e-6)


@pytest.mark.parametrize(("mix", "layer"), [("top", 2), ([0.0, 3.0, 0.0], 1)])
def test_settings_reach_the_mix(docs: list[Doc], mix: Any, layer: int) -> None:
    listener = build_elmo_listener_v1(mix=mix, dropout=0.25, l2=0.1, layer_norm=False)
    factor = 1 if mix == "top" else 3
    listener.initialize(X=docs)
    assert_allclose(
        listener.predict(docs)[0], factor * get_layers(docs[0])[layer], atol=1e-5
    )
    (inner,) = mixes(listener)
    assert (inner.attrs["settings"].dropout, inner.attrs["settings"].l2) == (0.25, 0.1)


def test_width(docs: list[Doc]) -> None:
    assert build_elmo_listener_v1(width=4).get_dim("nO") == 4
    assert not build_elmo_listener_v1().has_dim("nO")
    with pytest.raises(ValueError, match=r"expected 6 values per token.*found 4"):
        build_elmo_listener_v1(width=6).initialize(X=docs)


def test_update_uses_the_received_batch(docs: list[Doc]) -> None:
    listener = build_elmo_listener_v1()
    listener.initialize(X=docs)
    sent = {id(doc): 5 * get_layers(doc) for doc in docs}
    answers: list[dict[int, np.ndarray]] = []
    batch = ReceivedBatch.of(docs, list(sent.values()), answers.append)
    listener.attrs["state"].received = batch
    outputs, backprop = listener.begin_update(docs)
    assert_allclose(outputs[0], 5 * get_layers(docs[0]).mean(axis=0), atol=1e-5)
    assert backprop([np.ones_like(output) for output in outputs]) == []
    (answer,) = answers
    assert set(answer) == set(sent)
    assert_allclose(answer[id(docs[0])], np.full((3, 3, 4), 1 / 3), atol=1e-6)
    assert_allclose(listener.predict(docs)[0], outputs[0] / 5, atol=1e-5)


def test_update_on_a_part_of_the_batch(docs: list[Doc]) -> None:
    """As in a head that skips docs without annotation."""
    listener = build_elmo_listener_v1()
    listener.initialize(X=docs)
    answers: list[dict[int, np.ndarray]] = []
    sent = {id(doc): get_layers(doc) for doc in docs}
    batch = ReceivedBatch.of(docs, list(sent.values()), answers.append)
    listener.attrs["state"].received = batch
    outputs, backprop = listener.begin_update(docs[2:])
    backprop([np.ones_like(output) for output in outputs])
    assert [set(answer) for answer in answers] == [{id(docs[2])}]


def test_update_on_docs_that_were_not_received(docs: list[Doc]) -> None:
    listener = build_elmo_listener_v1()
    listener.initialize(X=docs)
    answers: list[Any] = []
    batch = ReceivedBatch.of(docs[:1], [5 * get_layers(docs[0])], answers.append)
    listener.attrs["state"].received = batch
    outputs, backprop = listener.begin_update(docs)
    assert_allclose(outputs[0], get_layers(docs[0]).mean(axis=0), atol=1e-5)
    backprop([np.ones_like(output) for output in outputs])
    assert answers == []
    assert np.abs(mixes(listener)[0].get_grad("gamma")).max() > 0


def test_prediction_without_layers_is_an_error(docs: list[Doc]) -> None:
    listener = build_elmo_listener_v1(upstream="wanted")
    listener.initialize(X=docs)
    bare = docs_of(spacy.blank("en"), "nothing here")
    with pytest.raises(ValueError, match=r"found none on 'nothing here '") as caught:
        listener.predict([*docs, *bare])
    for advice in ("'wanted'", "disable", "exclude"):
        assert advice in str(caught.value)


def test_empty_doc_needs_no_layers(docs: list[Doc]) -> None:
    listener = build_elmo_listener_v1()
    listener.initialize(X=docs)
    outputs = listener.predict([Doc(docs[0].vocab, words=[])])
    assert outputs[0].shape == (0, 4)


@pytest.mark.parametrize("upstream", ["*", "other"])
def test_without_a_component(upstream: str) -> None:
    tok2vec = {**LISTENER, "upstream": upstream}
    nlp = blank({"tagger": tok2vec}, elmo=None)
    with pytest.raises(ValueError, match="expected an elmo component before it") as e:
        nlp.initialize(lambda: examples(nlp))
    assert ("'other'" if upstream == "other" else "any") in str(e.value)
    assert "spacy_elmo.ElmoTok2Vec.v1" in str(e.value)


def test_unknown_upstream(weights: Path) -> None:
    tok2vec = {**LISTENER, "upstream": "elmo2"}
    with pytest.raises(ValueError, match=r"\(here: 'elmo2'\), found none"):
        trainable({"tagger": tok2vec}, weights)


def test_component_after_its_listener(weights: Path) -> None:
    with pytest.raises(ValueError, match="expected an elmo component before it"):
        trainable({"tagger": LISTENER, "elmo": {"factory": "elmo"}}, weights, elmo=None)


@pytest.mark.parametrize("upstream", ["*", "elmo", "embeddings"])
def test_upstream(weights: Path, upstream: str) -> None:
    name = "elmo" if upstream == "*" else upstream
    nlp = blank(
        {
            name: {"factory": "elmo"},
            "tagger": {**LISTENER, "upstream": upstream},
            "ner": {**LISTENER, "upstream": "*"},
        },
        elmo=None,
    )
    assert nlp.get_pipe(name).listening_components == ["tagger", "ner"]
    assert len(nlp.get_pipe(name).listeners) == 2


def test_missing_layers_are_computed_in_training(weights: Path) -> None:
    """As with frozen_components = ["elmo"]."""
    nlp = trainable({"tagger": LISTENER}, weights)
    listener = nlp.get_pipe("tagger").model.get_ref("tok2vec")
    docs = docs_of(nlp, "a b c")
    outputs, _ = listener.begin_update(docs)
    expected = nlp.get_pipe("elmo").predict(docs)[0].mean(axis=0)
    # Training layers are rounded to float16.
    assert_allclose(outputs[0], expected, rtol=1e-3, atol=1e-3)


def test_retokenized_docs_without_a_component(docs: list[Doc]) -> None:
    listener = build_elmo_listener_v1()
    listener.initialize(X=docs)
    with docs[0].retokenize() as retokenizer:
        retokenizer.merge(docs[0][:2])
    with pytest.raises(ValueError, match=r"expected.*2 tokens, found layers of 3"):
        listener.predict(docs)


def merging(weights: Path, **elmo: Any) -> Language:
    """A tagger behind a component that merges "river bank"."""
    nlp = trainable(
        {
            "entity_ruler": {"factory": "entity_ruler"},
            "merge_entities": {"factory": "merge_entities"},
            "tagger": LISTENER,
        },
        weights,
        elmo=elmo,
    )
    pattern = {"label": "GPE", "pattern": "river bank"}
    nlp.get_pipe("entity_ruler").add_patterns([pattern])
    return nlp


def test_tokens_merged_after_the_component(weights: Path) -> None:
    """As by merge_entities: the layers of the new tokens are computed, also in a worker
    process, which unpickles the pipeline."""
    nlp = merging(weights)
    for each in (nlp, pickle.loads(pickle.dumps(nlp)), copy.deepcopy(nlp)):
        doc = each("the river bank")
        assert [token.text for token in doc] == ["the", "river bank"]
        assert doc[1].tag_
        assert doc._.elmo.layers.shape == (3, 2, 16)


def test_tokens_merged_in_training(weights: Path) -> None:
    merges = ["entity_ruler", "merge_entities"]
    nlp = merging(weights)
    losses = train(nlp, 3, annotates=merges)
    assert losses[-1]["tagger"] < losses[0]["tagger"]
    with pytest.raises(ValueError, match="frozen = true"):
        train(merging(weights, frozen=False), 1, annotates=merges)


def test_copies_are_not_connected(docs: list[Doc]) -> None:
    listener = build_elmo_listener_v1()
    listener.initialize(X=docs)
    listener.attrs["state"].compute = lambda docs: []
    for copied in (listener.copy(), pickle.loads(pickle.dumps(listener))):
        assert copied.attrs["state"].compute is None
        assert_allclose(copied.predict(docs)[0], listener.predict(docs)[0])
    assert copy.deepcopy(ListenerState()).received is None


def test_bytes_round_trip(docs: list[Doc]) -> None:
    listener = build_elmo_listener_v1()
    listener.initialize(X=docs)
    mixes(listener)[0].set_param("scalars", np.asarray([1.0, 2, 3], dtype="float32"))
    other = build_elmo_listener_v1().from_bytes(listener.to_bytes())
    assert_allclose(other.predict(docs)[0], listener.predict(docs)[0])
    assert other.get_dim("nO") == 4
