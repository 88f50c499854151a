"""Serialization of pipelines: bytes, folders, source=, pickle."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
from helpers.pipelines import (
    CONCAT,
    CONCAT_TWICE,
    LISTENER,
    blank,
    docs_of,
    embedder,
    mixes,
    no_warnings,
    own_bilm,
    same_numbers,
    train,
    trainable,
)
from numpy.testing import assert_allclose, assert_array_equal
from spacy.language import Language

from spacy_elmo import BiLM
from spacy_elmo.formats import native
from spacy_elmo.formats.bundled import BUNDLED

TEXTS = ["She sat on the river bank .", "", "He left Paris with Ann Lee"]
HEADS = {"tagger": LISTENER, "ner": CONCAT_TWICE}


def _check_same(nlp: Language, other: Language) -> None:
    for one, two in zip(nlp.pipe(TEXTS), other.pipe(TEXTS)):
        # A trained pipeline caches layers, which changes its batches, and thereby the
        # order of additions.
        assert_allclose(one._.elmo.layers, two._.elmo.layers, rtol=1e-4, atol=1e-5)
        assert_allclose(one.vector, two.vector, rtol=1e-4, atol=1e-5)
        assert [t.tag_ for t in one] == [t.tag_ for t in two]
        assert [(e.text, e.label_) for e in one.ents] == [
            (e.text, e.label_) for e in two.ents
        ]


@pytest.fixture(scope="module")
def trained(weights: Path) -> Language:
    nlp = trainable(HEADS, weights)
    train(nlp, 15)
    assert nlp(TEXTS[2]).ents
    return nlp


def test_to_bytes_and_back(trained: Language) -> None:
    with no_warnings():
        data = trained.to_bytes()
        other = blank(HEADS)
        other.from_bytes(data)
    _check_same(trained, other)
    assert other.to_bytes() == data


def test_bytes_are_deterministic(trained: Language, weights: Path) -> None:
    assert trained.to_bytes() == trained.to_bytes()
    before = trained.to_bytes(exclude=["vocab"])
    list(trained.pipe(TEXTS))
    assert trained.to_bytes(exclude=["vocab"]) == before


def test_to_disk_and_load(trained: Language, tmp_path: Path) -> None:
    with no_warnings():
        trained.to_disk(tmp_path)
        other = spacy.load(tmp_path)
    _check_same(trained, other)
    assert other.get_pipe("elmo").frozen
    for name in HEADS:
        pairs = zip(
            mixes(trained.get_pipe(name).model), mixes(other.get_pipe(name).model)
        )
        for one, two in pairs:
            for parameter in ("scalars", "gamma"):
                assert_array_equal(one.get_param(parameter), two.get_param(parameter))


def test_loaded_pipeline_can_be_stored_and_trained(
    trained: Language, tmp_path: Path
) -> None:
    trained.to_disk(tmp_path / "one")
    once = spacy.load(tmp_path / "one")
    once.to_disk(tmp_path / "two")
    twice = spacy.load(tmp_path / "two")
    _check_same(once, twice)
    assert len(twice.get_pipe("elmo").listeners) == 3
    losses = train(twice, 3)
    assert np.isfinite([loss["tagger"] for loss in losses]).all()


@pytest.mark.parametrize(
    "changes",
    [
        {"n_layers": 1},
        {"n_layers": 4, "projection_dim": 5, "dim": 5},
        {"n_highway": 0, "activation": "tanh", "use_skip_connections": False},
        {"max_characters_per_token": 12, "cell_clip": None},
    ],
)
def test_sizes_come_with_the_weights(
    tiny_config: Any, tmp_path: Path, changes: dict[str, Any]
) -> None:
    """They are not in the pipeline's config."""
    bilm = BiLM(tiny_config.replace(**changes))
    nlp = embedder(bilm, mix="top")
    nlp.to_disk(tmp_path)
    other = spacy.load(tmp_path)
    _check_same(nlp, other)
    assert other.get_pipe("elmo").bilm.config == bilm.config


def test_settings_are_kept(bilm: BiLM, tmp_path: Path) -> None:
    model = {"@architectures": "spacy_elmo.ElmoModel.v1", "window": 2}
    settings = {"frozen": False, "mix": [1.0, 0.0, 2.0], "set_tensor": False}
    nlp = embedder(bilm, model=model, keep_on_cpu=True, **settings)
    nlp.to_disk(tmp_path)
    other = spacy.load(tmp_path)
    _check_same(nlp, other)
    elmo = other.get_pipe("elmo")
    assert (elmo.frozen, elmo.mix, elmo.set_tensor) == (False, [1.0, 0.0, 2.0], False)


def test_config_overrides_on_load(bilm: BiLM, tmp_path: Path) -> None:
    """They take precedence over stored settings."""
    embedder(bilm).to_disk(tmp_path)
    changes = {"components.elmo.model.window": 2, "components.elmo.mix": "top"}
    other = spacy.load(tmp_path, config=changes)
    model = {"@architectures": "spacy_elmo.ElmoModel.v1", "window": 2}
    _check_same(embedder(bilm, model=model, mix="top"), other)


