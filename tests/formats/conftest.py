"""A random model in each foreign format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers import manylangs_folder, numpy_bilm

from spacy_elmo import BiLM, load_bilm


@pytest.fixture
def published_folder(tmp_path: Path) -> Path:
    """A folder with options.json and weights.hdf5."""
    weights = numpy_bilm.random_weights(numpy_bilm.OPTIONS, np.random.default_rng(0))
    numpy_bilm.write_published(tmp_path / "published", numpy_bilm.OPTIONS, weights)
    return tmp_path / "published"


@pytest.fixture
def many_folder(tmp_path: Path) -> Path:
    """The same model in the format of ELMoForManyLangs."""
    weights = numpy_bilm.random_weights(numpy_bilm.OPTIONS, np.random.default_rng(0))
    manylangs_folder.write(tmp_path / "many", numpy_bilm.OPTIONS, weights)
    return tmp_path / "many"


@pytest.fixture
def vocabulary_bilm(many_folder: Path) -> BiLM:
    """A model with a character vocabulary and a word vocabulary."""
    rng = np.random.default_rng(1)
    table, projection = rng.normal(size=(4, 3)), rng.normal(size=(3, 4))
    words = ["<oov>", "<pad>", "bank", "She"]
    manylangs_folder.add_words(
        many_folder, words, table.astype("f"), projection.astype("f")
    )
    return load_bilm(many_folder)
