"""Model folders are written atomically and read back unchanged, or refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Callable

import numpy as np
import pytest
import torch
from helpers.corpora import contents
from helpers.language_models import (
    CONFIG,
    SOFTMAXES,
    make_model,
    manylangs_config,
    vocabulary_characters,
)
from helpers.refusals import refused
from safetensors.torch import load_file, save_file

from spacy_elmo import BiLM, load_bilm, save_bilm, tensor_files
from spacy_elmo.formats import WeightsError, options, published
from spacy_elmo.formats.output_layer import META, SOFTMAX, VOCABULARY
from spacy_elmo.pretraining.language_model import LanguageModel
from spacy_elmo.pretraining.output.model_folder import HDF5, read_model, write_model
from spacy_elmo.text.vocabulary import Vocabulary

WORDS = ["the", "</S>", "<S>", "é", "<UNK>", *(f"w{i}" for i in range(15))]
VOCAB = Vocabulary(WORDS, range(40, 40 - len(WORDS), -1))
SENTENCES = [["the", "é"], ["w3", "unknown", "the"]]
SOFTMAX_TYPES = pytest.mark.parametrize("softmax", SOFTMAXES)


def write(
    folder: Path, softmax: str = "full", *, seed: int = 0, hdf5: bool = False
) -> LanguageModel:
    model = make_model(len(VOCAB), softmax, seed=seed)
    meta = {"tokenizer": "whitespace", "step": seed, "held_out": None}
    write_model(folder, model, VOCAB, SOFTMAXES[softmax], meta, hdf5=hdf5)
    return model


def assert_same(found: LanguageModel, expected: LanguageModel) -> None:
    """The same configuration and bitwise equal weights."""
    assert found.bilm.config == expected.bilm.config
    state, other = found.state_dict(), expected.state_dict()
    assert state.keys() == other.keys()
    for name, tensor in state.items():
        assert torch.equal(tensor, other[name]), name


def assert_encodes_the_same(found: BiLM, expected: BiLM) -> None:
    for layers, others in zip(found.encode(SENTENCES), expected.encode(SENTENCES)):
        np.testing.assert_array_equal(layers, others)


@SOFTMAX_TYPES
def test_write_and_read(tmp_path: Path, softmax: str) -> None:
    folder = tmp_path / "a" / "model"
    folder.parent.mkdir()
    model = write(folder, softmax, seed=3)
    assert sorted(contents(folder)) == [
        "model.safetensors",
        "options.json",
        "pretraining.json",
        "softmax.safetensors",
        "vocabulary.txt",
    ]
    assert [path.name for path in folder.parent.iterdir()] == ["model"]
    for path in (folder, str(folder)):
        found = read_model(path)
        assert_same(found.model, model)
        assert found.vocabulary.words == WORDS
        assert found.vocabulary.counts.tolist() == VOCAB.counts.tolist()
        assert found.meta["tokenizer"] == "whitespace"
        assert found.meta["step"] == 3
        assert found.meta["held_out"] is None
    torch.manual_seed(0)
    hidden, targets = torch.randn(30, 5), torch.randint(0, len(VOCAB), (30,))
    losses = found.model.softmax.prepare().nll(hidden, targets)
    assert torch.equal(losses, model.softmax.prepare().nll(hidden, targets))
    # The training loss also depends on settings, which are not weights.
    trained = []
    for layer in (found.model.softmax, model.softmax):
        torch.manual_seed(1)
        trained.append(layer(hidden, targets))
    assert torch.equal(*trained)


def test_loading_leaves_the_random_numbers_alone(tmp_path: Path) -> None:
    write(tmp_path / "model", "sampled")
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    read_model(tmp_path / "model")
    assert torch.equal(torch.rand(3), expected)


@SOFTMAX_TYPES
def test_load_bilm_reads_the_folder(tmp_path: Path, softmax: str) -> None:
    model = write(tmp_path / "model", softmax)
    assert_encodes_the_same(load_bilm(tmp_path / "model"), model.bilm)


def test_the_published_format(tmp_path: Path) -> None:
    model = write(tmp_path / "model", hdf5=True)
    pair = tmp_path / "model" / HDF5
    files = (pair / options.FILE_NAME, pair / published.WEIGHTS)
    assert sorted(pair.iterdir()) == sorted(files)
    for found in (load_bilm(pair), load_bilm(*files), load_bilm(pair.parent)):
        # Compared by vectors: published files lack the embedding of the mask.
        assert_encodes_the_same(found, model.bilm)
    assert_same(read_model(pair.parent).model, model)


def test_a_model_of_manylangs(tmp_path: Path) -> None:
    characters = vocabulary_characters(WORDS)
    config = manylangs_config(characters)
    model = make_model(len(VOCAB), config=config, characters=characters)
    folder = tmp_path / "model"
    write_model(folder, model, VOCAB, SOFTMAXES["full"], {})
    assert_same(read_model(folder).model, model)
    assert_encodes_the_same(read_model(folder).model.bilm, model.bilm)
    # It cannot be exported to the published format, and nothing is left of it.
    before = contents(tmp_path)
    with pytest.raises(WeightsError):
        write_model(folder, model, VOCAB, SOFTMAXES["full"], {}, hdf5=True)
    assert contents(tmp_path) == before
    assert len(list(tmp_path.iterdir())) == 1


def test_a_model_is_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    write(folder, "sampled", seed=1, hdf5=True)
    (folder / "notes.txt").write_text("by a user", encoding="utf8")
    model = write(folder, "adaptive", seed=2)
    assert_same(read_model(folder).model, model)
    assert len(contents(folder)) == 5
    assert len(list(tmp_path.iterdir())) == 1


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = write(tmp_path / "model", seed=1)

    def fail(*args: Any) -> None:
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(tensor_files, "save_file", fail)
        with pytest.raises(OSError, match="No space left"):
            write(tmp_path / "model", seed=2)
    assert_same(read_model(tmp_path / "model").model, model)
    assert len(list(tmp_path.iterdir())) == 1


# Refused folders


def test_weights_without_an_output_layer(tmp_path: Path) -> None:
    model = make_model(len(VOCAB))
    save_bilm(model.bilm, tmp_path / "ours")
    save_bilm(model.bilm, tmp_path / "published", format="hdf5")
    for name in ("ours", "published", "missing"):
        folder = tmp_path / name
        with refused(folder, SOFTMAX, VOCABULARY, META, "no perplexity"):
            read_model(folder)


@pytest.mark.parametrize("name", [SOFTMAX, VOCABULARY, META])
def test_a_missing_file(tmp_path: Path, name: str) -> None:
    write(tmp_path / "model")
    (tmp_path / "model" / name).unlink()
    with refused(tmp_path / "model", f"no {name} in it"):
        read_model(tmp_path / "model")


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "half": lambda data: data[: len(data) // 2],
    "zeros": lambda data: bytes(len(data)),
    "binary": lambda data: b"\xff\xfe[1]",
    "a list": lambda data: b"[]",
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["model.safetensors", SOFTMAX, VOCABULARY, META])
def test_a_damaged_file(tmp_path: Path, name: str, damage: str) -> None:
    folder = tmp_path / "model"
    write(folder)
    path = folder / name
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    with refused(folder):
        read_model(folder)


CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "no softmax": lambda meta: meta.pop("softmax"),
    "a missing setting": lambda meta: meta["softmax"].pop("n_samples"),
    "another type": lambda meta: meta["softmax"].update(type="adaptive", cutoffs=[4]),
    "an unknown type": lambda meta: meta["softmax"].update(type="fast"),
    "no section": lambda meta: meta.update(softmax=3),
}


@pytest.mark.parametrize("change", CHANGES)
def test_metadata_that_does_not_fit(tmp_path: Path, change: str) -> None:
    folder = tmp_path / "model"
    write(folder)
    meta = json.loads((folder / META).read_text(encoding="utf8"))
    CHANGES[change](meta)
    (folder / META).write_text(json.dumps(meta), encoding="utf8")
    with refused(folder, META, "Copy or train it again"):
        read_model(folder)


def test_files_of_different_models(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    write(folder)
    lines = (folder / VOCABULARY).read_text(encoding="utf8").splitlines(keepends=True)
    (folder / VOCABULARY).write_text("".join(lines[:-1]), encoding="utf8")
    with refused(folder, VOCABULARY):
        read_model(folder)
    write(folder)
    save_bilm(BiLM(CONFIG.replace(projection_dim=4)), folder)
    with refused(folder, SOFTMAX):
        read_model(folder)
    write(folder)
    tensors = load_file(folder / SOFTMAX)
    save_file({"weight": tensors["weight"]}, str(folder / SOFTMAX))
    with refused(folder, "bias"):
        read_model(folder)
