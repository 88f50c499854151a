"""nlp.replace_listeners: a head gets a copy of the biLM and keeps its mix."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import spacy
from helpers.pipelines import (
    CONCAT,
    CONCAT_TWICE,
    LISTENER,
    mixes,
    no_warnings,
    same_numbers,
    train,
    trainable,
)
from numpy.testing import assert_array_equal
from spacy.language import Language

from spacy_elmo import BiLM
from spacy_elmo.layers.elmo_model import get_bilm
from spacy_elmo.layers.listener import is_listener

TEXTS = ["She sat on the river bank .", "He left Paris with Ann Lee", "", "\n"]
OWN = "spacy_elmo.ElmoTok2Vec.v1"
KINDS = [
    pytest.param(LISTENER, ["model.tok2vec"], id="listener"),
    pytest.param(CONCAT, ["model.tok2vec.elmo"], id="concat"),
    pytest.param(
        CONCAT_TWICE,
        ["model.tok2vec.elmo", "model.tok2vec.output_elmo"],
        id="concat twice",
    ),
]
kinds = pytest.mark.parametrize(("tok2vec", "paths"), KINDS)


def _trained(weights: Path, tok2vec: dict[str, Any], **elmo: Any) -> Language:
    nlp = trainable({"tagger": tok2vec, "ner": tok2vec}, weights, elmo=elmo)
    train(nlp, 4)
    return nlp


def test_ids_of_the_copies(weights: Path) -> None:
    nlp = trainable(
        {"tagger": LISTENER, "ner": LISTENER}, weights, elmo={"frozen": False}
    )
    for name in ("tagger", "ner"):
        nlp.replace_listeners("elmo", name, ["model.tok2vec"])
    shims = [
        shim
        for name in ("elmo", "tagger", "ner")
        for node in nlp.get_pipe(name).model.walk()
        for shim in node.shims
    ]
    assert len(shims) == len({shim.id for shim in shims}) == 3


def _predictions(nlp: Language) -> list[Any]:
    return [
        ([t.tag_ for t in doc], [(e.text, e.label_) for e in doc.ents])
        for doc in nlp.pipe(TEXTS)
    ]


def _inner_bilms(nlp: Language, head: str) -> list[BiLM]:
    model = nlp.get_pipe(head).model
    return [get_bilm(node) for node in model.walk() if node.name == "elmo_model"]


@kinds
def test_predictions_are_unchanged(
    weights: Path, tok2vec: dict[str, Any], paths: list[str]
) -> None:
    nlp = _trained(weights, tok2vec)
    before, docs = _predictions(nlp), list(nlp.pipe(TEXTS))
    vectors = nlp.get_pipe("tagger").model.predict(docs)
    with no_warnings():
        for head in ("tagger", "ner"):
            nlp.replace_listeners("elmo", head, paths)
    assert nlp.get_pipe("elmo").listeners == []
    for head in ("tagger", "ner"):
        assert not [n for n in nlp.get_pipe(head).model.walk() if is_listener(n)]
        assert len(_inner_bilms(nlp, head)) == len(paths)
    nlp.remove_pipe("elmo")
    assert _predictions(nlp) == before
    bare = [nlp.make_doc(text) for text in TEXTS]
    for one, two in zip(nlp.get_pipe("tagger").model.predict(bare), vectors):
        assert_array_equal(one, two)


@kinds
def test_config_and_pipeline_round_trip(
    weights: Path, tok2vec: dict[str, Any], paths: list[str], tmp_path: Path
) -> None:
    settings = {"mix": "learned", "layer_norm": True, "dropout": 0.25, "l2": 0.01}
    listener = {**LISTENER, **settings}
    changed = {**tok2vec, **settings} if tok2vec is LISTENER else dict(tok2vec)
    for name in ("elmo", "output_elmo"):
        if name in changed:
            changed[name] = listener
    nlp = _trained(weights, changed)
    nlp.replace_listeners("elmo", "tagger", paths)
    for path in paths:
        block: Any = nlp.config["components"]["tagger"]
        for key in path.split("."):
            block = block[key]
        assert block["@architectures"] == OWN
        assert {key: block[key] for key in settings} == settings
        assert block["weights"] is None
        assert block["model"]["@architectures"] == "spacy_elmo.ElmoModel.v1"
        assert "upstream" not in block
    with no_warnings():
        nlp.to_disk(tmp_path)
        other = spacy.load(tmp_path)
    assert _predictions(other) == _predictions(nlp)
    assert other.config["components"]["tagger"] == nlp.config["components"]["tagger"]
    # The NER is still a listener.
    assert set(other.get_pipe("elmo").listening_components) == {"ner"}


@kinds
def test_training_continues(
    weights: Path, tok2vec: dict[str, Any], paths: list[str], tiny_bilm: BiLM
) -> None:
    nlp = _trained(weights, tok2vec)
    nlp.replace_listeners("elmo", "tagger", paths)
    before = [
        m.get_param("scalars").copy() for m in mixes(nlp.get_pipe("tagger").model)
    ]
    train(nlp, 3)
    for mix, scalars in zip(mixes(nlp.get_pipe("tagger").model), before):
        assert (mix.get_param("scalars") != scalars).all()
    for bilm in _inner_bilms(nlp, "tagger"):
        assert all(same_numbers(bilm, tiny_bilm).values())


@pytest.mark.parametrize("frozen", [True, False])
def test_frozen_is_kept(weights: Path, frozen: bool, tmp_path: Path) -> None:
    nlp = _trained(weights, LISTENER, frozen=frozen)
    nlp.replace_listeners("elmo", "tagger", ["model.tok2vec"])
    block = nlp.config["components"]["tagger"]["model"]["tok2vec"]
    assert block["frozen"] is frozen
    nlp.to_disk(tmp_path)
    other = spacy.load(tmp_path)
    before = _inner_bilms(nlp, "tagger")[0]
    train(other, 2)
    same = same_numbers(_inner_bilms(other, "tagger")[0], before)
    assert all(same.values()) if frozen else not any(same.values())


def test_copy_is_independent(weights: Path, tiny_bilm: BiLM) -> None:
    nlp = _trained(weights, LISTENER)
    nlp.replace_listeners("elmo", "tagger", ["model.tok2vec"])
    for parameter in _inner_bilms(nlp, "tagger")[0].parameters():
        parameter.data.zero_()
    assert all(same_numbers(nlp.get_pipe("elmo").bilm, tiny_bilm).values())
    assert nlp("She sat")._.elmo.layers.any()


def test_without_weights() -> None:
    """They may be loaded later."""
    nlp = spacy.blank("en")
    nlp.add_pipe("elmo")
    nlp.add_pipe("tagger", config={"model": {"tok2vec": LISTENER}})
    nlp.replace_listeners("elmo", "tagger", ["model.tok2vec"])
    block = nlp.config["components"]["tagger"]["model"]["tok2vec"]
    assert block["@architectures"] == OWN


def test_sourcing_a_head_without_elmo(weights: Path) -> None:
    """See spacy.io/usage/processing-pipelines#sourced-components."""
    nlp = _trained(weights, LISTENER)
    expected = _predictions(nlp)
    nlp.replace_listeners("elmo", "tagger", ["model.tok2vec"])
    other = spacy.blank("en")
    other.add_pipe("tagger", source=nlp)
    tags = [[t.tag_ for t in doc] for doc in other.pipe(TEXTS)]
    assert tags == [tags for tags, _ in expected]


