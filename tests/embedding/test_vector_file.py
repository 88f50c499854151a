"""HDF5 files in the layout of AllenNLP's `elmo` command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Iterator

import h5py
import numpy as np
import pytest

from spacy_elmo.embedding.vector_file import Written, check_target, write_vectors

Encoded = list[tuple[list[str], np.ndarray]]


def encoded(*sentences: str, scale: float = 1.0) -> Encoded:
    rng = np.random.default_rng(0)
    result = []
    for sentence in sentences:
        words = sentence.split(" ")
        layers = rng.standard_normal((3, len(words), 4)).astype("f") * np.float32(scale)
        result.append((words, layers))
    return result


def test_layout(tmp_path: Path) -> None:
    sentences = encoded("a b c", "ü “ç”", "a b c")
    path = tmp_path / "deep" / "vectors.hdf5"
    written = write_vectors(path, sentences, layer="all")
    assert written == Written(n_sentences=3, n_words=8)
    with h5py.File(path, "r") as file:
        assert sorted(file) == ["0", "1", "2", "sentence_to_index"]
        for number, (words, layers) in enumerate(sentences):
            dataset = file[str(number)]
            assert dataset.dtype == np.float32
            np.testing.assert_array_equal(dataset[...], layers)
            assert json.loads(dataset.attrs["words"]) == words
        index = json.loads(file.get("sentence_to_index")[0])
    assert index == {"a b c": "2", "ü “ç”": "1"}
    assert [entry.name for entry in path.parent.iterdir()] == ["vectors.hdf5"]


def test_one_layer_as_float16(tmp_path: Path) -> None:
    sentences = encoded("a b c", "d")
    write_vectors(
        tmp_path / "top.h5", sentences, layer="top", dtype="float16", index=False
    )
    with h5py.File(tmp_path / "top.h5", "r") as file:
        assert sorted(file) == ["0", "1"]
        assert file["0"].dtype == np.float16
        expected = sentences[0][1][2].astype(np.float16)
        np.testing.assert_array_equal(file["0"][...], expected)


def test_values_beyond_float16(tmp_path: Path) -> None:
    sentences = encoded("a b", scale=1e6)
    with pytest.raises(ValueError, match=r"sentence 0: .* the range of float16"):
        write_vectors(tmp_path / "v.h5", sentences, layer="all", dtype="float16")
    assert not list(tmp_path.iterdir())


def test_a_very_long_sentence(tmp_path: Path) -> None:
    """HDF5 limits the attributes of a dataset to 64 KiB, unless stored separately."""
    sentences = encoded(" ".join(f"word{number}" for number in range(30_000)))
    write_vectors(tmp_path / "v.h5", sentences, layer="0")
    with h5py.File(tmp_path / "v.h5", "r") as file:
        assert json.loads(file["0"].attrs["words"]) == sentences[0][0]


def test_an_interrupted_write_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "v.h5"
    write_vectors(path, encoded("a b"), layer="all")
    before = path.read_bytes()

    def broken() -> Iterator[Any]:
        yield from encoded("c d")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_vectors(path, broken(), layer="all")
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["v.h5"]


def test_invalid_targets(tmp_path: Path) -> None:
    check_target(tmp_path / "free.hdf5", force=False)
    for name in ("vectors.npz", "vectors"):
        with pytest.raises(ValueError, match=r"ending in \.hdf5 or \.h5, found"):
            check_target(tmp_path / name, force=True)
    there = tmp_path / "there.h5"
    there.write_bytes(b"")
    with pytest.raises(FileExistsError, match="--force"):
        check_target(there, force=False)
    check_target(there, force=True)
    (tmp_path / "folder.h5").mkdir()
    with pytest.raises(FileExistsError, match="found a folder"):
        check_target(tmp_path / "folder.h5", force=True)
