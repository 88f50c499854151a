"""The published pair: parity with bilm-tf, and round trips."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from helpers import numpy_bilm

from spacy_elmo import BiLM, load_bilm, save_bilm

# Tolerance of AllenNLP's own tests against bilm-tf.
LENIENT = {"rtol": 1e-5, "atol": 1e-6}


def datasets(path: Path) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}

    def visit(key: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            found[key] = item[...]

    with h5py.File(path, "r") as file:
        file.visititems(visit)
    return found


@pytest.fixture(scope="module")
def model(shared: Path) -> BiLM:
    folder = shared / "fixtures" / "bilm_tf"
    return load_bilm(folder / "options.json", folder / "lm_weights.hdf5")


@pytest.fixture(scope="module")
def batches(shared: Path) -> list[list[list[str]]]:
    """Batch i has sentence i of each of the three streams."""
    folder = shared / "fixtures" / "bilm_tf"
    streams = json.loads((folder / "lm_embeddings_sentences.json").read_bytes())
    return [[text.split() for text in batch] for batch in zip(*streams)]


@pytest.fixture(scope="module")
def expected(shared: Path) -> list[np.ndarray]:
    """The top layer of each batch, with its sentences concatenated."""
    folder, arrays = shared / "fixtures" / "bilm_tf", []
    files = [h5py.File(folder / f"lm_embeddings_{k}.hdf5", "r") for k in range(3)]
    for i in range(10):
        halves = np.concatenate([file[str(i)][...] for file in files], axis=1)
        arrays.append(np.concatenate(list(halves), axis=-1))
    for file in files:
        file.close()
    return arrays


def test_with_carried_state(
    model: BiLM, batches: list[list[list[str]]], expected: list[np.ndarray]
) -> None:
    assert len(batches) == 10
    state = None
    for sentences, wanted in zip(batches, expected):
        with torch.no_grad():
            layers, state = model.encode_batch(sentences, state)
        np.testing.assert_allclose(layers[-1].numpy(), wanted, **LENIENT)


def test_without_state_only_the_first_batch_is_equal(
    model: BiLM, batches: list[list[list[str]]], expected: list[np.ndarray]
) -> None:
    agree = []
    for sentences, wanted in zip(batches, expected):
        layers = np.concatenate(model.encode(sentences), axis=1)
        agree.append(np.allclose(layers[-1], wanted, **LENIENT))
    assert agree == [True] + [False] * 9


@pytest.mark.parametrize("seed", range(6))
def test_round_trip_is_exact(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    options = numpy_bilm.random_options(rng)
    weights = numpy_bilm.random_weights(options, rng)
    numpy_bilm.write_published(tmp_path / "in", options, weights)
    model = load_bilm(tmp_path / "in")
    save_bilm(model, tmp_path / "out", format="hdf5")

    written = datasets(tmp_path / "out" / "weights.hdf5")
    assert written.keys() == weights.keys()
    for key, array in weights.items():
        assert written[key].dtype == np.float32
        assert written[key].tobytes() == array.tobytes(), key
    again = load_bilm(tmp_path / "out")
    assert again.config == model.config
    for name, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name


@pytest.mark.parametrize("n_characters", [261, 262])
def test_options_are_written_for_inference(
    published_folder: Path, tmp_path: Path, n_characters: int
) -> None:
    path = published_folder / "options.json"
    options = json.loads(path.read_bytes())
    options["char_cnn"]["n_characters"] = n_characters
    path.write_text(json.dumps(options), encoding="utf8")
    save_bilm(load_bilm(published_folder), tmp_path / "out", format="hdf5")
    options["char_cnn"]["n_characters"] = 262
    assert json.loads((tmp_path / "out" / "options.json").read_bytes()) == options


def test_saving_and_loading(tiny_bilm: BiLM, tmp_path: Path) -> None:
    save_bilm(tiny_bilm, tmp_path, format="hdf5")
    sentences = [["naïve", "", "<S>"]]
    again = load_bilm(tmp_path).encode(sentences)[0]
    expected = tiny_bilm.encode(sentences)[0]
    np.testing.assert_allclose(again, expected, rtol=1e-5, atol=1e-5)


def test_embedding_of_masked_positions_is_zeros(published_folder: Path) -> None:
    model = load_bilm(published_folder)
    table = model.character_encoder.char_embedding.weight
    assert table.shape == (262, 3)
    assert not table[0].any()
    assert table[1:].any(dim=1).all()
