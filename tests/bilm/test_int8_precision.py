"""A whole biLM with products in int8."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import spacy
import torch
from spacy.tokens import Doc

from spacy_elmo import BiLM, load_bilm, load_bundled, save_bilm
from spacy_elmo.bilm import backends
from spacy_elmo.bilm.backends import CPUBackend, select_backend
from spacy_elmo.bilm.precision import resolve_precision

CPU = torch.device("cpu")
NEEDS_KERNELS = pytest.mark.skipif(
    CPUBackend.why_no_int8() is not None, reason=f"{CPUBackend.why_no_int8()}"
)
SENTENCES = [
    ["She", "sat", "on", "the", "river", "bank", "."],
    [],
    ["He", "robbed", "the", "bank", ",", "and", "nobody", "saw", "him", "."],
    ["Yes"],
]


@NEEDS_KERNELS
def test_vectors_of_the_shipped_weights() -> None:
    bilm = load_bundled()
    exact = np.concatenate(bilm.encode(SENTENCES), axis=1)
    rough = np.concatenate(bilm.encode(SENTENCES, precision="int8"), axis=1)
    cosines = torch.cosine_similarity(
        torch.from_numpy(exact), torch.from_numpy(rough), dim=2
    )
    assert cosines[-1].mean() > 0.999
    assert cosines[-1].min() > 0.98
    assert np.abs(exact - rough).max() > 1e-4
    assert (bilm.encode(SENTENCES)[0] == exact[:, :7]).all()


@NEEDS_KERNELS
def test_weights_stored_in_int8_give_the_same_vectors(tmp_path: Path) -> None:
    """In this precision: they are quantized to the same integers again."""
    bilm = load_bundled()
    save_bilm(bilm, tmp_path, dtype="int8")
    expected = bilm.encode(SENTENCES, precision="int8")
    found = load_bilm(tmp_path).encode(SENTENCES, precision="int8")
    for ours, theirs in zip(found, expected):
        assert np.array_equal(ours, theirs)


@NEEDS_KERNELS
def test_a_sentence_has_the_same_vectors_alone_and_in_any_batch() -> None:
    bilm = load_bundled()
    together = bilm.encode(SENTENCES, precision="int8")
    for words, expected in zip(SENTENCES, together):
        for others in ([], [["A"] * 50], SENTENCES[::-1]):
            found = bilm.encode([words, *others], precision="int8")[0]
            assert np.array_equal(found, expected)


@NEEDS_KERNELS
def test_int8_computes_no_gradients(bilm: BiLM) -> None:
    with pytest.raises(ValueError, match=r'expected "int8" only without gradients'):
        bilm(SENTENCES, precision="int8")
    with torch.no_grad():
        bilm(SENTENCES, precision="int8")
    with (
        pytest.raises(
            ValueError, match=r'"int8" only without autocast.*Use "bfloat16"'
        ),
        torch.autocast("cpu", dtype=torch.bfloat16),
    ):
        bilm.encode(SENTENCES, precision="int8")
    with pytest.raises(ValueError, match=r"float32 weights, found torch\.float64"):
        bilm.double().encode(SENTENCES, precision="int8")


def test_int8_without_kernels_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends.CPUBackend, "why_no_int8", lambda: "not built")
    with pytest.raises(
        ValueError,
        match=r'for it, which are missing: not built\. Use "bfloat16", "float32"',
    ):
        select_backend(CPU, torch.int8)
    with pytest.raises(ValueError, match="on a CPU, found it on meta"):
        select_backend(torch.device("meta"), torch.int8)


def test_auto_is_never_int8() -> None:
    assert resolve_precision("int8", CPU) == torch.int8
    with torch.no_grad():
        assert resolve_precision("auto", CPU) != torch.int8


def test_fastest_is_int8_where_it_is_possible(monkeypatch: pytest.MonkeyPatch) -> None:
    auto = resolve_precision("auto", CPU)
    assert resolve_precision("fastest", CPU) == auto  # with gradients
    monkeypatch.setattr(CPUBackend, "why_no_int8", lambda: None)
    with torch.no_grad():
        assert resolve_precision("fastest", CPU) == torch.int8
        assert resolve_precision("fastest", torch.device("meta")) == torch.float32
    monkeypatch.setattr(CPUBackend, "why_no_int8", lambda: "not built")
    with torch.no_grad():
        assert resolve_precision("fastest", CPU) == auto


@NEEDS_KERNELS
@pytest.mark.parametrize("precision", ["int8", "fastest"])
def test_in_a_pipeline(precision: str) -> None:
    nlp = spacy.blank("en")
    nlp.add_pipe("elmo", config={"mix": "top", "model": {"precision": precision}})
    words = SENTENCES[0]
    (expected,) = load_bundled().encode([words], precision="int8")
    found = nlp(Doc(nlp.vocab, words)).tensor
    np.testing.assert_allclose(found, expected[-1], rtol=0, atol=1e-6)
