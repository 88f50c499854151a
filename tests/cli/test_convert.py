"""python -m spacy elmo convert."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import spacy
import torch
from click.testing import Result
from helpers import runs
from helpers.commands import assert_refused, complete, invoke
from helpers.explorers import write_scorer

from spacy_elmo import BiLM, BiLMConfig, load_bilm, save_bilm
from spacy_elmo.formats import WeightsError
from spacy_elmo.formats.output_layer import read_output_layer, write_output_layer


@pytest.fixture
def trained_model(tmp_path: Path) -> Path:
    """A random language model with its output layer."""
    return write_scorer(tmp_path / "trained")


def convert(*arguments: object) -> None:
    lines = complete("convert", *arguments)
    assert any("Converted" in line for line in lines)


def refuse(*arguments: object) -> Result:
    return invoke("convert", *arguments)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def with_training(weights: Path, folder: Path, tokenizer: str) -> Path:
    """A copy of the weights with a description of their pretraining."""
    shutil.copytree(weights, folder)
    meta = {"softmax": {}, "tokenizer": tokenizer, "sentences": "split", "step": 5}
    (folder / "pretraining.json").write_text(json.dumps(meta), encoding="utf8")
    return folder


def stored(folder: Path) -> object:
    path = folder / "pretraining.json"
    return json.loads(path.read_text(encoding="utf8")) if path.is_file() else None


def assert_same_vectors(weights: Path, *converted: Path) -> None:
    """Models are loaded here, so that no cached vectors of other batches are used."""
    sentences = [["She", "sat", "on", "the", "bank"]]
    (expected,) = load_bilm(weights).encode(sentences)
    (found,) = load_bilm(*converted).encode(sentences)
    np.testing.assert_array_equal(found, expected)


def test_round_trip_by_folders(weights: Path, tmp_path: Path) -> None:
    published, ours = tmp_path / "published", tmp_path / "ours"
    convert(weights, published, "--to", "hdf5")
    assert names(published) == ["options.json", "weights.hdf5"]
    convert(published, ours)
    assert names(ours) == ["model.safetensors", "options.json"]
    for folder in (published, ours):
        assert_same_vectors(weights, folder)


def test_round_trip_by_pairs(weights: Path, tmp_path: Path) -> None:
    pair = tmp_path / "o.json", tmp_path / "w.hdf5"
    convert(weights, f"{pair[0]},{pair[1]}")
    convert(f"{pair[0]},{pair[1]}", tmp_path / "ours")
    assert_same_vectors(weights, *pair)
    assert_same_vectors(weights, tmp_path / "ours")


def test_float16(weights: Path, tmp_path: Path, tiny_bilm: BiLM) -> None:
    convert(weights, tmp_path / "half", "--dtype", "float16")
    full, half = (
        (folder / "model.safetensors").stat().st_size
        for folder in (weights, tmp_path / "half")
    )
    assert half < 0.75 * full
    loaded = load_bilm(tmp_path / "half")
    for ours, theirs in zip(loaded.parameters(), tiny_bilm.parameters()):
        torch.testing.assert_close(ours, theirs.half().float(), rtol=0, atol=0)


def test_int8(weights: Path, tmp_path: Path) -> None:
    convert(weights, tmp_path / "quarter", "--dtype", "int8")
    convert(tmp_path / "quarter", tmp_path / "again")
    assert_same_vectors(tmp_path / "quarter", tmp_path / "again")


def test_overwrite_only_with_force(
    weights: Path, tmp_path: Path, tiny_config: BiLMConfig
) -> None:
    out = tmp_path / "out"
    save_bilm(BiLM(tiny_config), out)
    before = (out / "model.safetensors").read_bytes()
    assert_refused(refuse(weights, out), out, "--force")
    assert (out / "model.safetensors").read_bytes() == before
    convert(weights, out, "--force")
    assert (out / "model.safetensors").read_bytes() != before
    (tmp_path / "empty").mkdir()
    convert(weights, tmp_path / "empty")


@pytest.mark.parametrize("formats", [("safetensors", "hdf5"), ("hdf5", "safetensors")])
def test_a_folder_never_contains_two_formats(
    weights: Path, tmp_path: Path, formats: tuple[str, str]
) -> None:
    """Not even with --force: it could not be loaded any more."""
    out = tmp_path / "out"
    convert(weights, out, "--to", formats[0])
    before = names(out)
    result = refuse(weights, out, "--to", formats[1], "--force")
    assert_refused(result, f"{out}: expected", "another")
    assert names(out) == before
    assert load_bilm(out).config.n_layers == 2
    convert(weights, out, "--to", formats[0], "--force")


@pytest.mark.parametrize("second", ["x.json", "y/../x.json"])
def test_a_pair_of_one_path(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, second: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = refuse(weights, f"x.json,{second}")
    assert_refused(result, f"x.json,{second}: expected two paths", "found the same")
    assert not list(tmp_path.iterdir())


def test_the_tokenization_is_kept(weights: Path, tmp_path: Path) -> None:
    """The rest of what pretraining wrote belongs to a model with its output layer."""
    german = with_training(weights, tmp_path / "german", "de")
    out, by_file, again = (tmp_path / name for name in ("out", "by_file", "again"))
    for source, target in (
        (german, out),
        (german / "model.safetensors", by_file),
        (out, again),
    ):
        convert(source, target)
        assert stored(target) == {"tokenizer": "de", "sentences": "split"}
    text = tmp_path / "text.txt"
    text.write_text("a b", encoding="utf8")
    result = invoke("evaluate", out, text)
    assert_refused(result, "softmax.safetensors", "no perplexity")


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_an_output_layer(dtype: str, trained_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    convert(trained_model, out, "--dtype", dtype, "--output-layer")
    width = load_bilm(trained_model).config.projection_dim
    expected = read_output_layer(trained_model, width)
    found = read_output_layer(out, width)
    assert found.meta == expected.meta
    assert found.vocabulary.words == expected.vocabulary.words
    for name, tensor in expected.softmax.state_dict().items():
        kept = tensor if dtype == "float32" else tensor.half().float()
        assert found.softmax.state_dict()[name].equal(kept), name
    size = (out / "softmax.safetensors").stat().st_size
    full = (trained_model / "softmax.safetensors").stat().st_size
    assert (size < 0.75 * full) == (dtype != "float32")


def test_an_output_layer_that_cannot_be_converted(
    weights: Path, trained_model: Path, tmp_path: Path
) -> None:
    target = tmp_path / "out"
    result = refuse(weights, target, "--output-layer")
    assert_refused(result, "found no softmax.safetensors")
    result = refuse(trained_model, target, "--output-layer", "--to", "hdf5")
    assert_refused(result, "--output-layer: expected", "no output layer")
    assert not target.exists()
    width = load_bilm(trained_model).config.projection_dim
    stored = read_output_layer(trained_model, width)
    with torch.no_grad():
        stored.softmax.weight[0] = 1e6
    with pytest.raises(WeightsError, match="of at most 65504"):
        write_output_layer(tmp_path, stored.softmax, stored.vocabulary, torch.float16)


def test_overwritten_weights_lose_their_tokenization(
    weights: Path, tmp_path: Path
) -> None:
    target = with_training(weights, tmp_path / "out", "en")
    german = with_training(weights, tmp_path / "german", "de")
    convert(german, target, "--force")
    assert stored(target) == {"tokenizer": "de", "sentences": "split"}
    convert(weights, target, "--force")
    assert stored(target) is None


def test_overwritten_weights_lose_their_output_layer(
    weights: Path, trained_model: Path, tmp_path: Path
) -> None:
    target = tmp_path / "out"
    convert(trained_model, target, "--output-layer")
    convert(target, target, "--dtype", "float16", "--force")
    assert (target / "softmax.safetensors").is_file()
    convert(weights, target, "--force")
    names = {path.name for path in target.iterdir()}
    assert names == {"model.safetensors", "options.json"}


def test_conversion_in_place_keeps_what_pretraining_wrote(
    weights: Path, tmp_path: Path
) -> None:
    model = with_training(weights, tmp_path / "model", "de")
    before = (model / "pretraining.json").read_bytes()
    for source in (model, model / "model.safetensors"):
        convert(source, model, "--dtype", "float16", "--force")
        assert (model / "pretraining.json").read_bytes() == before


def test_a_damaged_tokenization(weights: Path, tmp_path: Path) -> None:
    model = with_training(weights, tmp_path / "model", "de")
    (model / "pretraining.json").write_text("{", encoding="utf8")
    result = refuse(model, tmp_path / "out")
    assert_refused(result, "pretraining.json: expected the JSON")
    assert not (tmp_path / "out").exists()


def test_invalid_arguments(weights: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert_refused(refuse(tmp_path / "none", out), "none: expected")
    assert_refused(refuse("a,b,c", out), "expected a path, or two", "found 3")
    result = refuse(weights, out, "--to", "hdf5", "--dtype", "float16")
    assert_refused(result, "expected float32", "found float16")
    (tmp_path / "text.txt").write_text("no weights")
    assert_refused(refuse(tmp_path / "text.txt", out), "text.txt: expected")
    for option in (("--to", "onnx"), ("--dtype", "int4")):
        assert refuse(weights, out, *option).exit_code == 2
    assert not out.exists()


def test_a_truncated_file(weights: Path, tmp_path: Path) -> None:
    data = (weights / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(data[: len(data) // 2])
    result = refuse(tmp_path, tmp_path / "out")
    assert_refused(result, tmp_path / "model.safetensors", "expected", "found")
    assert not (tmp_path / "out").exists()


def test_as_a_spacy_command(weights: Path, tmp_path: Path) -> None:
    """The commands are registered by an entry point."""
    command = ("-m", "spacy", "elmo", "convert", weights, tmp_path / "out")
    assert "Converted" in runs.complete(*command)
    assert load_bilm(tmp_path / "out").config.n_layers == 2


def test_bilm_of_a_pipeline(weights: Path, tmp_path: Path) -> None:
    nlp = spacy.blank("xx")
    nlp.to_disk(tmp_path / "blank")
    assert_refused(refuse(tmp_path / "blank", tmp_path / "out"), "elmo component")
    nlp.add_pipe("sentencizer")
    nlp.add_pipe("elmo").set_bilm(load_bilm(weights))
    nlp.to_disk(tmp_path / "pipeline")
    convert(tmp_path / "pipeline", tmp_path / "out")
    state = load_bilm(tmp_path / "out").state_dict()
    for name, tensor in load_bilm(weights).state_dict().items():
        assert torch.equal(state[name], tensor), name
