"""Files of vectors, written from blocks."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest

from spacy_elmo.embedding.vector_formats import (
    Block,
    is_dataset,
    join_numpy,
    open_hdf5,
    write_block,
    write_parquet,
)


def block(*sentences: str, names: tuple[str, ...] = ("vectors",)) -> Block:
    rng = np.random.default_rng(0)
    words = [sentence.split(" ") for sentence in sentences]
    n_words = sum(map(len, words))
    columns = {name: rng.standard_normal((n_words, 4)).astype("f") for name in names}
    return Block([7] * len(words), list(range(len(words))), words, columns)


def written(folder: Path, *blocks: Block) -> list[Path]:
    paths = [folder / f"{number:06d}" for number in range(len(blocks))]
    for path, each in zip(paths, blocks):
        write_block(path, each)
    return paths


def test_words_with_line_breaks(tmp_path: Path) -> None:
    """As in docs with merged tokens. Only Parquet can store them."""
    made = block("New\nYork is big")
    write_parquet(tmp_path / "a", made, compress=False)
    assert pq.read_table(tmp_path / "a")["words"].to_pylist() == made.words
    with pytest.raises(ValueError, match=r"document 7: .* found 'New\\nYork'.*Parquet"):
        write_block(tmp_path / "b", made)
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("compress", [True, False])
def test_parquet(tmp_path: Path, dtype: str, compress: bool) -> None:
    made = block("a b c", "ü “ç”", names=("layer_0", "layer_2"))
    columns = {name: rows.astype(dtype) for name, rows in made.columns.items()}
    write_parquet(tmp_path / "a", made._replace(columns=columns), compress=compress)
    table = pq.read_table(tmp_path / "a")
    assert table.column_names == [
        "document",
        "sentence",
        "words",
        "layer_0",
        "layer_2",
    ]
    assert str(table.schema.field("layer_0").type.value_type).startswith("fixed_size")
    assert table["words"].to_pylist() == made.words
    assert table["document"].to_pylist() == [7, 7]
    for name in columns:
        rows = np.concatenate(table[name].to_pylist())
        np.testing.assert_array_equal(rows.astype(dtype), columns[name])


@pytest.mark.parametrize("compress", [True, False])
def test_hdf5(tmp_path: Path, compress: bool) -> None:
    blocks = [
        block("a b c", "ü “ç”", names=("layer_0", "layer_1")),
        block("a b c", names=("layer_0", "layer_1")),
    ]
    path = tmp_path / "v.h5"
    with open_hdf5(path, compress=compress, index=True) as add:
        for each in blocks:
            add(each)
    with h5py.File(path) as file:
        assert sorted(file) == ["0", "1", "2", "sentence_to_index"]
        assert file["0"].shape == (2, 3, 4)
        assert (file["0"].compression == "gzip") == compress
        second = np.stack([rows[3:] for rows in blocks[0].columns.values()])
        np.testing.assert_array_equal(file["1"], second)
        assert json.loads(file["1"].attrs["words"]) == ["ü", "“ç”"]
        index = json.loads(file.get("sentence_to_index")[0])
    assert index == {"a b c": "2", "ü “ç”": "1"}


def test_a_very_long_sentence(tmp_path: Path) -> None:
    """HDF5 limits the attributes of a dataset to 64 KiB, unless stored separately."""
    long = block(" ".join(f"word{number}" for number in range(30_000)))
    with open_hdf5(tmp_path / "v.h5", compress=False, index=False) as add:
        add(long)
    with h5py.File(tmp_path / "v.h5", "r") as file:
        assert json.loads(file["0"].attrs["words"]) == long.words[0]


@pytest.mark.parametrize("compress", [True, False])
def test_numpy(tmp_path: Path, compress: bool) -> None:
    blocks = [block("a b c", "ü “ç”"), block("d")]
    path = tmp_path / "v.npz"
    with path.open("wb"):
        join_numpy(path, written(tmp_path, *blocks), compress=compress)
    with np.load(path, allow_pickle=False) as arrays:
        words = arrays["words"].tobytes().decode("utf8").split("\n")
        assert words == ["a", "b", "c", "ü", "“ç”", "d"]
        assert arrays["lengths"].tolist() == [3, 2, 1]
        expected = np.concatenate([each.columns["vectors"] for each in blocks])
        np.testing.assert_array_equal(arrays["vectors"], expected)


def test_outputs_by_name() -> None:
    for name in ("vectors", "vectors.parquet"):
        assert is_dataset(Path(name))
    for name in ("vectors.h5", "vectors.HDF5", "vectors.npz"):
        assert not is_dataset(Path(name))
    with pytest.raises(ValueError, match=r"Parquet files, .*\.npz.* found '\.txt'"):
        is_dataset(Path("vectors.txt"))