def test_no_pickle_is_written(trained: Language, tmp_path: Path) -> None:
    """The biLM is stored as safetensors in the model file."""
    trained.to_disk(tmp_path)
    bilm = trained.get_pipe("elmo").bilm
    data = (tmp_path / "elmo" / "model").read_bytes()
    safetensors = native.to_bytes(bilm)
    assert safetensors in data
    names = [path.name for path in tmp_path.rglob("*") if path.is_file()]
    assert not [name for name in names if name.endswith((".pkl", ".pickle", ".pt"))]
    for path in tmp_path.rglob("*"):
        if path.is_file() and path.parent.name in HEADS | {"elmo": None}:
            content = path.read_bytes()
            assert b"torch._utils" not in content
            assert b"PK\x03\x04" not in content
            assert not content.startswith(b"\x80") or path.name in ("model", "moves")


def test_uninitialized_pipeline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BUNDLED, "md", tmp_path / "none")
    nlp = blank(HEADS)
    with no_warnings():
        data = nlp.to_bytes()
        other = blank(HEADS).from_bytes(data)
        nlp.to_disk(tmp_path)
        loaded = spacy.load(tmp_path)
    for empty in (other, loaded):
        with pytest.raises(ValueError, match="no weights yet"):
            empty("a b")


def test_source_of_component_and_head(trained: Language) -> None:
    expected = [[t.tag_ for t in doc] for doc in trained.pipe(TEXTS)]
    other = spacy.blank("en")
    with no_warnings():
        other.add_pipe("elmo", source=trained)
        other.add_pipe("tagger", source=trained)
        docs = list(other.pipe(TEXTS))
    assert [[t.tag_ for t in doc] for doc in docs] == expected
    assert other.get_pipe("elmo").listening_components == ["tagger"]


def test_source_of_a_stored_pipeline(trained: Language, tmp_path: Path) -> None:
    """Training it does not change the original pipeline."""
    trained.to_disk(tmp_path)
    before = trained.get_pipe("tagger").model.to_bytes()
    source = spacy.load(tmp_path)
    other = spacy.blank("en")
    other.add_pipe("elmo", source=source)
    other.add_pipe("tagger", source=source)
    other.add_pipe("ner", source=source)
    other.resume_training()
    train(other, 2)
    other.to_disk(tmp_path / "other")
    _check_same(other, spacy.load(tmp_path / "other"))
    assert trained.get_pipe("tagger").model.to_bytes() == before


def test_source_of_a_head_alone(trained: Language, bilm: BiLM) -> None:
    other = embedder(bilm)
    other.add_pipe("tagger", source=trained)
    assert other.get_pipe("elmo").listening_components == ["tagger"]
    tags = [[t.tag_ for t in doc] for doc in trained.pipe(TEXTS)]
    assert [[t.tag_ for t in doc] for doc in other.pipe(TEXTS)] == tags


def test_pickle_of_a_pipeline(trained: Language) -> None:
    with no_warnings():
        other = pickle.loads(pickle.dumps(trained))
    _check_same(trained, other)


def test_unpickled_pipeline_can_be_trained(weights: Path) -> None:
    """Its heads listen to its own component."""
    nlp = trainable(HEADS, weights, elmo={"frozen": False})
    other = pickle.loads(pickle.dumps(nlp))
    train(other, 4)
    elmo = other.get_pipe("elmo")
    assert not any(same_numbers(elmo.bilm, nlp.get_pipe("elmo").bilm).values())


def test_heads_with_elmo_tok2vec(weights: Path, tmp_path: Path) -> None:
    heads = {
        "tagger": own_bilm(weights),
        "ner": {**CONCAT, "elmo": own_bilm(weights, frozen=False)},
    }
    nlp = trainable(heads, elmo=None)
    train(nlp, 2)
    nlp.to_disk(tmp_path)
    other = spacy.load(tmp_path)
    for name in heads:
        docs = docs_of(nlp, *TEXTS)
        tok2vecs = [n.get_pipe(name).model.get_ref("tok2vec") for n in (nlp, other)]
        for one, two in zip(*(tok2vec.predict(docs) for tok2vec in tok2vecs)):
            assert_array_equal(one, two)
    assert [t.tag_ for t in nlp(TEXTS[0])] == [t.tag_ for t in other(TEXTS[0])]


def test_bilm_that_does_not_match_the_heads(
    trained: Language, tmp_path: Path, tiny_config: Any
) -> None:
    trained.to_disk(tmp_path)
    other = spacy.load(tmp_path)
    other.get_pipe("elmo").set_bilm(BiLM(tiny_config.replace(projection_dim=6)))
    with pytest.raises(ValueError, match="The biLM is not the one that this head"):
        other(TEXTS[0])


def test_config_overrides_of_a_listener(weights: Path, tmp_path: Path) -> None:
    """They take precedence over the stored settings."""
    nlp = trainable({"tagger": {**LISTENER, "layer_norm": False}}, weights)
    nlp.to_disk(tmp_path)
    key = "components.tagger.model.tok2vec"
    changes = {f"{key}.layer_norm": True, "components.elmo.model.window": 2}
    other = spacy.load(tmp_path, config=changes)
    settings = [
        node.attrs["settings"]
        for node in other.get_pipe("tagger").model.walk()
        if node.name == "elmo_mix"
    ]
    assert [s.layer_norm for s in settings] == [True]
    text = "She sat on the river bank"
    assert not np.allclose(other(text)._.elmo.layers, nlp(text)._.elmo.layers)
