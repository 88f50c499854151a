"""python -m spacy elmo info."""

from __future__ import annotations

import shutil
import sys
import zipfile
from pathlib import Path

import pytest
import spacy
from helpers.commands import assert_refused, complete, invoke
from helpers.language_models import write_weights
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

from spacy_elmo import BiLM, save_bilm
from spacy_elmo.bilm.backends import cpu as kernels
from spacy_elmo.layers.mix import learned_mix
from spacy_elmo.scoring.scorer import Scorer


def check_sizes(lines: list[str], bilm: BiLM) -> None:
    for expected in (
        f"parameters {bilm.n_parameters:,} (",
        "layers 2 + 1, of width 16",
        "LSTM 24, projected to 8",
        "clips cell 3.0, projection 3.0",
        "skip connections True",
        "characters bytes, 262 ids",
        "longest word 50 ids",
        "filters 1:4 2:8 3:8 (20), relu",
        "highways 1",
    ):
        assert any(line.startswith(expected) for line in lines), (expected, lines)


def test_how_the_lstm_is_computed(tiny_bilm: BiLM, tmp_path: Path) -> None:
    save_bilm(tiny_bilm, tmp_path)
    if kernels.why_absent() is None:
        assert "compiled kernels" in shown(tmp_path)
    with kernels.limited_to("none"):
        absent = "PyTorch (no compiled kernels: SPACY_ELMO_CPU is none)"
        assert absent in shown(tmp_path)


def shown(model: Path) -> str:
    return "\n".join(complete("info", model))


def test_our_format(weights: Path, tiny_bilm: BiLM) -> None:
    for model in (weights, weights / "model.safetensors"):
        lines = complete("info", model)
        check_sizes(lines, tiny_bilm)
        assert "format spacy-elmo (safetensors)" in lines
        assert any("model.safetensors" in line for line in lines)
        assert "output layer none, so no probabilities of words" in lines


def test_output_layer(tmp_path: Path) -> None:
    words = [f"w{number}" for number in range(1000)]
    model = write_weights(tmp_path / "model", words)
    assert "output layer 1,003 words" in complete("info", model)
    nlp = blank({}, elmo={"score": True})
    nlp.get_pipe("elmo").set_scorer(Scorer.load(model))  # type: ignore[attr-defined]
    nlp.to_disk(tmp_path / "pipeline")
    assert "output layer 1,003 words" in complete("info", tmp_path / "pipeline")


def test_the_published_format(tmp_path: Path, tiny_bilm: BiLM) -> None:
    save_bilm(tiny_bilm, tmp_path, format="hdf5")
    pair = f"{tmp_path / 'options.json'},{tmp_path / 'weights.hdf5'}"
    for model, evidence in (
        (tmp_path, "options.json, weights.hdf5"),
        (pair, "two paths"),
    ):
        lines = complete("info", model)
        check_sizes(lines, tiny_bilm)
        assert "format published (bilm-tf, AllenNLP)" in lines
        assert f"recognized by {evidence}" in lines
    with zipfile.ZipFile(tmp_path / "1.zip", "w") as archive:
        archive.write(tmp_path / "options.json", "options.json")
        archive.write(tmp_path / "weights.hdf5", "model.hdf5")
        archive.writestr("meta.json", "{}")
    lines = complete("info", tmp_path / "1.zip")
    check_sizes(lines, tiny_bilm)
    assert any("NLPL" in line for line in lines)


def test_manylangs(shared: Path) -> None:
    lines = complete("info", shared / "fixtures" / "manylangs")
    assert any("ManyLangs" in line for line in lines)
    assert any(line.startswith("characters vocabulary") for line in lines)


def test_a_trained_pipeline(weights: Path, tmp_path: Path, tiny_bilm: BiLM) -> None:
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
    lines = complete("info", tmp_path)
    check_sizes(lines, tiny_bilm)
    assert sum("biLM of" in line for line in lines) == 2
    rows = [line.split() for line in lines]
    for head, kinds in (
        ("tagger", ["learned"]),
        ("ner", ["learned", "learned"]),
        ("textcat_multilabel", ["top"]),
    ):
        found = [row for row in rows if row[:1] == [head] and len(row) == 6]
        assert [row[1] for row in found] == kinds, lines
        for row, mix in zip(found, mixes(nlp.get_pipe(head).model)):
            s, gamma = learned_mix(mix)
            assert [float(x) for x in row[2:]] == pytest.approx([*s, gamma], abs=1e-4)
            assert sum(float(x) for x in row[2:5]) == pytest.approx(1, abs=1e-3)
            assert (row[5] != "1.0000") == (head != "textcat_multilabel")


