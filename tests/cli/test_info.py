"""python -m spacy elmo info."""

from __future__ import annotations

import re
import shutil
import sys
import zipfile
from pathlib import Path

import pytest
import spacy
from click.testing import Result
from helpers.pipelines import (
    CONCAT_TWICE,
    LISTENER,
    blank,
    embedder,
    mixes,
    own_bilm,
    train,
    trainable,
)
from typer.testing import CliRunner

from spacy_elmo import BiLM, save_bilm
from spacy_elmo.bilm.backends.cpu import available
from spacy_elmo.cli import elmo_cli
from spacy_elmo.layers.mix import learned_mix


def _info(model: object) -> Result:
    return CliRunner().invoke(elmo_cli, ["info", str(model)])


def _good(model: object) -> str:
    result = _info(model)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output


def _check_sizes(output: str, bilm: BiLM) -> None:
    lines = [re.sub(r"\s+", " ", line).strip() for line in output.splitlines()]
    for expected in (
        "layers 2 + 1, each 16 wide",
        "LSTM 24, projected to 8",
        "clips cell 3.0, projection 3.0",
        "skip connections True",
        "characters bytes, 262 ids",
        "a word at most 50 ids",
        "filters 1:4 2:8 3:8 (20), relu",
        "highways 1",
    ):
        assert any(line.startswith(expected) for line in lines), (expected, output)
    assert f"{bilm.n_parameters:,}" in output


def test_who_takes_the_steps(
    tiny_bilm: BiLM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_bilm(tiny_bilm, tmp_path / "tiny")
    save_bilm(
        BiLM(tiny_bilm.config.replace(dim=128, projection_dim=64)), tmp_path / "b"
    )
    monkeypatch.setattr(available, "lanes", lambda: 16)
    monkeypatch.setattr(available, "why_absent", lambda: None)
    assert "want a projection, and multiples of 64)" in _good(tmp_path / "tiny")
    assert "compiled kernels" in _good(tmp_path / "b")
    monkeypatch.setattr(available, "why_absent", lambda: "not built: why")
    assert "PyTorch's operations (not built: why)" in _good(tmp_path / "b")


def test_our_folder(weights: Path, tiny_bilm: BiLM) -> None:
    output = _good(weights)
    _check_sizes(output, tiny_bilm)
    assert "spacy-elmo (safetensors)" in output
    assert "model.safetensors" in output
    _check_sizes(_good(weights / "model.safetensors"), tiny_bilm)


def test_the_published_pair(tmp_path: Path, tiny_bilm: BiLM) -> None:
    save_bilm(tiny_bilm, tmp_path, format="hdf5")
    by_folder = _good(tmp_path)
    by_paths = _good(f"{tmp_path / 'options.json'},{tmp_path / 'weights.hdf5'}")
    for output, by in ((by_folder, "weights.hdf5"), (by_paths, "two paths given")):
        _check_sizes(output, tiny_bilm)
        assert "published (bilm-tf, AllenNLP)" in output
        assert by in output


def test_an_nlpl_archive(tmp_path: Path, tiny_bilm: BiLM) -> None:
    save_bilm(tiny_bilm, tmp_path, format="hdf5")
    with zipfile.ZipFile(tmp_path / "1.zip", "w") as archive:
        archive.write(tmp_path / "options.json", "options.json")
        archive.write(tmp_path / "weights.hdf5", "model.hdf5")
        archive.writestr("meta.json", "{}")
    output = _good(tmp_path / "1.zip")
    _check_sizes(output, tiny_bilm)
    assert "NLPL" in output


def test_manylangs(shared: Path) -> None:
    output = _good(shared / "fixtures" / "manylangs")
    assert "ManyLangs" in output
    assert "vocabulary" in output


def test_a_trained_pipeline(weights: Path, tmp_path: Path, tiny_bilm: BiLM) -> None:
    """s and gamma of each mix of each head."""
    nlp = trainable(
        {
            "tagger": LISTENER,
            "ner": CONCAT_TWICE,
            "textcat_multilabel": own_bilm(weights, mix="top"),
        },
        weights,
    )
    train(nlp, 8)
    nlp.to_disk(tmp_path)
    output = _good(tmp_path)
    _check_sizes(output, tiny_bilm)
    rows = [line.split() for line in output.splitlines()]
    for head, kinds in (
        ("tagger", ["learned"]),
        ("ner", ["learned", "learned"]),
        ("textcat_multilabel", ["top"]),
    ):
        found = [row for row in rows if row[:1] == [head] and len(row) == 6]
        assert [row[1] for row in found] == kinds, output
        for row, mix in zip(found, mixes(nlp.get_pipe(head).model)):
            s, gamma = learned_mix(mix)
            assert [float(x) for x in row[2:]] == pytest.approx([*s, gamma], abs=1e-4)
            assert sum(float(x) for x in row[2:5]) == pytest.approx(1, abs=1e-3)
    tagger = next(row for row in rows if row[:2] == ["tagger", "learned"])
    assert tagger[5] != "1.0000"
    assert output.count("biLM of") == 2


def test_a_pipeline_after_replace_listeners(weights: Path, tmp_path: Path) -> None:
    nlp = trainable({"tagger": LISTENER}, weights)
    train(nlp, 8)
    nlp.to_disk(tmp_path / "before")
    nlp.replace_listeners("elmo", "tagger", ["model.tok2vec"])
    nlp.to_disk(tmp_path / "after")
    rows = [
        next(line for line in _good(tmp_path / name).splitlines() if "learned" in line)
        for name in ("before", "after")
    ]
    assert rows[0].split() == rows[1].split()


def test_a_pipeline_without_heads(bilm: BiLM, tmp_path: Path) -> None:
    embedder(bilm).to_disk(tmp_path)
    output = _good(tmp_path)
    _check_sizes(output, bilm)
    assert "No component of this pipeline mixes" in output


def test_a_pipeline_without_elmo(tmp_path: Path) -> None:
    spacy.blank("en").to_disk(tmp_path)
    assert "No component of this pipeline mixes" in _good(tmp_path)


@pytest.mark.parametrize("mix", ["learned", "mean"])
def test_a_pipeline_that_was_not_initialised(tmp_path: Path, mix: str) -> None:
    """No weights, no mix: a table or a message, no traceback."""
    blank({"tagger": {**LISTENER, "mix": mix}}).to_disk(tmp_path)
    result = _info(tmp_path)
    assert isinstance(result.exception, (SystemExit, type(None))), result.exception
    assert "Traceback" not in result.output
    assert "tagger" in result.output


def test_a_pipeline_with_one_untrained_head(weights: Path, tmp_path: Path) -> None:
    """It does not hide the mixes of the others."""
    nlp = trainable({"tagger": LISTENER}, weights)
    ner = blank({"ner": LISTENER}).get_pipe_config("ner")
    nlp.add_pipe("ner", config={"model": ner["model"]})
    nlp.to_disk(tmp_path)
    result = _info(tmp_path)
    assert isinstance(result.exception, (SystemExit, type(None))), result.exception
    assert "learned" in result.output
    assert "0.3333" in result.output


def test_nothing_there(tmp_path: Path) -> None:
    result = _info(tmp_path / "none")
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    assert "found nothing there" in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize("name", ["spacy", "numpy", "spacy_elmo", "spacy-elmo"])
def test_a_package_that_is_no_pipeline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = _info(name)
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit), result.exception
    assert f"{name}: expected weights, or a spaCy pipeline" in result.output
    assert "installed but no pipeline's module" in result.output