def test_listeners_with_different_settings(weights: Path) -> None:
    tok2vec = {**CONCAT_TWICE, "output_elmo": {**LISTENER, "mix": "top"}}
    nlp = trainable({"tagger": tok2vec}, weights)
    with pytest.raises(ValueError, match="several with the same settings"):
        nlp.replace_listeners(
            "elmo", "tagger", ["model.tok2vec.elmo", "model.tok2vec.output_elmo"]
        )


TWO_PROCESSES = """
import sys

import spacy
import torch

if __name__ == "__main__":
    nlp = spacy.load(sys.argv[1])
    torch.set_num_threads(4)
    texts = ["She sat on the river bank", "He robbed the bank"] * 20
    # Before the fork: PyTorch's threads are alive in this process.
    single = [[t.tag_ for t in doc] for doc in nlp.pipe(texts)]
    double = nlp.pipe(texts, n_process=2, batch_size=5)
    assert [[t.tag_ for t in doc] for doc in double] == single
    assert torch.get_num_threads() == 4
"""


def test_pipe_with_two_processes(weights: Path, tmp_path: Path) -> None:
    """Run in a subprocess, so that a worker that hangs is a failure."""
    nlp = _trained(weights, LISTENER)
    nlp.replace_listeners("elmo", "tagger", ["model.tok2vec"])
    nlp.replace_listeners("elmo", "ner", ["model.tok2vec"])
    nlp.remove_pipe("elmo")
    nlp.to_disk(tmp_path / "model")
    script = tmp_path / "two.py"
    script.write_text(TWO_PROCESSES, encoding="utf8")
    command = [sys.executable, str(script), str(tmp_path / "model")]
    result = subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == 0, result.stderr
