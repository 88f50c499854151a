"""python -m spacy elmo convert."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import Result
from helpers.pipelines import same_numbers
from typer.testing import CliRunner

from spacy_elmo import BiLM, load_bilm, save_bilm
from spacy_elmo.cli import elmo_cli
from spacy_elmo.layers import weights as shipped

SENTENCE = [["She", "sat", "on", "the", "bank"]]


def _convert(*arguments: object) -> Result:
    command = ["convert", *(str(argument) for argument in arguments)]
    return CliRunner().invoke(elmo_cli, command)


def _check_refused(result: Result, *parts: object) -> None:
    """Status 1, a message, no traceback."""
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.output
    for part in parts:
        assert str(part) in result.output, result.output


def test_ours_to_published_and_back(
    weights: Path, tmp_path: Path, tiny_bilm: BiLM
) -> None:
    published, ours = tmp_path / "published", tmp_path / "ours"
    result = _convert(weights, published, "--to", "hdf5")
    assert result.exit_code == 0, result.output
    assert "Converted" in result.output
    names = sorted(p.name for p in published.iterdir())
    assert names == ["options.json", "weights.hdf5"]
    result = _convert(published, ours)
    assert result.exit_code == 0, result.output
    names = sorted(p.name for p in ours.iterdir())
    assert names == ["model.safetensors", "options.json"]
    loaded = load_bilm(ours)
    np.testing.assert_array_equal(loaded.encode(SENTENCE), tiny_bilm.encode(SENTENCE))


def test_pairs_of_paths(weights: Path, tmp_path: Path, tiny_bilm: BiLM) -> None:
    pair = f"{tmp_path / 'o.json'},{tmp_path / 'w.hdf5'}"
    assert _convert(weights, pair).exit_code == 0
    result = _convert(pair, tmp_path / "ours")
    assert result.exit_code == 0, result.output
    loaded = load_bilm(tmp_path / "o.json", tmp_path / "w.hdf5")
    np.testing.assert_array_equal(loaded.encode(SENTENCE), tiny_bilm.encode(SENTENCE))
    assert all(same_numbers(load_bilm(tmp_path / "ours"), loaded).values())


def test_float16(weights: Path, tmp_path: Path, tiny_bilm: BiLM) -> None:
    assert _convert(weights, tmp_path / "half", "--dtype", "float16").exit_code == 0
    full, half = (
        (folder / "model.safetensors").stat().st_size
        for folder in (weights, tmp_path / "half")
    )
    assert half < 0.75 * full
    loaded = load_bilm(tmp_path / "half")
    for ours, theirs in zip(loaded.parameters(), tiny_bilm.parameters()):
        torch.testing.assert_close(ours, theirs.half().float(), rtol=0, atol=0)


def test_what_is_there_is_not_written_over(
    weights: Path, tmp_path: Path, tiny_config: object
) -> None:
    torch.manual_seed(5)
    other = BiLM(tiny_config)  # type: ignore[arg-type]
    save_bilm(other, tmp_path / "out")
    before = (tmp_path / "out" / "model.safetensors").read_bytes()
    _check_refused(_convert(weights, tmp_path / "out"), tmp_path / "out", "--force")
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == before
    assert _convert(weights, tmp_path / "out", "--force").exit_code == 0
    assert (tmp_path / "out" / "model.safetensors").read_bytes() != before


@pytest.mark.parametrize("formats", [("safetensors", "hdf5"), ("hdf5", "safetensors")])
def test_a_folder_never_holds_two_formats(
    weights: Path, tmp_path: Path, formats: tuple[str, str]
) -> None:
    """Not by --force either: it could not be loaded any more."""
    out = tmp_path / "out"
    assert _convert(weights, out, "--to", formats[0]).exit_code == 0
    before = sorted(out.iterdir())
    result = _convert(weights, out, "--to", formats[1], "--force")
    _check_refused(result, f"{out}: expected a folder without weights of another")
    assert sorted(out.iterdir()) == before
    assert load_bilm(out).config.n_layers == 2
    assert _convert(weights, out, "--to", formats[0], "--force").exit_code == 0


@pytest.mark.parametrize("second", ["x.json", "y/../x.json"])
def test_a_pair_is_two_paths(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, second: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = _convert(weights, f"x.json,{second}")
    _check_refused(result, f"x.json,{second}: expected two paths", "found the same")
    assert not list(tmp_path.iterdir())


def _told(weights: Path, folder: Path, tokenizer: str) -> Path:
    """As pretraining writes a model, with more than the tokenization."""
    shutil.copytree(weights, folder)
    meta = {"softmax": {}, "tokenizer": tokenizer, "sentences": "split", "step": 5}
    (folder / "pretraining.json").write_text(json.dumps(meta), encoding="utf8")
    return folder


def _tokenization(folder: Path) -> object:
    path = folder / "pretraining.json"
    return json.loads(path.read_text(encoding="utf8")) if path.is_file() else None


def test_the_tokenization_is_kept(weights: Path, tmp_path: Path) -> None:
    """It alone: what else pretraining wrote is of a model with its output layer."""
    german = _told(weights, tmp_path / "german", "de")
    out, by_file, again = (tmp_path / name for name in ("out", "by_file", "again"))
    for source, target in (
        (german, out),
        (german / "model.safetensors", by_file),
        (out, again),
    ):
        assert _convert(source, target).exit_code == 0
        assert _tokenization(target) == {"tokenizer": "de", "sentences": "split"}
    text = tmp_path / "text.txt"
    text.write_text("a b", encoding="utf8")
    evaluated = CliRunner().invoke(elmo_cli, ["evaluate", str(out), str(text)])
    _check_refused(evaluated, "softmax.safetensors", "no perplexity")


def test_the_tokenization_of_weights_that_ship_is_kept(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipped, "BUNDLED", weights)
    assert _convert(weights, tmp_path / "out").exit_code == 0
    assert _tokenization(tmp_path / "out") == {"tokenizer": "en", "sentences": "lines"}


def test_the_tokenization_is_that_of_the_new_weights(
    weights: Path, tmp_path: Path
) -> None:
    target = _told(weights, tmp_path / "out", "en")
    german = _told(weights, tmp_path / "german", "de")
    assert _convert(german, target, "--force").exit_code == 0
    assert _tokenization(target) == {"tokenizer": "de", "sentences": "split"}
    assert _convert(weights, target, "--force").exit_code == 0
    assert _tokenization(target) is None


def test_in_its_place_a_model_keeps_what_pretraining_wrote(
    weights: Path, tmp_path: Path
) -> None:
    model = _told(weights, tmp_path / "model", "de")
    before = (model / "pretraining.json").read_bytes()
    for source in (model, model / "model.safetensors"):
        result = _convert(source, model, "--dtype", "float16", "--force")
        assert result.exit_code == 0, result.output
        assert (model / "pretraining.json").read_bytes() == before


def test_a_damaged_tokenization_is_refused(weights: Path, tmp_path: Path) -> None:
    model = _told(weights, tmp_path / "model", "de")
    (model / "pretraining.json").write_text("{", encoding="utf8")
    result = _convert(model, tmp_path / "out")
    _check_refused(result, "pretraining.json: expected the JSON")
    assert not (tmp_path / "out").exists()


def test_an_empty_folder_is_free(weights: Path, tmp_path: Path) -> None:
    assert _convert(weights, tmp_path).exit_code == 0


def test_refused_arguments(weights: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    _check_refused(_convert(tmp_path / "none", out), "found nothing there")
    _check_refused(_convert("a,b,c", out), "expected a path, or two", "found 3")
    _check_refused(
        _convert(weights, out, "--to", "hdf5", "--dtype", "float16"),
        "expected float32",
        "found float16",
    )
    (tmp_path / "text.txt").write_text("no weights")
    _check_refused(_convert(tmp_path / "text.txt", out), "a file of another kind")
    assert not out.exists()


def test_a_truncated_file(weights: Path, tmp_path: Path) -> None:
    data = (weights / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(data[: len(data) // 2])
    result = _convert(tmp_path, tmp_path / "out")
    _check_refused(result, tmp_path / "model.safetensors", "expected", "found")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("option", [["--to", "onnx"], ["--dtype", "int8"]])
def test_unknown_options(weights: Path, tmp_path: Path, option: list[str]) -> None:
    result = _convert(weights, tmp_path / "out", *option)
    assert result.exit_code == 2
    assert "Traceback" not in result.output


def test_as_a_command_of_spacy(weights: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "spacy", "elmo", "convert"]
    good = subprocess.run(
        [*command, str(weights), str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert good.returncode == 0, good.stderr
    assert load_bilm(tmp_path / "out").config.n_layers == 2
    bad = subprocess.run(
        [*command, str(tmp_path / "none"), str(tmp_path / "out2")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert bad.returncode == 1
    assert "found nothing there" in bad.stderr
    assert "Traceback" not in bad.stderr + bad.stdout
