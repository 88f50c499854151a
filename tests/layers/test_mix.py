"""The mix of a head: formula, gradients, dropout, L2, errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from thinc.api import Adam, Model, set_dropout_rate

from spacy_elmo.layers.mix import elmo_mix, learned_mix, mix_weights

WEIGHTS = np.asarray([0.3, -1.2, 0.8], dtype="float32")


@pytest.fixture
def docs() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.normal(size=(3, n, 4)).astype("float32") for n in (5, 0, 2)]


def _learned(docs: list[np.ndarray], gamma: float = 1.7, **settings: Any) -> Model:
    mix = elmo_mix("learned", **settings)
    mix.initialize(X=docs)
    mix.set_param("scalars", WEIGHTS.copy())
    mix.set_param("gamma", np.asarray([gamma], dtype="float32"))
    return mix


def _by_hand(layers: np.ndarray, weights: np.ndarray, gamma: float) -> np.ndarray:
    exponentials = np.exp(weights.astype("float64"))
    s = exponentials / exponentials.sum()
    return gamma * sum(s[j] * layers[j].astype("float64") for j in range(len(s)))


def test_learned_mix(docs: list[np.ndarray]) -> None:
    outputs = _learned(docs).predict(docs)
    assert [array.shape for array in outputs] == [(5, 4), (0, 4), (2, 4)]
    for output, layers in zip(outputs, docs):
        assert_allclose(output, _by_hand(layers, WEIGHTS, 1.7), atol=1e-5)


def test_learned_mix_starts_as_the_mean(docs: list[np.ndarray]) -> None:
    mix = elmo_mix()
    mix.initialize(X=docs)
    assert_allclose(mix.predict(docs)[0], docs[0].mean(axis=0), atol=1e-6)
    s, gamma = learned_mix(mix)
    assert_allclose(s, [1 / 3] * 3, atol=1e-6)
    assert gamma == 1.0


@pytest.mark.parametrize(
    ("mix", "s"),
    [
        ("mean", [1 / 3, 1 / 3, 1 / 3]),
        ("top", [0, 0, 1]),
        ([0.5, 2.0, -1.0], [0.5, 2.0, -1.0]),
    ],
)
def test_fixed_mixes(docs: list[np.ndarray], mix: Any, s: list[float]) -> None:
    model = elmo_mix(mix)
    model.initialize(X=docs)
    assert not model.param_names
    assert_allclose(model.predict(docs)[0], np.tensordot(s, docs[0], axes=1), atol=1e-5)
    weights, gamma = learned_mix(model)
    assert_allclose(weights, s, atol=1e-6)
    assert gamma == 1.0


def test_layer_norm(docs: list[np.ndarray]) -> None:
    layers = docs[0].astype("float64")
    variance = layers.var(axis=-1, keepdims=True)
    normed = (layers - layers.mean(axis=-1, keepdims=True)) / np.sqrt(variance + 1e-5)
    mix = _learned(docs, layer_norm=True)
    assert_allclose(mix.predict(docs)[0], _by_hand(normed, WEIGHTS, 1.7), atol=1e-4)
    given = elmo_mix("top", layer_norm=True)
    given.initialize(X=docs)
    assert_allclose(given.predict(docs)[0], normed[-1], atol=1e-4)


@pytest.mark.parametrize("layer_norm", [False, True])
def test_gradients_equal_finite_differences(
    docs: list[np.ndarray], layer_norm: bool
) -> None:
    mix = _learned(docs, layer_norm=layer_norm)
    rng = np.random.default_rng(1)
    outputs, backprop = mix.begin_update(docs)
    d_outputs = [rng.normal(size=o.shape).astype("float32") for o in outputs]
    d_docs = backprop(d_outputs)

    def loss() -> float:
        pairs = zip(mix.predict(docs), d_outputs)
        return float(sum((o.astype("float64") * d).sum() for o, d in pairs))

    def slope(array: np.ndarray, index: tuple[int, ...]) -> float:
        step, before = 1e-2, array[index].copy()
        array[index] = before + step
        up = loss()
        array[index] = before - step
        down = loss()
        array[index] = before
        return (up - down) / (2 * step)

    for name in ("scalars", "gamma"):
        parameter, gradient = mix.get_param(name), mix.get_grad(name)
        for i in range(len(parameter)):
            assert slope(parameter, (i,)) == pytest.approx(gradient[i], abs=2e-3)
    assert [d.shape for d in d_docs] == [d.shape for d in docs]
    for index in np.ndindex(docs[0].shape):
        assert slope(docs[0], index) == pytest.approx(d_docs[0][index], abs=5e-3)


def test_gradients_accumulate(docs: list[np.ndarray]) -> None:
    mix = _learned(docs)
    outputs, backprop = mix.begin_update(docs)
    backprop([np.ones_like(o) for o in outputs])
    once = mix.get_grad("scalars").copy()
    outputs, backprop = mix.begin_update(docs)
    backprop([np.ones_like(o) for o in outputs])
    assert_allclose(mix.get_grad("scalars"), 2 * once, rtol=1e-5)


def test_gradient_of_l2(docs: list[np.ndarray]) -> None:
    gradients = {}
    for l2 in (0.0, 0.1):
        mix = _learned(docs, l2=l2)
        outputs, backprop = mix.begin_update(docs)
        backprop([np.ones_like(o) for o in outputs])
        gradients[l2] = mix.get_grad("scalars").copy()
    assert_allclose(gradients[0.1] - gradients[0.0], 2 * 0.1 * WEIGHTS, atol=1e-5)


def test_no_gradient_for_frozen_layers(docs: list[np.ndarray]) -> None:
    mix = _learned(docs)
    mix.attrs["backprop_layers"] = False
    outputs, backprop = mix.begin_update(docs)
    assert backprop([np.ones_like(o) for o in outputs]) == []
    assert np.abs(mix.get_grad("scalars")).max() > 0


def test_fixed_mix_of_frozen_layers(docs: list[np.ndarray]) -> None:
    mix = elmo_mix("mean")
    mix.attrs["backprop_layers"] = False
    outputs, backprop = mix.begin_update(docs)
    assert backprop([np.ones_like(o) for o in outputs]) == []


def test_gradient_of_a_fixed_mix(docs: list[np.ndarray]) -> None:
    mix = elmo_mix([0.5, 2.0, -1.0])
    outputs, backprop = mix.begin_update(docs)
    d_layers = backprop([np.ones_like(o) for o in outputs])[0]
    for j, s in enumerate([0.5, 2.0, -1.0]):
        assert_allclose(d_layers[j], np.full((5, 4), s), atol=1e-6)


def _zeros(mix: Model, is_train: bool) -> float:
    ones = [np.ones((3, 200, 50), dtype="float32")]
    mixed = mix(ones, is_train)[0][0]
    return float((mixed == 0).mean())


def test_dropout_setting_overrides_the_head() -> None:
    mix = elmo_mix("mean", dropout=0.5)
    for rate in (0.0, 0.2):
        set_dropout_rate(mix, rate)
        assert _zeros(mix, True) == pytest.approx(0.5, abs=0.05)
        assert _zeros(mix, False) == 0


def test_dropout_follows_the_head() -> None:
    mix = elmo_mix("mean")
    assert _zeros(mix, True) == 0
    for rate in (0.2, 0.7):
        set_dropout_rate(mix, rate)
        assert _zeros(mix, True) == pytest.approx(rate, abs=0.05)
        assert _zeros(mix, False) == 0


def test_dropout_of_zero() -> None:
    mix = elmo_mix("mean", dropout=0.0)
    set_dropout_rate(mix, 0.5)
    assert _zeros(mix, True) == 0


def test_dropout_scales_values_and_gradients() -> None:
    mix = elmo_mix("mean", dropout=0.5)
    outputs, backprop = mix.begin_update([np.ones((3, 50, 20), dtype="float32")])
    kept = outputs[0] != 0
    assert_allclose(outputs[0][kept], 2.0, rtol=1e-5)
    d_layers = backprop([np.ones_like(outputs[0])])[0]
    assert_allclose(d_layers[1], np.where(kept, 2 / 3, 0), rtol=1e-5)


def test_wrong_width(docs: list[np.ndarray]) -> None:
    with pytest.raises(
        ValueError, match=r"expected 6 values per token.*found 4.*width"
    ):
        elmo_mix(width=6).initialize(X=docs)
    mix = _learned(docs)
    with pytest.raises(ValueError, match=r"expected 4 values per token.*found 5"):
        mix.predict([np.zeros((3, 2, 5), dtype="float32")])


def test_wrong_number_of_layers(docs: list[np.ndarray]) -> None:
    with pytest.raises(ValueError, match="expected 3 layers, found 2"):
        _learned(docs).predict([np.zeros((2, 2, 4), dtype="float32")])


@pytest.mark.parametrize("given", [[1.0], [0.1] * 4])
def test_wrong_number_of_weights(docs: list[np.ndarray], given: list[float]) -> None:
    message = f"mix: expected 3 weights.*found {len(given)}"
    with pytest.raises(ValueError, match=message):
        mix_weights(given, 3)
    with pytest.raises(ValueError, match=message):
        elmo_mix(given).predict(docs)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mix": "sum"}, "mix: expected learned, mean, top or a list .*found 'sum'"),
        ({"dropout": 1.0}, r"dropout: expected a rate in \[0, 1\), found 1.0"),
        ({"dropout": -0.1}, "dropout: expected a rate .*found -0.1"),
        ({"l2": -1.0}, "l2: expected 0 or more, found -1.0"),
    ],
)
def test_invalid_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        elmo_mix(**settings)


def test_averaged_weights_are_used(docs: list[np.ndarray]) -> None:
    """spaCy evaluates with the optimizer's averages."""
    mix, optimizer = _learned(docs), Adam(0.1, use_averages=True)
    for _ in range(3):
        outputs, backprop = mix.begin_update(docs)
        backprop([np.ones_like(output) for output in outputs])
        mix.finish_update(optimizer)
    averages = optimizer.averages
    assert averages is not None
    with mix.use_params(averages):
        expected = _by_hand(
            docs[0],
            averages[mix.id, "scalars"],
            float(averages[mix.id, "gamma"][0]),
        )
        assert_allclose(mix.predict(docs)[0], expected, atol=1e-5)
    assert np.abs(mix.predict(docs)[0] - expected).max() > 1e-3


def test_no_docs(docs: list[np.ndarray]) -> None:
    outputs, backprop = _learned(docs).begin_update([])
    assert outputs == []
    assert backprop([]) == []


def test_learned_mix_before_initialization() -> None:
    for mix in ("mean", "learned"):
        with pytest.raises(ValueError, match="does not know the number of layers"):
            learned_mix(elmo_mix(mix))
