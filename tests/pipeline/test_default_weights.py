"""Weights for pipelines that name none: those that ship."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import spacy
from pipelines import same_numbers

from spacy_elmo import BiLM
from spacy_elmo.layers import weights as loaders

TEXT = "She sat on the bank"


@pytest.fixture
def shipped(weights: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As if the tiny biLM's weights shipped."""
    monkeypatch.setattr(loaders, "BUNDLED", weights)
    return weights


@pytest.mark.parametrize("lang", ["en", "xx"])
def test_a_blank_pipeline_has_vectors(
    lang: str, shipped: Path, tiny_bilm: BiLM
) -> None:
    nlp = spacy.blank(lang)
    nlp.add_pipe("elmo")
    expected = tiny_bilm.encode([TEXT.split()])[0]
    np.testing.assert_allclose(nlp(TEXT)._.elmo.layers, expected, rtol=1e-5, atol=1e-5)


def test_another_language_must_name_its_weights(shipped: Path) -> None:
    nlp = spacy.blank("de")
    nlp.add_pipe("elmo")
    with pytest.raises(ValueError, match="no weights yet"):
        nlp(TEXT)


def test_without_weights_that_ship(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loaders, "BUNDLED", tmp_path / "none")
    nlp = spacy.blank("en")
    nlp.add_pipe("elmo")
    with pytest.raises(ValueError, match="no weights yet"):
        nlp(TEXT)


def test_they_are_loaded_only_when_needed(
    shipped: Path, tiny_bilm: BiLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[None] = []
    load = loaders._load_bundled
    monkeypatch.setattr(loaders, "_load_bundled", lambda: calls.append(None) or load())
    nlp = spacy.blank("en")
    elmo = nlp.add_pipe("elmo")
    elmo.set_bilm(tiny_bilm)
    nlp(TEXT)
    assert calls == []
    other = spacy.blank("en").add_pipe("elmo")
    assert all(same_numbers(other.bilm, tiny_bilm).values())
    assert calls == [None]


def test_a_stored_pipeline_brings_them(
    shipped: Path, tiny_bilm: BiLM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nlp = spacy.blank("en")
    nlp.add_pipe("elmo")
    nlp.to_disk(tmp_path / "pipeline")
    data = nlp.to_bytes()
    monkeypatch.setattr(loaders, "BUNDLED", tmp_path / "none")
    loaded = spacy.load(tmp_path / "pipeline")
    from_bytes = spacy.blank("en")
    from_bytes.add_pipe("elmo")
    from_bytes.from_bytes(data)
    for other in (loaded, from_bytes):
        assert all(same_numbers(other.get_pipe("elmo").bilm, tiny_bilm).values())


def test_initialize_needs_no_other(shipped: Path, tiny_bilm: BiLM) -> None:
    nlp = spacy.blank("en")
    nlp.add_pipe("elmo")
    nlp.initialize()
    assert all(same_numbers(nlp.get_pipe("elmo").bilm, tiny_bilm).values())
