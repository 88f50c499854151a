"""The biLM as a Thinc layer. Its caches follow every change of the weights."""

from __future__ import annotations

import copy
from typing import Any, Callable

import numpy as np
import pytest
import spacy
import torch
from helpers.pipelines import own_bilm
from spacy.tokens import Doc
from thinc.api import Adam, Model

from spacy_elmo import BiLM
from spacy_elmo.layers import bilm_layer
from spacy_elmo.layers.elmo_model import (
    build_elmo_model_v1,
    get_bilm,
    set_bilm,
)
from spacy_elmo.layers.tok2vec import build_elmo_tok2vec_v1

SENTENCES = [["She", "sat", "on", "the", "bank"], ["He"], ["robbed", "it"]]


@pytest.fixture
def model(bilm: BiLM) -> Model:
    made = bilm_layer.build_torch_bilm(100, "float32", 1.0)
    made.shims[0].bilm = bilm
    return made


def fresh(bilm: BiLM) -> np.ndarray:
    made = BiLM(bilm.config, bilm.characters)
    made.load_state_dict(bilm.state_dict())
    return np.concatenate(made.encode(SENTENCES), axis=1)


def check_predict(model: Model) -> np.ndarray:
    """Check the output against a new biLM with the same weights."""
    found = model.predict(SENTENCES)
    expected = fresh(model.shims[0].bilm)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    return found


def update(model: Model, optimizer: Any) -> None:
    layers, backprop = model.begin_update(SENTENCES)
    backprop(layers)
    model.finish_update(optimizer)


def update_in_place(key: Any, weights: Any, gradient: Any) -> tuple[Any, Any]:
    weights -= 0.01 * np.sign(gradient)
    return weights, gradient


def update_copy(key: Any, weights: Any, gradient: Any) -> tuple[Any, Any]:
    return weights - 0.01 * np.sign(gradient), gradient


@pytest.mark.parametrize("optimizer", [Adam(0.01), update_in_place, update_copy])
def test_update(model: Model, optimizer: Any) -> None:
    before = check_predict(model)
    for _ in range(3):
        update(model, optimizer)
        after = check_predict(model)
        assert np.abs(after - before).max() > 1e-3
        before = after


def test_update_without_gradients_keeps_the_cache(model: Model) -> None:
    """For example, of a frozen biLM in a head that learns."""
    check_predict(model)
    bilm = model.shims[0].bilm
    kept = bilm.prepared
    assert kept is not None
    model.finish_update(Adam(0.01))
    check_predict(model)
    assert bilm.prepared is kept


def test_training_a_head_keeps_the_cache_of_its_frozen_bilm(bilm: BiLM) -> None:
    nlp = spacy.blank("en")
    docs = [Doc(nlp.vocab, words=words) for words in SENTENCES]
    elmo = build_elmo_model_v1()
    set_bilm(elmo, bilm)
    tok2vec = build_elmo_tok2vec_v1(elmo)
    tok2vec.initialize(X=docs)
    kept = bilm.prepared
    assert kept is not None
    for _ in range(3):
        outputs, backprop = tok2vec.begin_update(docs)
        backprop(outputs)
        tok2vec.finish_update(Adam(0.01))
    tok2vec.predict(docs)
    assert bilm.prepared is kept
    read: list[Any] = []
    bilm.register_forward_pre_hook(lambda module, inputs: read.append(inputs))
    tok2vec.begin_update(docs)
    assert read == []


