"""The elmo component: weights, settings, unusual docs, errors, listeners."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import spacy
from helpers.pipelines import (
    CONCAT_TWICE,
    LISTENER,
    blank,
    embedder,
    examples,
    expected_layers,
    own_bilm,
    trainable,
)
from numpy.testing import assert_allclose
from spacy.language import Language
from spacy.tokens import Doc

from spacy_elmo import BiLM, load_bilm
from spacy_elmo.formats.bundled import BUNDLED
from spacy_elmo.pipeline.elmo import Elmo

WORDS = ["the", "river", "bank"]

slow = pytest.mark.slow


def _check_works(nlp: Language, bilm: BiLM) -> None:
    doc = nlp("the river bank")
    assert_allclose(doc._.elmo.layers, expected_layers(bilm, WORDS), atol=1e-5)


def test_add_pipe_with_all_defaults() -> None:
    nlp = spacy.blank("en")
    elmo = nlp.add_pipe("elmo")
    assert isinstance(elmo, Elmo)
    config = nlp.get_pipe_config("elmo")
    settings = {key: config[key] for key in ("frozen", "mix", "keep_layers")}
    assert settings == {"frozen": True, "mix": "mean", "keep_layers": True}
    assert config["model"]["@architectures"] == "spacy_elmo.ElmoModel.v1"


def test_without_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BUNDLED, "md", tmp_path / "none")
    nlp = spacy.blank("en")
    elmo = nlp.add_pipe("elmo")
    uses: list[Any] = [
        lambda: nlp("a b"),
        lambda: list(nlp.pipe(["a b"])),
        lambda: nlp.initialize(lambda: examples(nlp)),
        lambda: nlp.update(examples(nlp)),
        lambda: elmo.bilm,
    ]
    for use in uses:
        with pytest.raises(ValueError, match="three ways") as caught:
            use()
        message = str(caught.value)
        assert "[initialize.components.elmo.weights]" in message
        assert "set_bilm(spacy_elmo.load_bilm(path))" in message
        assert "spacy.load(path)" in message
        assert "source=" in message


def test_weights_from_the_config(weights: Path, tiny_bilm: BiLM) -> None:
    nlp = blank({}, weights)
    nlp.initialize(lambda: examples(nlp))
    _check_works(nlp, tiny_bilm)


def test_weights_from_set_bilm(weights: Path, tiny_bilm: BiLM) -> None:
    nlp = spacy.blank("en")
    elmo = nlp.add_pipe("elmo")
    assert elmo.set_bilm(load_bilm(weights)) is elmo
    assert isinstance(elmo.bilm, BiLM)
    _check_works(nlp, tiny_bilm)


def test_weights_from_spacy_load(
    tmp_path: Path, nlp: Language, tiny_bilm: BiLM
) -> None:
    nlp.to_disk(tmp_path)
    _check_works(spacy.load(tmp_path), tiny_bilm)


def test_weights_from_source(nlp: Language, tiny_bilm: BiLM) -> None:
    other = spacy.blank("en")
    other.add_pipe("elmo", source=nlp)
    _check_works(other, tiny_bilm)


def test_initialize_keeps_weights_from_set_bilm(bilm: BiLM) -> None:
    nlp = embedder(bilm)
    nlp.initialize(lambda: examples(nlp))
    assert nlp.get_pipe("elmo").bilm is bilm


def test_initialize_without_examples(nlp: Language) -> None:
    with pytest.raises(TypeError, match="E930"):
        nlp.get_pipe("elmo").initialize(lambda: [])


def test_set_bilm_replaces_the_weights(nlp: Language, tiny_config: Any) -> None:
    nlp.get_pipe("elmo").set_bilm(BiLM(tiny_config.replace(projection_dim=5)))
    assert nlp("a b")._.elmo.layers.shape == (3, 2, 10)


def test_settings_of_the_model(bilm: BiLM) -> None:
    model = {"@architectures": "spacy_elmo.ElmoModel.v1", "window": 2}
    nlp = embedder(bilm, model=model)
    layers = nlp("a b c d")._.elmo.layers
    assert_allclose(layers, expected_layers(bilm, ["a", "b"], ["c", "d"]), atol=1e-5)


def test_sentences_of_an_earlier_component(bilm: BiLM) -> None:
    nlp = blank(
        {"sentencizer": {"factory": "sentencizer"}, "elmo": {"factory": "elmo"}},
        elmo=None,
    )
    assert nlp.pipe_names == ["sentencizer", "elmo"]
    nlp.get_pipe("elmo").set_bilm(bilm)
    layers = nlp("a b . c d")._.elmo.layers
    expected = expected_layers(bilm, ["a", "b", "."], ["c", "d"])
    assert_allclose(layers, expected, atol=1e-5)


@pytest.mark.parametrize("mix", ["learned", "sum"])
def test_unknown_mix(mix: str) -> None:
    with pytest.raises(ValueError, match=f"mix: expected mean, top.*found '{mix}'"):
        spacy.blank("en").add_pipe("elmo", config={"mix": mix})


def test_empty_stream(nlp: Language) -> None:
    assert list(nlp.pipe([])) == []


def test_empty_stream_with_heads(weights: Path) -> None:
    assert list(trainable({"tagger": LISTENER}, weights).pipe([])) == []


@pytest.mark.parametrize("words", [[], [" "], ["\n", "\t ", "\n\n"]])
@pytest.mark.parametrize("tok2vec", [LISTENER, CONCAT_TWICE])
def test_docs_without_words(
    weights: Path, tok2vec: dict[str, Any], words: list[str]
) -> None:
    nlp = trainable({"tagger": tok2vec, "ner": tok2vec}, weights)
    texts = [words, ["a"], words]
    docs = list(nlp.pipe(Doc(nlp.vocab, words=text) for text in texts))
    for doc in [docs[0], docs[2], nlp(Doc(nlp.vocab, words=words))]:
        assert doc._.elmo.layers.shape == (3, len(words), 16)
        assert not doc._.elmo.layers.any()
        assert doc.vector.shape == (16,)
        assert not doc.vector.any()
        assert doc.vector_norm == 0
        assert not doc.has_vector
        assert doc.similarity(docs[1]) == 0.0
        assert all(not token.has_vector for token in doc)


@pytest.mark.parametrize("length", [10_000, pytest.param(100_000, marks=slow)])
def test_long_doc(nlp: Language, tiny_bilm: BiLM, length: int) -> None:
    words = [f"w{number % 50}" for number in range(length)]
    doc = nlp(Doc(nlp.vocab, words=words))
    assert doc._.elmo.layers.shape == (3, length, 16)
    n_windows = -(-len(words) // 128)
    start, end = (len(words) * i // n_windows for i in (40, 41))
    expected = expected_layers(tiny_bilm, words[start:end])
    assert_allclose(doc._.elmo.layers[:, start:end], expected, atol=1e-5)


def test_pipe_equals_single_docs(nlp: Language) -> None:
    texts = ["a b c", "", "the river bank", "\n", "x " * 300]
    for doc, text in zip(nlp.pipe(texts, batch_size=3), texts):
        assert_allclose(doc._.elmo.layers, nlp(text)._.elmo.layers, atol=1e-5)


def test_error_handler(nlp: Language, monkeypatch: pytest.MonkeyPatch) -> None:
    elmo, failed = nlp.get_pipe("elmo"), []
    predict = elmo.predict

    def picky(docs: list[Doc]) -> Any:
        if any("bad" in doc.text for doc in docs):
            raise RuntimeError("cannot read this")
        return predict(docs)

    monkeypatch.setattr(elmo, "predict", picky)
    nlp.set_error_handler(
        lambda name, proc, docs, error: failed.append((name, proc, docs, str(error)))
    )
    texts = ["one", "bad", "two"]
    assert [doc.text for doc in nlp.pipe(texts, batch_size=1)] == ["one", "two"]
    ((name, proc, docs, error),) = failed
    assert (name, proc, error) == ("elmo", elmo, "cannot read this")
    assert [doc.text for doc in docs] == ["bad"]


def test_error_handler_of_heads_without_layers(weights: Path) -> None:
    nlp = trainable({"tagger": LISTENER}, weights)
    failed = []
    nlp.set_error_handler(lambda name, proc, docs, error: failed.append((name, error)))
    with nlp.select_pipes(disable="elmo"):
        assert list(nlp.pipe(["a b", "c"])) == []
    ((name, error),) = failed
    assert name == "tagger"
    assert "expected its layers on each Doc" in str(error)


@pytest.mark.parametrize("tok2vec", [LISTENER, CONCAT_TWICE])
def test_heads_without_elmo(weights: Path, tok2vec: dict[str, Any]) -> None:
    nlp = trainable({"tagger": tok2vec, "ner": tok2vec}, weights)
    nlp("a b c")
    for head in ("tagger", "ner"):
        with (
            nlp.select_pipes(enable=head),
            pytest.raises(ValueError, match=r"Run the elmo component .* before it"),
        ):
            nlp("a b c")
    assert nlp("a b c")[0].tag_


def test_keep_layers_false_with_listeners(weights: Path) -> None:
    with pytest.raises(ValueError, match=r"'tagger' .*keep_layers = true, found false"):
        trainable({"tagger": LISTENER}, weights, elmo={"keep_layers": False})


def test_second_elmo_component(nlp: Language) -> None:
    with pytest.raises(ValueError, match=r"one elmo component.*'elmo' and 'elmo2'"):
        nlp.add_pipe("elmo", name="elmo2")
    with pytest.raises(ValueError, match="Expected one elmo component"):
        blank({"one": {"factory": "elmo"}, "two": {"factory": "elmo"}}, elmo=None)


def test_second_elmo_component_from_source(nlp: Language, bilm: BiLM) -> None:
    with pytest.raises(ValueError, match="Expected one elmo component"):
        nlp.add_pipe("elmo", name="elmo2", source=embedder(bilm))


def test_replacing_the_elmo_component(nlp: Language) -> None:
    nlp.remove_pipe("elmo")
    nlp.add_pipe("elmo", name="elmo2")
    assert nlp.pipe_names == ["elmo2"]


def test_listeners(weights: Path) -> None:
    heads = {"tagger": LISTENER, "ner": CONCAT_TWICE}
    nlp = blank({**heads, "textcat_multilabel": own_bilm(weights)})
    elmo = nlp.get_pipe("elmo")
    assert elmo.listening_components == ["tagger", "ner"]
    assert len(elmo.listener_map["ner"]) == 2
    assert len(elmo.listeners) == 3
    nlp.remove_pipe("ner")
    assert elmo.listening_components == ["tagger"]
    (listener,) = elmo.listeners
    assert elmo.remove_listener(listener, "tagger")
    assert not elmo.remove_listener(listener, "tagger")
    assert elmo.listeners == []
    assert listener.attrs["state"].compute is None


def test_analyze_pipes(weights: Path) -> None:
    nlp = blank({"tagger": LISTENER})
    summary = nlp.analyze_pipes(keys=["assigns"])["summary"]["elmo"]
    assert summary["assigns"][:2] == ["doc.tensor", "doc._.elmo"]


def test_add_label(nlp: Language) -> None:
    with pytest.raises(NotImplementedError, match="has no labels"):
        nlp.get_pipe("elmo").add_label("X")


def test_import_does_not_import_pytorch() -> None:
    """Every `python -m spacy` command imports the package for its entry points."""
    code = "import spacy_elmo, sys; print('torch' in sys.modules)"
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"
