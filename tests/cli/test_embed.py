"""python -m spacy elmo embed."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from click.testing import Result
from helpers import runs
from typer.testing import CliRunner

from spacy_elmo import BiLM
from spacy_elmo.cli import elmo_cli
from spacy_elmo.layers import weights as shipped

SENTENCES = [["She", "sat", "on", "the", "bank", "."], ["Rain", "!"]]


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    lines = [" ".join(sentence) + "\n" for sentence in SENTENCES]
    path.write_text("\n".join(lines), encoding="utf8")
    return path


def embed(*arguments: object) -> Result:
    command = ["embed", *(str(argument) for argument in arguments)]
    return CliRunner().invoke(elmo_cli, command)


def vectors(target: Path, *arguments: object) -> dict[str, np.ndarray]:
    """What is written, without the index."""
    result = embed(*arguments[:1], target, *arguments[1:])
    assert result.exit_code == 0, (result.output, result.exception)
    with h5py.File(target, "r") as file:
        return {key: file[key][...] for key in file if key != "sentence_to_index"}


def assert_refused(result: Result, *parts: object) -> None:
    """Status 1, a message, no traceback."""
    assert result.exit_code == 1, result.output
    assert isinstance(result.exception, SystemExit), result.exception
    for part in parts:
        assert str(part) in result.output, result.output


def test_all_layers_of_each_word(
    text: Path, weights: Path, tiny_bilm: BiLM, tmp_path: Path
) -> None:
    target = tmp_path / "out" / "vectors.hdf5"
    found = vectors(target, text, "--model", weights)
    assert sorted(found) == ["0", "1"]
    for number, expected in enumerate(tiny_bilm.encode(SENTENCES)):
        assert found[str(number)].shape == (3, len(SENTENCES[number]), 16)
        np.testing.assert_allclose(found[str(number)], expected, rtol=1e-5, atol=1e-5)
    with h5py.File(target, "r") as file:
        index = json.loads(file["sentence_to_index"][0])
        assert json.loads(file["0"].attrs["words"]) == SENTENCES[0]
    assert index == {"She sat on the bank .": "0", "Rain !": "1"}


@pytest.mark.parametrize(("layers", "number"), [("top", 2), ("1", 1), ("0", 0)])
def test_one_layer(
    text: Path,
    weights: Path,
    tiny_bilm: BiLM,
    tmp_path: Path,
    layers: str,
    number: int,
) -> None:
    found = vectors(tmp_path / "v.h5", text, "--model", weights, "--layers", layers)
    for key, expected in zip("01", tiny_bilm.encode(SENTENCES)):
        np.testing.assert_allclose(found[key], expected[number], rtol=1e-5, atol=1e-5)


def test_the_mean_in_half_the_space(
    text: Path, weights: Path, tiny_bilm: BiLM, tmp_path: Path
) -> None:
    options = ("--layers", "mean", "--half", "--forget-sentences")
    found = vectors(tmp_path / "v.h5", text, "--model", weights, *options)
    assert found["0"].dtype == np.float16
    expected = tiny_bilm.encode(SENTENCES)[0].mean(axis=0)
    np.testing.assert_allclose(found["0"], expected, atol=1e-2)
    with h5py.File(tmp_path / "v.h5", "r") as file:
        assert sorted(file) == ["0", "1"]


def test_precision(text: Path, weights: Path, tmp_path: Path) -> None:
    exact = vectors(tmp_path / "32.h5", text, "--model", weights)
    options = ("--precision", "bfloat16", "--batch-tokens", 8)
    fast = vectors(tmp_path / "16.h5", text, "--model", weights, *options)
    assert not np.array_equal(exact["0"], fast["0"])
    np.testing.assert_allclose(exact["0"], fast["0"], rtol=0.05, atol=0.5)


def test_the_tokenizer_is_that_of_the_training_text(
    tmp_path: Path, weights: Path
) -> None:
    """Unless another one is named, or nothing is known of it."""
    text = tmp_path / "text.txt"
    text.write_text("Isn't it?\n", encoding="utf8")

    def n_words(model: Path, *options: str) -> int:
        found = vectors(tmp_path / "v.h5", text, "-m", model, "--force", *options)
        return found["0"].shape[1]

    assert n_words(weights) == 2
    assert n_words(weights, "--tokenizer", "en") == 4
    told = tmp_path / "told"
    shutil.copytree(weights, told)
    meta = {"tokenizer": "en", "sentences": "split"}
    (told / "pretraining.json").write_text(json.dumps(meta), encoding="utf8")
    assert n_words(told) == 4
    assert n_words(told / "model.safetensors") == 4
    assert n_words(told, "--tokenizer", "whitespace") == 2
    shown = embed(text, tmp_path / "w.h5", "-m", told).output
    assert "tokenizer: en, sentences: split" in shown


def test_weights_that_ship(
    text: Path,
    weights: Path,
    tmp_path: Path,
    tiny_bilm: BiLM,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """English, by spaCy's rules."""
    monkeypatch.setattr(shipped, "BUNDLED", weights)
    text.write_text("Isn't it?\n", encoding="utf8")
    found = vectors(tmp_path / "v.h5", text)
    (expected,) = tiny_bilm.encode([["Is", "n't", "it", "?"]])
    np.testing.assert_allclose(found["0"], expected, rtol=1e-5, atol=1e-5)