@pytest.mark.parametrize("outside", [True, False])
def test_autocast_outside_has_no_effect(
    outside: bool, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with Thinc's own shim."""
    seen = []

    def forward(self: BiLM, *arguments: Any) -> torch.Tensor:
        seen.append(torch.is_autocast_enabled("cuda"))
        seen.append(torch.is_grad_enabled())
        return original(self, *arguments)

    original = BiLM.forward
    monkeypatch.setattr(BiLM, "forward", forward)
    before = torch.is_autocast_enabled("cuda")
    torch.set_autocast_enabled("cuda", outside)
    try:
        check_predict(model)
        assert torch.is_autocast_enabled("cuda") is outside
    finally:
        torch.set_autocast_enabled("cuda", before)
    assert seen[:2] == [False, False]


def test_averaged_weights(model: Model) -> None:
    plain = check_predict(model)
    optimizer = Adam(0.01, use_averages=True)
    for _ in range(3):
        update(model, optimizer)
    assert np.abs(check_predict(model) - plain).max() > 1e-3
    bilm, shim = model.shims[0].bilm, model.shims[0]
    learned = {name: p.detach().clone() for name, p in bilm.named_parameters()}
    averages = optimizer.averages
    assert averages is not None
    assert {(shim.id, name) for name in learned} == set(averages)
    latest = check_predict(model)
    for _ in range(2):
        with model.use_params(averages):
            for name, parameter in bilm.named_parameters():
                np.testing.assert_array_equal(
                    parameter.detach().numpy(), averages[shim.id, name]
                )
            assert np.abs(check_predict(model) - latest).max() > 1e-3
            stored = model.to_bytes()
        np.testing.assert_allclose(check_predict(model), latest, rtol=1e-5, atol=1e-6)
    for name, parameter in bilm.named_parameters():
        assert torch.equal(parameter, learned[name])
    model.from_bytes(stored)
    assert np.abs(check_predict(model) - latest).max() > 1e-3


def test_weights_are_restored_after_an_error(model: Model) -> None:
    update(model, optimizer := Adam(0.01, use_averages=True))
    latest = check_predict(model)
    with pytest.raises(KeyError), model.use_params(optimizer.averages or {}):
        raise KeyError
    np.testing.assert_array_equal(check_predict(model), latest)


@pytest.mark.parametrize("is_used", [True, False])
def test_bytes(model: Model, is_used: bool) -> None:
    """Into a layer that has none, or has cached words with other weights."""
    expected = check_predict(model)
    other = bilm_layer.build_torch_bilm(100, "float32", 2.0)
    if is_used:
        bilm = copy.deepcopy(model.shims[0].bilm)
        with torch.no_grad():
            bilm.forward_layers[0].bias.add_(1.0)
        other.shims[0].bilm = bilm
        assert np.abs(check_predict(other) - expected).max() > 1e-3
    other.from_bytes(model.to_bytes())
    np.testing.assert_array_equal(check_predict(other), expected)
    # This setting belongs to the layer, not to the bytes.
    assert other.shims[0].bilm.word_cache_mb == 2.0


def test_bytes_without_weights(model: Model) -> None:
    model.from_bytes(bilm_layer.build_torch_bilm(1, "float32", 1.0).to_bytes())
    assert model.shims[0].bilm is None


def test_setting_another_bilm(model: Model, tiny_bilm: BiLM) -> None:
    before = check_predict(model)
    other = copy.deepcopy(tiny_bilm)
    with torch.no_grad():
        other.backward_layers[1].weight_hh.mul_(-1)
    assert other.word_cache_mb == 64
    model.shims[0].bilm = other
    assert other.word_cache_mb == 1.0
    assert np.abs(check_predict(model) - before).max() > 1e-3


@pytest.mark.parametrize("way", [copy.deepcopy, Model.copy])
def test_copies_are_independent(model: Model, way: Callable[[Model], Model]) -> None:
    before = check_predict(model)
    other = way(model)
    bilm, own = other.shims[0].bilm, model.shims[0].bilm
    assert bilm is not own
    assert bilm.word_cache_mb == 1.0
    np.testing.assert_allclose(check_predict(other), before, rtol=1e-5, atol=1e-6)
    update(other, update_in_place)
    assert np.abs(check_predict(other) - before).max() > 1e-3
    np.testing.assert_array_equal(check_predict(model), before)
    for parameter in own.parameters():
        assert parameter.grad is None
    # Weights that are loaded into the copy get the copy's setting.
    other.shims[0].word_cache_mb = 0.5
    for wrapper, expected in ((other, 0.5), (model, 1.0)):
        wrapper.from_bytes(model.to_bytes())
        assert wrapper.shims[0].bilm.word_cache_mb == expected


@pytest.mark.parametrize("word_cache_mb", [0, 0.0005, 64])
def test_word_cache_mb(tiny_bilm: BiLM, word_cache_mb: float) -> None:
    model = build_elmo_model_v1(word_cache_mb=word_cache_mb)
    set_bilm(model, copy.deepcopy(tiny_bilm))
    nlp = spacy.blank("en")
    docs = [Doc(nlp.vocab, words=words) for words in SENTENCES]
    for _ in range(2):
        found = np.concatenate(model.predict(docs), axis=1)
        np.testing.assert_allclose(found, fresh(tiny_bilm), rtol=1e-5, atol=1e-5)
    bilm = get_bilm(model)
    assert bilm.word_cache_mb == word_cache_mb
    assert bilm.prepared is not None
    assert bilm.prepared.words.capacity == int(word_cache_mb * 2**20) // (4 * 8)


def test_word_cache_mb_in_the_config(tiny_bilm: BiLM) -> None:
    config = own_bilm(None)["model"]
    resolved = spacy.registry.resolve({"model": {**config, "word_cache_mb": 3}})
    set_bilm(resolved["model"], copy.deepcopy(tiny_bilm))
    assert get_bilm(resolved["model"]).word_cache_mb == 3
