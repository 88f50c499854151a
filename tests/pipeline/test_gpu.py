"""The component on a GPU, with CuPy and PyTorch. Run with -m gpu."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Iterator

import numpy as np
import pytest
import spacy
import torch
from helpers.pipelines import (
    CONCAT_TWICE,
    LISTENER,
    blank,
    embedder,
    examples,
    mixes,
    no_warnings,
    own_bilm,
    same_numbers,
    train,
    trainable,
)
from numpy.testing import assert_allclose
from spacy.language import Language
from spacy.tokens import Doc, DocBin
from thinc.api import get_current_ops, set_current_ops

from spacy_elmo import BiLM

pytestmark = pytest.mark.gpu

TEXTS = ["She sat on the river bank . He robbed the bank", "", "\n", "the  bank"]
HEADS = {"tagger": LISTENER, "ner": CONCAT_TWICE}


@pytest.fixture(autouse=True)
def _back_to_cpu() -> Iterator[None]:
    """Undo require_gpu, which changes the state of the process."""
    before = get_current_ops()
    yield
    set_current_ops(before)
    spacy.require_cpu()


def _is_cupy(array: Any) -> bool:
    return type(array).__module__.split(".")[0] == "cupy"


def _numpy(array: Any) -> np.ndarray:
    return array.get() if _is_cupy(array) else np.asarray(array)


def _cpu_docs(bilm: BiLM, **settings: Any) -> list[Doc]:
    spacy.require_cpu()
    return list(embedder(bilm, **settings).pipe(TEXTS))


def _check_near(docs: list[Doc], expected: list[Doc], atol: float = 1e-3) -> None:
    for doc, wanted in zip(docs, expected):
        layers = _numpy(doc._.elmo.layers)
        assert layers.dtype == np.float32
        assert_allclose(layers, wanted._.elmo.layers, atol=atol, rtol=1e-3)
        assert_allclose(_numpy(doc.tensor), wanted.tensor, atol=atol, rtol=1e-3)
        assert_allclose(_numpy(doc.vector), wanted.vector, atol=atol, rtol=1e-3)


def test_equals_the_cpu(bilm: BiLM) -> None:
    expected = _cpu_docs(bilm)
    assert spacy.require_gpu()
    nlp = embedder(bilm)
    assert nlp.get_pipe("elmo").bilm.device.type == "cuda"
    docs = list(nlp.pipe(TEXTS))
    assert all(_is_cupy(doc._.elmo.layers) and _is_cupy(doc.tensor) for doc in docs)
    _check_near(docs, expected)
    similarity = docs[0][5].similarity(docs[0][10])
    assert isinstance(similarity, float)
    wanted = expected[0][5].similarity(expected[0][10])
    assert similarity == pytest.approx(wanted, abs=1e-4)
    assert docs[0].vector_norm == pytest.approx(expected[0].vector_norm, rel=1e-3)


def test_prefer_gpu(bilm: BiLM) -> None:
    assert spacy.prefer_gpu()
    doc = embedder(bilm)(TEXTS[0])
    assert _is_cupy(doc._.elmo.layers)


@pytest.mark.parametrize("mix", ["mean", "top", [0.2, 0.3, 0.5]])
def test_other_mixes(bilm: BiLM, mix: Any) -> None:
    expected = _cpu_docs(bilm, mix=mix)
    spacy.require_gpu()
    docs = list(embedder(bilm, mix=mix).pipe(TEXTS))
    _check_near(docs, expected)
    assert_allclose(
        _numpy(docs[0]._.elmo.mix("top")), expected[0]._.elmo.mix("top"), atol=1e-3
    )


def test_static_vectors_are_not_used(bilm: BiLM) -> None:
    expected = _cpu_docs(bilm)
    spacy.require_gpu()
    nlp = embedder(bilm)
    nlp.vocab.set_vector("bank", np.ones(16, dtype="float32"))
    docs = list(nlp.pipe(TEXTS))
    _check_near(docs, expected)


def test_keep_on_cpu(bilm: BiLM) -> None:
    expected = _cpu_docs(bilm)
    spacy.require_gpu()
    docs = list(embedder(bilm, keep_on_cpu=True).pipe(TEXTS))
    for doc in docs:
        assert type(doc._.elmo.layers) is np.ndarray
        assert type(doc.vector) is np.ndarray
    _check_near(docs, expected)


def test_keep_on_cpu_with_heads(weights: Path) -> None:
    """Their mixes bring the layers back to the GPU."""
    spacy.require_gpu()
    nlp = trainable(HEADS, weights, elmo={"keep_on_cpu": True})
    train(nlp, 3)
    doc = nlp(TEXTS[0])
    assert type(doc._.elmo.layers) is np.ndarray
    assert doc[0].tag_


def test_serialization_of_docs(bilm: BiLM) -> None:
    with no_warnings():
        spacy.require_gpu()
        nlp = embedder(bilm)
        doc = nlp(TEXTS[0])
        by_bytes = Doc(nlp.vocab).from_bytes(doc.to_bytes())
        docbin = DocBin(docs=[doc], store_user_data=True)
        (by_docbin,) = DocBin().from_bytes(docbin.to_bytes()).get_docs(nlp.vocab)
        for restored in (by_bytes, by_docbin, doc.copy()):
            layers = _numpy(restored._.elmo.layers)
            assert_allclose(layers, _numpy(doc._.elmo.layers), atol=1e-6)
            assert_allclose(
                _numpy(restored._.elmo.vectors), _numpy(doc._.elmo.vectors), atol=1e-6
            )


def test_cpu_to_gpu_and_back(weights: Path, tmp_path: Path) -> None:
    spacy.require_cpu()
    nlp = trainable(HEADS, weights)
    train(nlp, 10)
    nlp.to_disk(tmp_path / "cpu")
    expected = list(nlp.pipe(TEXTS))
    spacy.require_gpu()
    on_gpu = spacy.load(tmp_path / "cpu")
    docs = list(on_gpu.pipe(TEXTS))
    assert _is_cupy(docs[0]._.elmo.layers)
    _check_near(docs, expected)
    on_gpu.to_disk(tmp_path / "gpu")
    spacy.require_cpu()
    back = spacy.load(tmp_path / "gpu")
    assert back.get_pipe("elmo").bilm.device.type == "cpu"
    docs = list(back.pipe(TEXTS))
    assert type(docs[0]._.elmo.layers) is np.ndarray
    _check_near(docs, expected, atol=1e-5)
    for doc, wanted in zip(docs, expected):
        assert [t.tag_ for t in doc] == [t.tag_ for t in wanted]
    for name in HEADS:
        pairs = zip(mixes(nlp.get_pipe(name).model), mixes(back.get_pipe(name).model))
        for one, two in pairs:
            assert_allclose(one.get_param("scalars"), two.get_param("scalars"))


def test_bytes_are_independent_of_the_device(weights: Path) -> None:
    spacy.require_cpu()
    data = trainable({"tagger": LISTENER}, weights).to_bytes()
    spacy.require_gpu()
    other = blank({"tagger": LISTENER}).from_bytes(data)
    assert other.get_pipe("elmo").bilm.device.type == "cuda"
    assert other.get_pipe("elmo").model.to_bytes() == (
        blank({"tagger": LISTENER}).from_bytes(data).get_pipe("elmo").model.to_bytes()
    )


@pytest.mark.parametrize("kind", ["listener", "concat twice", "own"])
@pytest.mark.parametrize("frozen", [True, False])
def test_training(weights: Path, tiny_bilm: BiLM, kind: str, frozen: bool) -> None:
    spacy.require_gpu()
    own = own_bilm(weights, frozen=frozen)
    tok2vec = {"listener": LISTENER, "concat twice": CONCAT_TWICE, "own": own}[kind]
    nlp: Language = trainable(
        {"tagger": tok2vec, "ner": tok2vec},
        None if kind == "own" else weights,
        elmo=None if kind == "own" else {"frozen": frozen},
    )
    history = train(nlp, 30)
    assert history[-1]["tagger"] < 0.8 * history[0]["tagger"]
    for mix in mixes(nlp.get_pipe("tagger").model):
        assert _is_cupy(mix.get_param("scalars"))
        assert _numpy(mix.get_param("scalars")).any()
    if kind != "own":
        on_cpu = nlp.get_pipe("elmo").bilm.cpu()
        same = same_numbers(on_cpu, tiny_bilm)
        assert all(same.values()) if frozen else not any(same.values())


def test_frozen_components(weights: Path) -> None:
    spacy.require_gpu()
    nlp = trainable({"tagger": LISTENER}, weights)
    history = train(nlp, 20, exclude=["elmo"], annotates=["elmo"])
    assert history[-1]["tagger"] < history[0]["tagger"]


def test_replace_listeners(weights: Path) -> None:
    spacy.require_gpu()
    nlp = trainable({"tagger": LISTENER}, weights)
    train(nlp, 5)
    expected = [[t.tag_ for t in doc] for doc in nlp.pipe(TEXTS)]
    nlp.replace_listeners("elmo", "tagger", ["model.tok2vec"])
    nlp.remove_pipe("elmo")
    assert [[t.tag_ for t in doc] for doc in nlp.pipe(TEXTS)] == expected


def test_evaluate(weights: Path) -> None:
    spacy.require_gpu()
    nlp = trainable(HEADS, weights)
    train(nlp, 5)
    assert 0 <= nlp.evaluate(examples(nlp))["tag_acc"] <= 1


@pytest.mark.parametrize("precision", ["bfloat16", "auto"])
def test_bfloat16(bilm: BiLM, precision: str) -> None:
    expected = _cpu_docs(bilm)
    spacy.require_gpu()
    model = {"@architectures": "spacy_elmo.ElmoModel.v1", "precision": precision}
    docs = list(embedder(bilm, model=model).pipe(TEXTS))
    assert torch.cuda.is_bf16_supported()
    for doc, wanted in zip(docs, expected):
        layers = _numpy(doc._.elmo.layers)
        assert layers.dtype == np.float32
        scale = max(1.0, float(np.abs(wanted._.elmo.layers).max(initial=0)))
        assert_allclose(layers, wanted._.elmo.layers, atol=0.1 * scale)
    difference = _numpy(docs[0]._.elmo.layers) - expected[0]._.elmo.layers
    assert np.abs(difference).max() > 1e-4


def test_gpu_pipeline_in_a_cpu_context(weights: Path) -> None:
    """Threads and notebook cells may have other ops than the pipeline. Its arrays stay
    on its own device."""
    spacy.require_gpu()
    nlp = trainable(HEADS, weights)
    train(nlp, 10)
    expected = [[t.tag_ for t in doc] for doc in nlp.pipe(TEXTS)]
    spacy.require_cpu()
    docs = list(nlp.pipe(TEXTS))
    assert _is_cupy(docs[0]._.elmo.layers)
    assert [[t.tag_ for t in doc] for doc in docs] == expected