def test_a_pipeline_after_replace_listeners(weights: Path, tmp_path: Path) -> None:
    nlp = trainable({"tagger": LISTENER}, weights)
    train(nlp, 8)
    nlp.to_disk(tmp_path / "before")
    nlp.replace_listeners("elmo", "tagger", ["model.tok2vec"])
    nlp.to_disk(tmp_path / "after")
    rows = [
        next(line for line in complete("info", tmp_path / name) if "learned" in line)
        for name in ("before", "after")
    ]
    assert rows[0] == rows[1]


def test_pipelines_without_heads(bilm: BiLM, tmp_path: Path) -> None:
    embedder(bilm).to_disk(tmp_path / "elmo")
    spacy.blank("en").to_disk(tmp_path / "blank")
    check_sizes(complete("info", tmp_path / "elmo"), bilm)
    for name in ("elmo", "blank"):
        assert "No component of this pipeline mixes" in shown(tmp_path / name)


@pytest.mark.parametrize("mix", ["learned", "mean"])
def test_a_pipeline_that_is_not_initialized(tmp_path: Path, mix: str) -> None:
    blank({"tagger": {**LISTENER, "mix": mix}}).to_disk(tmp_path)
    result = invoke("info", tmp_path)
    assert isinstance(result.exception, (SystemExit, type(None))), result.exception
    assert "tagger" in result.output


def test_an_untrained_head_does_not_hide_the_others(
    weights: Path, tmp_path: Path
) -> None:
    nlp = trainable({"tagger": LISTENER}, weights)
    ner = blank({"ner": LISTENER}).get_pipe_config("ner")
    nlp.add_pipe("ner", config={"model": ner["model"]})
    nlp.to_disk(tmp_path)
    result = invoke("info", tmp_path)
    assert isinstance(result.exception, (SystemExit, type(None))), result.exception
    assert "learned" in result.output
    assert "0.3333" in result.output


@pytest.mark.parametrize("name", ["spacy", "numpy", "spacy_elmo", "spacy-elmo"])
def test_a_package_that_is_not_a_pipeline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    expected = f"{name}: expected weights, or a spaCy pipeline"
    result = invoke("info", name)
    assert_refused(result, expected, "an installed package that is not a pipeline")


def test_a_folder_wins_over_a_package_of_its_name(
    bilm: BiLM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedder(bilm).to_disk(tmp_path / "numpy")
    monkeypatch.chdir(tmp_path)
    check_sizes(complete("info", "numpy"), bilm)


def test_an_installed_pipeline(
    bilm: BiLM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the layout of `spacy package`."""
    nlp = embedder(bilm)
    nlp.meta["name"], nlp.meta["version"] = "mine", "1.0"
    package = tmp_path / "en_mine"
    package.mkdir()
    nlp.to_disk(package / "en_mine-1.0")
    shutil.copy(package / "en_mine-1.0" / "meta.json", package)
    (package / "__init__.py").write_text(
        "from spacy.util import load_model_from_init_py\n"
        "def load(**overrides):\n"
        "    return load_model_from_init_py(__file__, **overrides)\n"
    )
    metadata = tmp_path / "en_mine-1.0.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: en_mine\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    check_sizes(complete("info", "en_mine"), bilm)


def test_a_pipeline_that_needs_a_missing_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spacy.blank("en").to_disk(tmp_path)
    for name in ("config.cfg", "meta.json"):
        text = (tmp_path / name).read_text(encoding="utf8")
        text = text.replace('lang = "en"', 'lang = "ja"')
        text = text.replace("spacy.Tokenizer.v1", "spacy.ja.JapaneseTokenizer")
        (tmp_path / name).write_text(text, encoding="utf8")
    monkeypatch.setitem(sys.modules, "sudachipy", None)
    expected = "expected a pipeline whose packages are installed"
    assert_refused(invoke("info", tmp_path), expected, "pip install spacy[ja]")


def test_missing_and_damaged_weights(tmp_path: Path) -> None:
    assert_refused(invoke("info", tmp_path / "none"), "none: expected")
    (tmp_path / "model.safetensors").write_bytes(b"\x10" * 50)
    result = invoke("info", tmp_path)
    assert_refused(result, "model.safetensors: expected a safetensors file")
