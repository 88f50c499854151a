"""ElmoModel.v1: layers equal to BiLM.encode, gradients equal to autograd."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import spacy
import torch
from helpers.pipelines import expected_layers
from spacy import registry
from spacy.language import Language
from spacy.tokens import Doc
from thinc.api import Model

from spacy_elmo import BiLM
from spacy_elmo.layers.elmo_model import (
    build_elmo_model_v1,
    find_bilm,
    get_bilm,
    set_bilm,
)


@pytest.fixture(scope="module")
def nlp() -> Language:
    return spacy.blank("en")


@pytest.fixture
def model(bilm: BiLM) -> Model:
    made = build_elmo_model_v1(window=4)
    set_bilm(made, bilm)
    return made


def _docs(nlp: Language) -> list[Doc]:
    return [
        Doc(nlp.vocab, words=["She", "sat", "on", "the", "river", "bank"]),
        Doc(nlp.vocab, words=[]),
        Doc(nlp.vocab, words=["\n", "He", " ", "robbed"], sent_starts=[1, 0, 0, 1]),
        Doc(nlp.vocab, words=["\n", "\n"]),
        Doc(nlp.vocab, words=["bank"]),
    ]


def test_is_registered() -> None:
    build = registry.get("architectures", "spacy_elmo.ElmoModel.v1")
    assert build is build_elmo_model_v1


def test_equals_encode(nlp: Language, model: Model, tiny_bilm: BiLM) -> None:
    docs = _docs(nlp)
    layers = model.predict(docs)
    assert [array.shape for array in layers] == [(3, len(doc), 16) for doc in docs]
    assert all(array.dtype == np.float32 for array in layers)
    first = expected_layers(tiny_bilm, ["She", "sat", "on"], ["the", "river", "bank"])
    np.testing.assert_allclose(layers[0], first, atol=1e-5)
    third = expected_layers(tiny_bilm, ["He"], ["robbed"])
    np.testing.assert_allclose(layers[2][:, [1, 3]], third, atol=1e-5)
    np.testing.assert_allclose(
        layers[4], expected_layers(tiny_bilm, ["bank"]), atol=1e-5
    )


def test_whitespace_tokens(nlp: Language, model: Model) -> None:
    spaced = Doc(nlp.vocab, words=["\n", "a", " ", "b", "\t\t"])
    plain = Doc(nlp.vocab, words=["a", "b"])
    with_space, without = model.predict([spaced, plain])
    assert not with_space[:, [0, 2, 4]].any()
    np.testing.assert_allclose(with_space[:, [1, 3]], without, atol=1e-6)
    assert np.abs(without).min(axis=(0, 2)).max() > 0


def test_results_do_not_depend_on_the_batch(nlp: Language, model: Model) -> None:
    docs = _docs(nlp)
    together = model.predict(docs)
    for doc, layers in zip(docs, together):
        np.testing.assert_allclose(model.predict([doc])[0], layers, atol=1e-5)


def test_no_docs(model: Model) -> None:
    assert model.predict([]) == []


def test_results_do_not_share_memory(nlp: Language, model: Model) -> None:
    """A view would keep the whole batch alive with each doc."""
    first, *_, last = model.predict(_docs(nlp))
    assert first.base is None or first.base.nbytes == first.nbytes
    assert not np.shares_memory(first, last)


def test_words_with_lone_surrogates(model: Model) -> None:
    """spaCy's string store refuses them, but the inner layer need not."""
    inner = model.layers[0]
    odd = inner.predict([["a\ud800b", "\udfff"]])
    np.testing.assert_allclose(odd, inner.predict([["ab", ""]]), rtol=1e-5, atol=1e-5)


def test_very_long_tokens(nlp: Language, model: Model, tiny_bilm: BiLM) -> None:
    words = ["a", "x" * 10_000, "é" * 10_000]
    layers = model.predict([Doc(nlp.vocab, words=words)])[0]
    np.testing.assert_allclose(layers, expected_layers(tiny_bilm, words), atol=1e-5)
    assert np.isfinite(layers).all()


