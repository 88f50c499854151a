"""ElmoTok2Vec.v1: a biLM inside a head."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
import torch
from helpers.pipelines import (
    blank,
    docs_of,
    examples,
    expected_layers,
    mixes,
    own_bilm,
    same_numbers,
    spied,
    train,
)
from numpy.testing import assert_allclose
from spacy import registry
from spacy.language import Language
from thinc.api import Model

from spacy_elmo import BiLM
from spacy_elmo.layers.elmo_model import build_elmo_model_v1, get_bilm
from spacy_elmo.layers.tok2vec import build_elmo_tok2vec_v1, replace_listener_config
from spacy_elmo.layers.weight_loaders import pretrained_weights_v1


def _tagger(weights: Path | None, **settings: Any) -> Language:
    nlp = spacy.blank("en")
    model = {
        "@architectures": "spacy.Tagger.v2",
        "tok2vec": own_bilm(weights, **settings),
    }
    nlp.add_pipe("tagger", config={"model": model})
    return nlp


def _initialized(weights: Path, **settings: Any) -> Language:
    nlp = _tagger(weights, **settings)
    nlp.initialize(lambda: examples(nlp))
    return nlp


def _bilm_of(nlp: Language) -> BiLM:
    return get_bilm(nlp.get_pipe("tagger").model.get_ref("tok2vec").layers[0])


def _tok2vec(weights: Path, **settings: Any) -> Model:
    loader = pretrained_weights_v1(weights)
    return build_elmo_tok2vec_v1(build_elmo_model_v1(), loader, **settings)


def test_is_registered() -> None:
    build = registry.get("architectures", "spacy_elmo.ElmoTok2Vec.v1")
    assert build is build_elmo_tok2vec_v1


def test_weights_are_loaded_at_initialization(weights: Path, tiny_bilm: BiLM) -> None:
    tok2vec = _tok2vec(weights)
    docs = docs_of(spacy.blank("en"), "the river bank", "")
    with pytest.raises(ValueError, match="no weights yet"):
        tok2vec.predict(docs)
    tok2vec.initialize(X=docs)
    assert tok2vec.get_dim("nO") == 16
    first, second = tok2vec.predict(docs)
    expected = expected_layers(tiny_bilm, ["the", "river", "bank"]).mean(axis=0)
    assert_allclose(first, expected, atol=1e-5)
    assert second.shape == (0, 16)


def test_without_a_loader(weights: Path) -> None:
    nlp = _tagger(None)
    with pytest.raises(ValueError, match=r"for ElmoTok2Vec: its own block"):
        nlp.initialize(lambda: examples(nlp))


def test_frozen(
    weights: Path, tiny_bilm: BiLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    nlp = _initialized(weights)
    shim = nlp.get_pipe("tagger").model.get_ref("tok2vec").layers[0].layers[0].shims[0]
    calls: list[Any] = []
    monkeypatch.setattr(shim, "begin_update", spied(shim.begin_update, calls))
    train(nlp, 5)
    assert not calls
    assert all(same_numbers(_bilm_of(nlp), tiny_bilm).values())
    assert all(p.grad is None for p in _bilm_of(nlp).parameters())
    (mix,) = mixes(nlp.get_pipe("tagger").model)
    assert np.abs(mix.get_param("scalars")).max() > 0
    assert mix.get_param("gamma")[0] != 1.0


def test_unfrozen(weights: Path, tiny_bilm: BiLM) -> None:
    nlp = _initialized(weights, frozen=False)
    train(nlp, 5)
    changed = same_numbers(_bilm_of(nlp), tiny_bilm)
    assert not any(changed.values()), [name for name, same in changed.items() if same]


def test_unfrozen_gradients_equal_autograd(weights: Path, tiny_bilm: BiLM) -> None:
    tok2vec = _tok2vec(weights, frozen=False, mix=[0.2, 0.5, 2.0])
    docs = docs_of(spacy.blank("en"), "the river bank", "she sat")
    tok2vec.initialize(X=docs)
    outputs, backprop = tok2vec.begin_update(docs)
    rng = np.random.default_rng(0)
    d_outputs = [rng.normal(size=o.shape).astype("float32") for o in outputs]
    backprop(d_outputs)
    inner = get_bilm(tok2vec.layers[0])
    ours = {name: p.grad.clone() for name, p in inner.named_parameters()}
    inner.zero_grad()
    mixed = torch.tensordot(
        torch.tensor([0.2, 0.5, 2.0]),
        inner([["the", "river", "bank"], ["she", "sat"]]),
        dims=1,
    )
    mixed.backward(torch.from_numpy(np.concatenate(d_outputs)))
    for name, parameter in inner.named_parameters():
        torch.testing.assert_close(ours[name], parameter.grad, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("frozen", [True, False])
def test_loading_without_the_weight_file(
    weights: Path, tmp_path: Path, frozen: bool
) -> None:
    gone = tmp_path / "gone"
    shutil.copytree(weights, gone)
    nlp = _initialized(gone, frozen=frozen)
    train(nlp, 3)
    nlp.to_disk(tmp_path / "model")
    shutil.rmtree(gone)
    other = spacy.load(tmp_path / "model")
    tok2vecs = [n.get_pipe("tagger").model.get_ref("tok2vec") for n in (nlp, other)]
    docs = docs_of(nlp, "the river bank", "a b")
    for ours, theirs in zip(*(tok2vec.predict(docs) for tok2vec in tok2vecs)):
        # One has cached some of the words in other batches.
        assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
    assert all(same_numbers(_bilm_of(nlp), _bilm_of(other)).values())
    block = other.config["components"]["tagger"]["model"]["tok2vec"]
    assert block["frozen"] is frozen


def test_next_to_an_elmo_component(weights: Path) -> None:
    """It does not listen to the component."""
    nlp = blank({"tagger": own_bilm(weights)}, weights)
    nlp.initialize(lambda: examples(nlp))
    assert nlp.get_pipe("elmo").listeners == []
    with nlp.select_pipes(disable="elmo"):
        assert nlp("a b c")[0].tag_


def test_config_that_replaces_a_listener() -> None:
    listener = {
        "@architectures": "spacy_elmo.ElmoListener.v1",
        "upstream": "*",
        "mix": "learned",
        "dropout": 0.5,
    }
    elmo = {"@architectures": "spacy_elmo.ElmoModel.v1", "window": 7}
    for tok2vec in (listener, {"@architectures": "x", "deep": {"er": listener}}):
        assert replace_listener_config(elmo, tok2vec, frozen=False) == {
            "@architectures": "spacy_elmo.ElmoTok2Vec.v1",
            "model": elmo,
            "weights": None,
            "frozen": False,
            "mix": "learned",
            "dropout": 0.5,
        }
    with pytest.raises(ValueError, match="several with the same settings"):
        replace_listener_config(
            elmo, {"one": listener, "two": {**listener, "mix": "top"}}, frozen=True
        )
