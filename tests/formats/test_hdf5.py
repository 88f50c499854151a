"""HDF5 by pyfive: every layout that h5py writes, and files that no honest program
writes."""

from __future__ import annotations

import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from helpers.refusals import refused

from spacy_elmo import load_bilm, save_bilm
from spacy_elmo.formats import WeightsError
from spacy_elmo.formats.hdf5 import Hdf5File

ARRAY = np.random.default_rng(0).normal(size=(30, 7)).astype("f")


def read(path: Path, key: str = "group/x", shape: tuple[int, ...] = (30, 7)) -> Any:
    with Hdf5File(path) as file:
        file.check(key, shape)
        return file.read(key)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.hdf5"


@pytest.mark.parametrize("libver", ["earliest", "latest"])
@pytest.mark.parametrize("dtype", ["<f2", "<f4", ">f4", "<f8", ">f8"])
def test_float_types(path: Path, libver: str, dtype: str) -> None:
    with h5py.File(path, "w", libver=libver) as file:
        file.create_dataset("group/x", data=ARRAY.astype(dtype))
    found = read(path)
    assert found.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(found, ARRAY.astype(dtype))


@pytest.mark.parametrize(
    "filters",
    [
        {"chunks": (8, 3)},
        {"compression": "gzip"},
        {"compression": "gzip", "shuffle": True, "fletcher32": True, "chunks": (4, 7)},
    ],
)
def test_chunks(path: Path, filters: dict[str, Any]) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("group/x", data=ARRAY, **filters)
    np.testing.assert_array_equal(read(path), ARRAY)


def test_compact(path: Path) -> None:
    with h5py.File(path, "w") as file:
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_layout(h5py.h5d.COMPACT)
        space = h5py.h5s.create_simple(ARRAY.shape)
        dataset = h5py.h5d.create(file.id, b"x", h5py.h5t.IEEE_F32LE, space, dcpl=plist)
        dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, ARRAY)
    np.testing.assert_array_equal(read(path, "x"), ARRAY)


@pytest.mark.parametrize("track_order", [False, True])
def test_many_keys(path: Path, track_order: bool) -> None:
    with h5py.File(path, "w", libver="latest", track_order=track_order) as file:
        for number in range(200):
            file[f"{number % 3}/{number}"] = np.full(2, number, dtype="f")
    with Hdf5File(path) as file:
        assert len(file.keys) == 200
        file.check("1/199", (2,))
        assert file.read("1/199").tolist() == [199, 199]


@pytest.mark.parametrize("array", [np.arange(3), np.array([b"one", b"two"])])
def test_other_types(path: Path, array: np.ndarray) -> None:
    with h5py.File(path, "w") as file:
        file["x"] = array
    with refused(path, "x: expected floats"):
        read(path, "x", array.shape)


def test_floats_of_another_standard(path: Path) -> None:
    """pyfive would read bfloat16 as float16."""
    bfloat16 = h5py.h5t.IEEE_F16LE.copy()
    bfloat16.set_fields(15, 7, 8, 0, 7)
    with h5py.File(path, "w") as file:
        space = h5py.h5s.create_simple((3,))
        h5py.h5d.create(file.id, b"x", bfloat16, space)
    with refused(path, "x: expected floats"):
        read(path, "x", (3,))


@pytest.mark.parametrize(
    "options", [{"chunks": (30, 7), "compression": "lzf"}, {"scaleoffset": 3}]
)
def test_unknown_filters(path: Path, options: dict[str, Any]) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("group/x", data=ARRAY, **options)
    with refused(path, "filters other than gzip"):
        read(path)


def test_dataset_that_was_never_written(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("x", (50_000, 50_000), "f")
    with refused(path, "x", "more numbers than fit into the file"):
        read(path, "x", (50_000, 50_000))


def test_chunk_that_decompresses_to_more_than_its_size(path: Path) -> None:
    zeros = np.zeros((1000, 1000), dtype="f")
    with h5py.File(path, "w") as file:
        for key, array in ("x", zeros), ("bomb", np.zeros(20_000_000, dtype="f")):
            file.create_dataset(key, data=array, compression="gzip", chunks=array.shape)
        chunk = file["bomb"].id.get_chunk_info(0)
        own = file["x"].id.get_chunk_info(0)
    data = path.read_bytes()
    entry = struct.pack("<IIQQQQ", own.size, 0, 0, 0, 0, own.byte_offset)
    assert data.count(entry) == 1
    other = struct.pack("<IIQQQQ", chunk.size, 0, 0, 0, 0, chunk.byte_offset)
    path.write_bytes(data.replace(entry, other))
    with refused(path, "more than 4000004 bytes"):
        read(path, "x", zeros.shape)


def test_datasets_that_share_their_numbers(path: Path) -> None:
    """A file of a few MB could otherwise fill any memory."""
    with h5py.File(path, "w") as file:
        file["x0"] = np.zeros(200_000, dtype="f")
        for number in range(1, 50):
            file[f"x{number}"] = file["x0"]
    with Hdf5File(path) as file, refused(path, "more numbers than fit"):
        for key in file.keys:
            file.check(key, (200_000,))
            file.read(key)


def test_groups_that_contain_themselves(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["group/x"] = ARRAY
        file["group/again"] = file["group"]
    with refused(path, "refers to itself"):
        Hdf5File(path)


def test_attributes_of_any_size_are_not_read(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["group/x"] = ARRAY
        file["group/x"].attrs["words"] = ["a"] * 100
    data = path.read_bytes()
    shape = struct.pack("<QQ", 100, 100)
    assert data.count(shape) == 1
    path.write_bytes(data.replace(shape, struct.pack("<QQ", 1 << 32, 1 << 32)))
    np.testing.assert_array_equal(read(path), ARRAY)


def test_flipped_bytes(published_folder: Path) -> None:
    """Any damage to the metadata loads or is refused."""
    weights = published_folder / "weights.hdf5"
    data = bytearray(weights.read_bytes())
    rng = np.random.default_rng(0)
    n_refused = 0
    for _ in range(100):
        changed = data.copy()
        for place in rng.integers(0, min(len(data), 8192), size=3):
            changed[place] ^= 1 << rng.integers(8)
        weights.write_bytes(changed)
        with suppress(WeightsError):
            load_bilm(published_folder)
            continue
        n_refused += 1
    assert 20 < n_refused < 100


def test_without_h5py(
    tiny_bilm: Any, published_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """h5py only writes."""
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    load_bilm(published_folder)
    with pytest.raises(ImportError, match=r"pip install 'spacy-elmo\[hdf5\]'"):
        save_bilm(tiny_bilm, published_folder.parent / "out", format="hdf5")