def test_weights_that_ship_by_any_path(
    text: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tokenizer does not depend on how the path is spelled."""
    link = tmp_path / "link"
    link.symlink_to(weights, target_is_directory=True)
    monkeypatch.setattr(shipped, "BUNDLED", weights)
    relative = os.path.relpath(weights)
    for path in (relative, f"{weights}/", link, f"{relative}/model.safetensors"):
        result = embed(text, tmp_path / "v.h5", "--model", path, "--force")
        assert "tokenizer: en, sentences: lines" in result.output, path


def test_a_tokenizer_that_cannot_be_loaded(
    text: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Messages, as for a name that nothing has."""
    monkeypatch.setitem(sys.modules, "sudachipy", None)
    for name, found in (
        ("ja", "pip install spacy[ja]"),
        ("spacy", "not a pipeline"),
    ):
        result = embed(text, tmp_path / "v.h5", "-m", weights, "--tokenizer", name)
        assert_refused(result, "tokenizer: expected", f"found {name!r}", found)


def test_this_version_ships_none(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipped, "BUNDLED", tmp_path / "none")
    result = embed(text, tmp_path / "v.h5")
    assert_refused(result, "weights that ship", "ships none", "--model WEIGHTS")


def test_what_is_there_is_not_overwritten(
    text: Path, weights: Path, tmp_path: Path
) -> None:
    target = tmp_path / "v.h5"
    target.write_bytes(b"mine")
    assert_refused(embed(text, target, "-m", weights), target, "--force")
    assert target.read_bytes() == b"mine"
    assert vectors(target, text, "-m", weights, "--force")


def test_what_is_refused(text: Path, weights: Path, tmp_path: Path) -> None:
    target = tmp_path / "v.h5"

    def refused(*parts: object, text: Path = text, **options: Any) -> None:
        given = [
            part
            for name, value in options.items()
            for part in (f"--{name.replace('_', '-')}", value)
        ]
        assert_refused(embed(text, target, "-m", weights, *given), *parts)
        assert not target.exists()

    refused("layer: expected all, top, mean, 0, 1, 2, found", layers="both")
    refused("found none", text=tmp_path / "none.txt")
    (tmp_path / "empty.txt").write_text("\n", encoding="utf8")
    refused("no words", text=tmp_path / "empty.txt")
    refused("tokenizer: expected", tokenizer="no_such")
    refused("batch_tokens: expected", batch_tokens=0)
    refused("GPUs that PyTorch sees", gpu_id=99)
    assert_refused(embed(text, tmp_path / "v.npz", "-m", weights), ".hdf5 or .h5")
    result = embed(text, target, "-m", tmp_path / "nowhere")
    assert_refused(result, "found nothing there")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty.txt", "text.txt"]


def test_as_a_process(text: Path, weights: Path, tmp_path: Path) -> None:
    target = tmp_path / "v.h5"
    command = ("-m", "spacy", "elmo", "embed", text, target, "--model", weights)
    assert "2 sentences, 8 words" in runs.complete(*command)
    assert target.is_file()
