"""spaCy's own commands on pipelines with ELMo."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import spacy
from helpers.pipelines import (
    CONCAT,
    LISTENER,
    config,
    embedder,
    mixes,
    own_bilm,
    same_numbers,
    spacy_command,
    train,
    trainable,
    write_corpus,
)
from spacy.cli.find_threshold import find_threshold
from spacy.util import load_model_from_config
from thinc.api import Config

from spacy_elmo import BiLM


def _write_config(tmp_path: Path, text: Config, **training: Any) -> Path:
    """A complete config that trains for a few steps on the corpus."""
    corpus = write_corpus(tmp_path / "corpus.spacy")
    filled = load_model_from_config(text, auto_fill=True, validate=False).config
    reader = {"@readers": "spacy.Corpus.v1", "path": str(corpus)}
    changes = {
        "corpora": {"train": reader, "dev": reader},
        "training": {
            "max_steps": 6,
            "eval_frequency": 3,
            "optimizer": {"@optimizers": "Adam.v1", "learn_rate": 0.02},
            **training,
        },
    }
    path = tmp_path / "config.cfg"
    filled.merge(changes).to_disk(path)
    return path


def _trained(tmp_path: Path, path: Path) -> spacy.Language:
    result = spacy_command("train", path, "--output", tmp_path / "out")
    assert result.exit_code == 0, (result.output, result.exception)
    return spacy.load(tmp_path / "out" / "model-last")


@pytest.mark.parametrize(
    ("kind", "frozen"),
    [("listener", True), ("listener", False), ("concat", True), ("own", False)],
)
def test_train(
    weights: Path, tmp_path: Path, tiny_bilm: BiLM, kind: str, frozen: bool
) -> None:
    own = own_bilm(weights, frozen=frozen)
    tok2vec = {"listener": LISTENER, "concat": CONCAT, "own": own}[kind]
    heads = {"tagger": tok2vec, "ner": tok2vec}
    with_component = kind != "own"
    text = config(
        heads,
        weights if with_component else None,
        elmo={"frozen": frozen} if with_component else None,
    )
    nlp = _trained(tmp_path, _write_config(tmp_path, text, accumulate_gradient=2))
    for head in heads:
        assert mixes(nlp.get_pipe(head).model)[0].get_param("scalars").any()
    if with_component:
        same = same_numbers(nlp.get_pipe("elmo").bilm, tiny_bilm)
        assert all(same.values()) if frozen else not any(same.values())


@pytest.mark.parametrize("annotating", [True, False])
def test_train_with_frozen_components(
    bilm: BiLM, tmp_path: Path, annotating: bool
) -> None:
    """With a component from a stored pipeline."""
    embedder(bilm).to_disk(tmp_path / "source")
    source = {"source": str(tmp_path / "source")}
    text = config({"tagger": LISTENER})
    filled = _write_config(
        tmp_path,
        text,
        frozen_components=["elmo"],
        annotating_components=["elmo"] if annotating else [],
    )
    loaded = Config().from_disk(filled, interpolate=False)
    loaded["components"]["elmo"] = source
    loaded.to_disk(filled)
    nlp = _trained(tmp_path, filled)
    assert all(same_numbers(nlp.get_pipe("elmo").bilm, bilm).values())
    assert mixes(nlp.get_pipe("tagger").model)[0].get_param("scalars").any()


def test_train_with_an_unknown_upstream(weights: Path, tmp_path: Path) -> None:
    text = config({"tagger": {**LISTENER, "upstream": "other"}}, weights)
    path = _write_config(tmp_path, text)
    result = spacy_command("train", path)
    assert isinstance(result.exception, ValueError)
    assert "(here: 'other'), found none" in str(result.exception)


PRINT = ["--print-step1", "--print-step3", "--dimensions", "--attributes"]


@pytest.mark.parametrize("component", ["tagger", "ner", "elmo"])
def test_debug_model(weights: Path, tmp_path: Path, component: str) -> None:
    path = _write_config(tmp_path, config({"tagger": LISTENER, "ner": CONCAT}, weights))
    result = spacy_command("debug", "model", path, component, *PRINT)
    assert result.exit_code == 0, (result.output, result.exception)
    assert "model looks good" in result.output


def test_debug_data(weights: Path, tmp_path: Path) -> None:
    path = _write_config(tmp_path, config({"tagger": LISTENER, "ner": CONCAT}, weights))
    result = spacy_command("debug", "data", path)
    assert "Traceback" not in result.output
    assert isinstance(result.exception, (SystemExit, type(None))), result.exception


def test_evaluate(weights: Path, tmp_path: Path) -> None:
    nlp = trainable({"tagger": LISTENER}, weights, elmo={"frozen": False})
    train(nlp, 30)
    nlp.to_disk(tmp_path / "model")
    corpus = write_corpus(tmp_path / "corpus.spacy")
    scores = tmp_path / "scores.json"
    result = spacy_command("evaluate", tmp_path / "model", corpus, "--output", scores)
    assert result.exit_code == 0, (result.output, result.exception)
    assert json.loads(scores.read_text())["tag_acc"] > 0.8


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_find_threshold(weights: Path, tmp_path: Path) -> None:
    nlp = trainable({"textcat_multilabel": LISTENER}, weights)
    train(nlp, 20)
    nlp.to_disk(tmp_path / "model")
    threshold, score, scores = find_threshold(
        str(tmp_path / "model"),
        write_corpus(tmp_path / "corpus.spacy"),
        "textcat_multilabel",
        "threshold",
        "cats_macro_f",
        n_trials=3,
    )
    assert sorted(scores) == [0.0, 0.5, 1.0]
    assert scores[threshold] == score > 0


LOAD = """
import warnings
warnings.simplefilter("error")
warnings.filterwarnings("ignore", category=DeprecationWarning)
import en_tiny_elmo
nlp = en_tiny_elmo.load()
doc = nlp("She sat on the river bank .")
print([t.tag_ for t in doc], doc._.elmo.layers.shape)
"""


def test_package(weights: Path, tmp_path: Path) -> None:
    nlp = trainable({"tagger": LISTENER}, weights)
    train(nlp, 10)
    nlp.to_disk(tmp_path / "model")
    (tmp_path / "out").mkdir()
    result = spacy_command(
        *("package", tmp_path / "model", tmp_path / "out"),
        *("--name", "tiny_elmo", "--version", "1.2.3", "--build", "none"),
    )
    assert result.exit_code == 0, (result.output, result.exception)
    package = tmp_path / "out" / "en_tiny_elmo-1.2.3"
    meta = json.loads((package / "meta.json").read_text(encoding="utf8"))
    assert any(name.startswith("spacy-elmo") for name in meta["requirements"]), meta
    target = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
    install += ["--no-index", "--no-build-isolation", "--target", str(target)]
    subprocess.run([*install, str(package)], check=True, capture_output=True)
    result_of_load = subprocess.run(
        [sys.executable, "-c", LOAD],
        capture_output=True,
        text=True,
        check=False,
        cwd=target,
    )
    assert result_of_load.returncode == 0, result_of_load.stderr
    tags = [token.tag_ for token in nlp("She sat on the river bank .")]
    assert result_of_load.stdout.strip() == f"{tags} (3, 7, 16)"