def test_a_folder_is_not_taken_for_a_package(
    bilm: BiLM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedder(bilm).to_disk(tmp_path / "numpy")
    monkeypatch.chdir(tmp_path)
    _check_sizes(_good("numpy"), bilm)


def test_an_installed_pipeline(
    bilm: BiLM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `spacy package` writes it."""
    nlp = embedder(bilm)
    nlp.meta["name"], nlp.meta["version"] = "told", "1.0"
    package = tmp_path / "en_told"
    package.mkdir()
    nlp.to_disk(package / "en_told-1.0")
    shutil.copy(package / "en_told-1.0" / "meta.json", package)
    (package / "__init__.py").write_text(
        "from spacy.util import load_model_from_init_py\n"
        "def load(**overrides):\n"
        "    return load_model_from_init_py(__file__, **overrides)\n"
    )
    described = tmp_path / "en_told-1.0.dist-info" / "METADATA"
    described.parent.mkdir()
    described.write_text("Metadata-Version: 2.1\nName: en_told\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    _check_sizes(_good("en_told"), bilm)


def test_a_pipeline_whose_packages_are_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spacy.blank("en").to_disk(tmp_path)
    for name in ("config.cfg", "meta.json"):
        text = (tmp_path / name).read_text(encoding="utf8")
        text = text.replace('lang = "en"', 'lang = "ja"')
        text = text.replace("spacy.Tokenizer.v1", "spacy.ja.JapaneseTokenizer")
        (tmp_path / name).write_text(text, encoding="utf8")
    monkeypatch.setitem(sys.modules, "sudachipy", None)
    result = _info(tmp_path)
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit), result.exception
    assert "expected a pipeline whose packages are installed" in result.output
    assert "pip install spacy[ja]" in result.output


def test_a_damaged_file(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"\x10" * 50)
    result = _info(tmp_path)
    assert result.exit_code == 1
    assert "model.safetensors: expected a safetensors file" in result.output