def test_gradient_of_every_parameter_equals_autograd(
    nlp: Language, model: Model, bilm: BiLM
) -> None:
    docs = _docs(nlp)
    rng = np.random.default_rng(0)
    layers, backprop = model.begin_update(docs)
    gradients = [rng.normal(size=a.shape).astype("float32") for a in layers]
    backprop(gradients)
    ours = {name: p.grad.clone() for name, p in bilm.named_parameters()}
    bilm.zero_grad()
    sentences = [["She", "sat", "on"], ["the", "river", "bank"], ["He"], ["robbed"]]
    output = bilm([*sentences, ["bank"]])
    wanted = np.concatenate(
        [gradients[0], gradients[2][:, [1, 3]], gradients[4]], axis=1
    )
    output.backward(torch.from_numpy(wanted))
    for name, parameter in bilm.named_parameters():
        assert parameter.grad.abs().sum() > 0, name
        torch.testing.assert_close(ours[name], parameter.grad, rtol=1e-4, atol=1e-4)


def test_prediction_runs_without_autograd(
    nlp: Language, model: Model, bilm: BiLM
) -> None:
    seen = []
    hook = bilm.register_forward_hook(lambda m, i, out: seen.append(out.requires_grad))
    model.predict(_docs(nlp))
    model.begin_update(_docs(nlp))
    hook.remove()
    assert seen == [False, True]


@pytest.mark.parametrize("words", [[], ["\n", " "]])
def test_update_without_words(nlp: Language, model: Model, words: list[str]) -> None:
    layers, backprop = model.begin_update([Doc(nlp.vocab, words=words)])
    assert layers[0].shape == (3, len(words), 16)
    backprop([np.ones_like(layers[0])])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"window": 0}, "window: expected a whole number of at least 1, found 0"),
        ({"batch_tokens": -1}, "batch_tokens: expected a whole number .* found -1"),
        ({"precision": "half"}, "precision: expected one of float32, .* found 'half'"),
        (
            {"word_cache_mb": -1},
            "word_cache_mb: expected a number of at least 0, .* -1",
        ),
        ({"layer_cache_mb": -1}, "layer_cache_mb: expected .* at least 0, found -1"),
    ],
)
def test_invalid_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_elmo_model_v1(**settings)


def test_bfloat16(nlp: Language, model: Model, tiny_bilm: BiLM) -> None:
    rough = build_elmo_model_v1(window=4, precision="bfloat16")
    set_bilm(rough, tiny_bilm)
    exact, near = model.predict(_docs(nlp))[0], rough.predict(_docs(nlp))[0]
    assert near.dtype == np.float32
    assert 0 < np.abs(exact - near).max() < 0.3 * np.abs(exact).max()


def test_without_weights(nlp: Language) -> None:
    empty = build_elmo_model_v1()
    assert find_bilm(empty) is None
    for use in (lambda: empty.predict(_docs(nlp)), lambda: get_bilm(empty)):
        with pytest.raises(ValueError, match="no weights yet"):
            use()


def test_bytes_round_trip(nlp: Language, model: Model) -> None:
    """The sizes come with the weights."""
    other = build_elmo_model_v1(window=4)
    other.from_bytes(model.to_bytes())
    assert find_bilm(other) is not None
    assert other.get_dim("nO") == 16
    for left, right in zip(model.predict(_docs(nlp)), other.predict(_docs(nlp))):
        np.testing.assert_array_equal(left, right)


def test_setting_another_bilm(nlp: Language, model: Model, tiny_config: Any) -> None:
    wider = BiLM(tiny_config.replace(projection_dim=10, n_layers=1))
    set_bilm(model, wider)
    assert model.get_dim("nO") == 20
    assert model.predict(_docs(nlp))[0].shape == (2, 6, 20)
