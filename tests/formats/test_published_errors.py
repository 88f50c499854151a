"""Damaged published pairs, and models that the format cannot hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from helpers.refusals import refused

from spacy_elmo import BiLM, BiLMConfig, load_bilm, save_bilm

CELL = "RNN_1/RNN/MultiRNNCell/Cell1/LSTMCell"


def write_options(folder: Path, section: str, key: str, value: Any) -> None:
    path = folder / "options.json"
    options = json.loads(path.read_text(encoding="utf8"))
    options[section][key] = value
    path.write_text(json.dumps(options), encoding="utf8")


@pytest.mark.parametrize(
    ("key", "siblings"),
    [
        ("char_embed", "CNN, CNN_high_0"),
        ("CNN/W_cnn_1", "W_cnn_0, b_cnn_0"),
        ("CNN_high_0/b_carry", "W_carry"),
        ("CNN_proj/W_proj", "b_proj"),
        (f"{CELL}/W_P_0", "B, W_0"),
    ],
)
def test_missing_key(published_folder: Path, key: str, siblings: str) -> None:
    weights = published_folder / "weights.hdf5"
    with h5py.File(weights, "a") as file:
        shape = file[key].shape
        del file[key]
    with refused(weights, key, shape, siblings):
        load_bilm(published_folder)


def test_group_instead_of_a_dataset(published_folder: Path) -> None:
    weights = published_folder / "weights.hdf5"
    with h5py.File(weights, "a") as file:
        del file["char_embed"]
        file.create_group("char_embed")
    with refused(weights, "char_embed", (261, 3)):
        load_bilm(published_folder)


@pytest.mark.parametrize(
    ("section", "key", "value", "dataset", "expected", "found"),
    [
        ("lstm", "dim", 7, "RNN_0/RNN/", (8, 28), (8, 24)),
        ("lstm", "projection_dim", 3, "CNN_proj/W_proj", (5, 3), (5, 4)),
        ("char_cnn", "embedding", {"dim": 9}, "char_embed", (261, 9), (261, 3)),
        (
            "char_cnn",
            "filters",
            [[1, 2], [3, 3]],
            "CNN/W_cnn_1",
            (1, 3, 3, 3),
            (1, 2, 3, 3),
        ),
    ],
)
def test_shapes_that_disagree_with_the_options(
    published_folder: Path,
    section: str,
    key: str,
    value: Any,
    dataset: str,
    expected: tuple[int, ...],
    found: tuple[int, ...],
) -> None:
    write_options(published_folder, section, key, value)
    with refused(published_folder / "weights.hdf5", dataset, expected, found):
        load_bilm(published_folder)


@pytest.mark.parametrize(
    ("section", "key", "value", "left"),
    [
        ("lstm", "n_layers", 1, f"{CELL}/B"),
        ("char_cnn", "n_highway", 0, "CNN_high_0/W_carry"),
    ],
)
def test_more_layers_than_in_the_options(
    published_folder: Path, section: str, key: str, value: int, left: str
) -> None:
    """Without them, the vectors would be wrong."""
    write_options(published_folder, section, key, value)
    with refused(published_folder / "weights.hdf5", left):
        load_bilm(published_folder)


def test_more_filters_than_in_the_options(published_folder: Path) -> None:
    with h5py.File(published_folder / "weights.hdf5", "a") as file:
        file["CNN/W_cnn_2"] = np.zeros((1, 3, 3, 4), dtype="f")
    with refused(published_folder / "weights.hdf5", "CNN/W_cnn_2", "2 filters"):
        load_bilm(published_folder)


@pytest.mark.parametrize("key", [b"CNN/W_\xff", b"caf\xe9", b"RNN_0/RNN/\xff"])
def test_keys_that_are_not_utf8(published_folder: Path, key: bytes) -> None:
    with h5py.File(published_folder / "weights.hdf5", "a") as file:
        file[key] = np.zeros(3, dtype="f")
    with refused(published_folder / "weights.hdf5", "HDF5", "utf-8"):
        load_bilm(published_folder)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("key", ["char_embed", f"{CELL}/B"])
def test_nan_and_infinity(published_folder: Path, key: str, value: float) -> None:
    weights = published_folder / "weights.hdf5"
    with h5py.File(weights, "a") as file:
        file[key][1] = value
        size, count = file[key].size, np.asarray(file[key][1]).size
    with refused(weights, key, "finite", f"{count} of {size}"):
        load_bilm(published_folder)


@pytest.mark.filterwarnings("ignore:overflow")
def test_number_too_large_for_float32(published_folder: Path) -> None:
    weights = published_folder / "weights.hdf5"
    with h5py.File(weights, "a") as file:
        array = file["char_embed"][...].astype(np.float64)
        array[3, 2] = 1e200
        del file["char_embed"]
        file["char_embed"] = array
    with refused(weights, "char_embed", "finite", f"1 of {array.size}"):
        load_bilm(published_folder)


def test_weights_that_are_not_numbers(published_folder: Path) -> None:
    weights = published_folder / "weights.hdf5"
    with h5py.File(weights, "a") as file:
        del file["CNN/b_cnn_0"]
        file["CNN/b_cnn_0"] = np.array([b"one", b"two"])
    with refused(weights, "CNN/b_cnn_0"):
        load_bilm(published_folder)


@pytest.mark.parametrize("part", [0.0, 0.01, 0.3, 0.9, 0.999])
def test_truncated_weights(published_folder: Path, part: float) -> None:
    weights = published_folder / "weights.hdf5"
    data = weights.read_bytes()
    weights.write_bytes(data[: int(len(data) * part)])
    with refused(weights, "HDF5", "truncated"):
        load_bilm(published_folder)


@pytest.mark.parametrize("signature", [b"TREE", b"HEAP", b"SNOD"])
def test_damage_inside_the_weights(published_folder: Path, signature: bytes) -> None:
    """HDF5 fails after it has opened the file."""
    weights = published_folder / "weights.hdf5"
    data = weights.read_bytes()
    assert signature in data
    weights.write_bytes(data.replace(signature, b"????"))
    with refused(weights):
        load_bilm(published_folder)


def test_weights_that_are_not_hdf5(published_folder: Path) -> None:
    weights = published_folder / "weights.hdf5"
    weights.write_text("<html>404</html>" * 100)
    with refused(weights, "HDF5"):
        load_bilm(published_folder)


@pytest.mark.parametrize("name", ["options.json", "weights.hdf5"])
def test_missing_file(published_folder: Path, name: str) -> None:
    (published_folder / name).unlink()
    pair = published_folder / "options.json", published_folder / "weights.hdf5"
    with refused(published_folder / name, "no such file"):
        load_bilm(*pair)


@pytest.mark.parametrize(
    ("section", "key", "value", "message"),
    [
        ("char_cnn", "n_characters", 260, ("n_characters", 261, 262, "found 260")),
        ("lstm", "projection_dim", 7, ("projection_dim", "at most dim (6)", "found 7")),
        ("lstm", "dim", None, ("lstm.dim", "a number", "found nothing")),
        (
            "char_cnn",
            "max_characters_per_token",
            2,
            ("max_characters_per_token", "at least 3", "found 2"),
        ),
        ("char_cnn", "activation", "gelu", ("activation", "relu, tanh", "'gelu'")),
        ("char_cnn", "embedding", None, ("char_cnn", "'embedding'")),
        ("char_cnn", "characters", "vocabulary", ("character vocabulary",)),
        ("lstm", "forget_bias", 0, ("forget bias of 0.0",)),
        ("lstm", "dim", float("inf"), ("lstm.dim", "inf")),
        ("lstm", "dim", 2**31 - 1, ("weights.hdf5",)),
        ("lstm", "dim", 2**31, ("options.json: dim", "at most", "found 2147483648")),
        ("char_cnn", "max_characters_per_token", 2**63, ("_per_token: ", "at most")),
        ("char_cnn", "embedding", {"dim": 2**63}, ("char_dim", "at most")),
        ("char_cnn", "filters", [[1, 10**20]], ("options.json: filters", "from 1 to")),
    ],
)
def test_wrong_options(
    published_folder: Path, section: str, key: str, value: Any, message: tuple[Any, ...]
) -> None:
    write_options(published_folder, section, key, value)
    with refused(published_folder, *message):
        load_bilm(published_folder)


@pytest.mark.parametrize("content", [b"{", b"", b"[1]", b"\xff\xfe\x00"])
def test_options_must_be_a_json_object(published_folder: Path, content: bytes) -> None:
    (published_folder / "options.json").write_bytes(content)
    with refused(published_folder / "options.json", "JSON object"):
        load_bilm(published_folder)


def test_format_cannot_hold_a_vocabulary(vocabulary_bilm: BiLM, tmp_path: Path) -> None:
    with refused("character vocabulary", "word embedding", "safetensors"):
        save_bilm(vocabulary_bilm, tmp_path / "out", format="hdf5")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_not_written(
    tiny_config: BiLMConfig, tmp_path: Path, value: float
) -> None:
    model = BiLM(tiny_config)
    with torch.no_grad():
        model.forward_layers[0].bias[0] = value
    with refused("finite"):
        save_bilm(model, tmp_path, format="hdf5")
    assert not list(tmp_path.iterdir())


def add_reference(weights: Path, kind: str) -> None:
    """Replace the character embedding by a reference to other data."""
    other = weights.with_name("other.h5")
    with h5py.File(other, "w") as target:
        target["x"] = np.zeros((261, 3), dtype="f")
    with h5py.File(weights, "a") as file:
        file.move("char_embed", "elsewhere")
        if kind == "virtual":
            layout = h5py.VirtualLayout(shape=(261, 3), dtype="f")
            layout[...] = h5py.VirtualSource(".", "char_embed", shape=(261, 3))
            file.create_virtual_dataset("char_embed", layout)
        elif kind == "external storage":
            storage = [(str(other), 0, 261 * 3 * 4)]
            file.create_dataset("char_embed", (261, 3), "f", external=storage)
        elif kind == "external link":
            file["char_embed"] = h5py.ExternalLink(str(other), "x")
        else:
            file["char_embed"] = h5py.SoftLink("/elsewhere")


@pytest.mark.parametrize(
    ("kind", "found"),
    [
        ("virtual", "a reference to other data"),
        ("external storage", "a reference to other data"),
        ("external link", "a link to"),
        ("soft link", "a link to '/elsewhere'"),
    ],
)
def test_datasets_that_refer_to_other_data(
    published_folder: Path, kind: str, found: str
) -> None:
    """A virtual dataset can be its own source, which crashes HDF5's library; external
    storage can be any file."""
    weights = published_folder / "weights.hdf5"
    add_reference(weights, kind)
    with refused(weights, "char_embed", found, "Do not trust"):
        load_bilm(published_folder / "options.json", weights)


@pytest.mark.parametrize("name", ["n_layers", "dim"])
def test_absurd_sizes_fail_at_once(published_folder: Path, name: str) -> None:
    write_options(published_folder, "lstm", name, 1_000_000)
    with refused(published_folder / "weights.hdf5"):
        load_bilm(published_folder)
