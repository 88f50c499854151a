"""The whole network against the independent NumPy biLM, on random configurations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import numpy_bilm

from spacy_elmo import BiLM, load_bilm

SENTENCES = [
    ["She", "sat", "on", "the", "river", "bank", "."],
    ["naïve", "日本語" * 20, "", "x" * 70],
    ["<S>", "\ud83d\ude00", "</S>", "\ud800"],
    ["Hi"],
]
# Three streams whose order by length is not its own inverse.
STREAMS = [
    [["a"], ["One", "two", "three"], ["four", "five"]],
    [["six", "seven"], [], ["eight"]],
    [["nine"], ["ten", "eleven", "twelve"], ["thirteen", "fourteen"]],
]


def random_model(
    folder: Path, seed: int
) -> tuple[BiLM, numpy_bilm.Options, numpy_bilm.Weights]:
    """Weights written by the oracle and loaded by the package."""
    rng = np.random.default_rng(seed)
    options = numpy_bilm.random_options(rng)
    weights = numpy_bilm.random_weights(options, rng)
    numpy_bilm.write_published(folder, options, weights)
    return load_bilm(folder), options, weights


@pytest.mark.parametrize("seed", range(40))
def test_layers_agree(tmp_path: Path, seed: int) -> None:
    model, options, weights = random_model(tmp_path, seed)
    expected, _ = numpy_bilm.encode(options, weights, SENTENCES)
    for found, wanted in zip(model.encode(SENTENCES), expected):
        assert found.shape == wanted.shape
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    # In float64 there is no rounding to hide an error in the formulas.
    exact, _ = model.double().encode_batch(SENTENCES, dtype=torch.float64)
    np.testing.assert_allclose(
        exact.detach().numpy(), np.concatenate(expected, axis=1), rtol=1e-9, atol=1e-11
    )


@pytest.mark.parametrize("seed", range(100, 108))
def test_carried_state_agrees(tmp_path: Path, seed: int) -> None:
    """Three streams over three batches, one of the sentences empty."""
    model, options, weights = random_model(tmp_path, seed)
    model.double()
    state = expected_state = None
    for sentences in STREAMS:
        expected, expected_state = numpy_bilm.encode(
            options, weights, sentences, expected_state
        )
        found, state = model.encode_batch(sentences, state, torch.float64)
        np.testing.assert_allclose(
            found.detach().numpy(),
            np.concatenate(expected, axis=1),
            rtol=1e-9,
            atol=1e-11,
        )
    assert state is not None
    assert expected_state is not None
    for stream, wanted in enumerate(expected_state):
        for (direction, layer), (cell, hidden) in wanted.items():
            last = state[layer]
            for one, other in ((last.cell, cell), (last.hidden, hidden)):
                np.testing.assert_allclose(
                    one[direction, stream].detach().numpy(),
                    other,
                    rtol=1e-9,
                    atol=1e-11,
                )


def test_configurations_cover_every_option() -> None:
    """Every option takes more than one value in the 40 configurations above."""
    options = [
        numpy_bilm.random_options(np.random.default_rng(seed)) for seed in range(40)
    ]
    lstm, cnn = [o["lstm"] for o in options], [o["char_cnn"] for o in options]
    assert {o["n_layers"] for o in lstm} == {1, 2, 3, 4}
    assert {o["n_highway"] for o in cnn} == {0, 1, 2, 3}
    assert {o["activation"] for o in cnn} == {"relu", "tanh"}
    assert {o["n_characters"] for o in cnn} == {261, 262}
    assert {o["use_skip_connections"] for o in lstm} == {True, False}
    assert {o["projection_dim"] == o["dim"] for o in lstm} == {True, False}
    for key in ("cell_clip", "proj_clip"):
        assert {bool(o[key]) for o in lstm} == {True, False}
    widths = [sum(n for _, n in c["filters"]) for c in cnn]
    same = {width == o["projection_dim"] for width, o in zip(widths, lstm)}
    assert same == {True, False}
