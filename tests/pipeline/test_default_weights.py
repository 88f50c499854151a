"""Default weights, for components that were given none."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import spacy
from helpers.pipelines import blank, no_warnings

from spacy_elmo import BiLM
from spacy_elmo.formats import bundled
from spacy_elmo.layers import weight_loaders as loaders

BUNDLED = {"@callbacks": "spacy_elmo.BundledWeights.v1"}
NULL = {"@callbacks": "spacy_elmo.PretrainedWeights.v1", "path": None}


def test_bundled_weights(weights: Path) -> None:
    nlp = spacy.blank("en")
    default = loaders.DefaultWeights(nlp, "elmo")
    for block in (None, NULL, BUNDLED):
        nlp.config["initialize"]["components"]["elmo"] = {"weights": block}
        found = default()
        assert isinstance(found, loaders.BundledWeights)
        assert found.size == "md"
    assert loaders.DefaultWeights(spacy.blank("de"), "elmo")() is None


def test_the_config_chooses_the_size(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nlp = spacy.blank("en")
    default = loaders.DefaultWeights(nlp, "elmo")
    block = {"weights": {**BUNDLED, "size": "sm"}}
    nlp.config["initialize"]["components"]["elmo"] = block
    monkeypatch.setitem(bundled.BUNDLED, "sm", weights)
    found = default()
    assert isinstance(found, loaders.BundledWeights)
    assert found.size == "sm"
    monkeypatch.setitem(bundled.BUNDLED, "sm", weights / "none")
    assert default() is None


@pytest.mark.parametrize("size", ["md", "sm"])
def test_initialization_loads_the_size(
    size: str, weights: Path, tiny_bilm: BiLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In German, which has no default."""
    monkeypatch.setitem(bundled.BUNDLED, size, weights)
    nlp = spacy.blank("de")
    block = {"weights": {**BUNDLED, "size": size}}
    nlp.config["initialize"]["components"]["elmo"] = block
    elmo = nlp.add_pipe("elmo")
    nlp.initialize()
    assert elmo.bilm.config == tiny_bilm.config  # type: ignore[attr-defined]


def test_no_default_if_the_config_names_weights(weights: Path) -> None:
    nlp = blank({}, weights)
    with pytest.raises(ValueError, match="no weights yet"):
        nlp("A b .")
    # The default weights are not stored either.
    assert len(nlp.to_bytes()) < 1_000_000 < len(blank({}).to_bytes())
    assert nlp.get_pipe("elmo").set_bilm(loaders.load_bilm(weights))
    assert nlp("A b .")[0].has_vector


def test_english_weights_for_any_language_are_announced() -> None:
    nlp = spacy.blank("xx")
    default = loaders.DefaultWeights(nlp, "elmo")
    with pytest.warns(UserWarning, match="'elmo' uses the English weights"):
        assert default() is not None
    nlp.config["initialize"]["components"]["elmo"] = {"weights": BUNDLED}
    with no_warnings():
        assert default() is not None
        assert pickle.loads(pickle.dumps(loaders.DefaultWeights(nlp, "elmo")))()


@pytest.mark.parametrize("is_named", [True, False])
def test_pickle(weights: Path, is_named: bool) -> None:
    """As in a worker process, which has no pipeline."""
    nlp = blank({}, weights if is_named else None)
    there = pickle.loads(pickle.dumps(loaders.DefaultWeights(nlp, "elmo")))
    assert (there() is None) == is_named
