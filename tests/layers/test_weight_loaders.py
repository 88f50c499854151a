"""Weight loaders read no file before they are called."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from confection import ConfigValidationError
from helpers.pipelines import same_numbers
from spacy import registry

from spacy_elmo import BiLM, load_bundled, save_bilm
from spacy_elmo.formats import WeightsError
from spacy_elmo.formats.bundled import BUNDLED


def _loader(name: str, **settings: Any) -> Any:
    block = {"@callbacks": f"spacy_elmo.{name}.v1", **settings}
    return registry.resolve({"weights": block})["weights"]


def _check_same(loaded: BiLM, expected: BiLM) -> None:
    sentence = [["She", "sat", "on", "the", "bank"]]
    # Some products depend on the memory alignment of a weight.
    found, wanted = loaded.encode(sentence)[0], expected.encode(sentence)[0]
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


def test_pretrained_weights(weights: Path, tiny_bilm: BiLM) -> None:
    loaded = _loader("PretrainedWeights", path=str(weights))()
    assert all(same_numbers(loaded, tiny_bilm).values())


def test_pretrained_weights_of_a_published_folder(
    tmp_path: Path, tiny_bilm: BiLM
) -> None:
    save_bilm(tiny_bilm, tmp_path, format="hdf5")
    _check_same(_loader("PretrainedWeights", path=str(tmp_path))(), tiny_bilm)


def test_allennlp_weights(tmp_path: Path, tiny_bilm: BiLM) -> None:
    save_bilm(tiny_bilm, tmp_path, format="hdf5")
    files = {
        "options_file": str(tmp_path / "options.json"),
        "weights_file": str(tmp_path / "weights.hdf5"),
    }
    _check_same(_loader("AllenNLPWeights", **files)(), tiny_bilm)


@pytest.mark.parametrize("size", ["md", "sm"])
def test_bundled_weights(
    size: str,
    monkeypatch: pytest.MonkeyPatch,
    weights: Path,
    tiny_bilm: BiLM,
    tmp_path: Path,
) -> None:
    load = _loader("BundledWeights", **({} if size == "md" else {"size": size}))
    monkeypatch.setitem(BUNDLED, size, weights)
    assert all(same_numbers(load(), tiny_bilm).values())
    assert all(same_numbers(load_bundled(size), tiny_bilm).values())
    monkeypatch.setitem(BUNDLED, size, tmp_path / "none")
    for refused in (load, lambda: load_bundled(size)):
        with pytest.raises(WeightsError, match=r"version ships.*PretrainedWeights"):
            refused()


def test_unknown_size_of_bundled_weights() -> None:
    with pytest.raises(ConfigValidationError, match=r"'lg' is not.*'md', 'sm'"):
        _loader("BundledWeights", size="lg")
    with pytest.raises(ValueError, match="expected md or sm, found 'lg'"):
        load_bundled("lg")


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("PretrainedWeights", {"path": "nowhere"}),
        (
            "AllenNLPWeights",
            {"options_file": "nowhere.json", "weights_file": "nowhere.hdf5"},
        ),
    ],
)
def test_files_are_read_when_called(name: str, settings: dict[str, str]) -> None:
    load = _loader(name, **settings)
    with pytest.raises(WeightsError, match="nowhere"):
        load()


def test_null_paths() -> None:
    """One null path means no loader; half a pair is an error."""
    assert _loader("PretrainedWeights", path=None) is None
    load = _loader("AllenNLPWeights", options_file=None, weights_file="w.hdf5")
    with pytest.raises(
        WeightsError,
        match=r"expected options_file and weights_file, found None and w\.hdf5",
    ):
        load()


def test_loaders_can_be_pickled(weights: Path) -> None:
    load = pickle.loads(pickle.dumps(_loader("PretrainedWeights", path=str(weights))))
    assert isinstance(load(), BiLM)
