"""Writing HDF5, also where the disk is full."""

from __future__ import annotations

import io
from pathlib import Path

import h5py
import numpy as np
import pytest
from helpers.commands import assert_refused, invoke
from helpers.full_disks import small_disk

from spacy_elmo.formats.hdf5_writer import _RawFile, write_hdf5


def test_datasets_and_attributes(tmp_path: Path) -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    with write_hdf5(tmp_path / "a.h5") as file:
        file.add("group/values", array, words='["a"]')
    with h5py.File(tmp_path / "a.h5") as file:
        np.testing.assert_array_equal(file["group/values"], array)
        assert file["group/values"].attrs["words"] == '["a"]'


class FullDisk(io.FileIO):
    """A file that holds `n_bytes`."""

    n_bytes = 0

    def write(self, data: memoryview) -> int:  # type: ignore[override]
        space = self.n_bytes - self.tell()
        if space <= 0:
            raise OSError(28, "No space left on device")
        return super().write(data[:space])


def test_the_disk_is_full_at_any_moment(tmp_path: Path) -> None:
    """HDF5 itself may crash the process then."""

    def write(n_bytes: int) -> int:
        with FullDisk(tmp_path / "a.h5", "w+") as binary:
            binary.n_bytes = n_bytes
            raw = _RawFile(binary)
            with h5py.File(raw, "w") as file:
                for number in range(60):
                    dataset = file.create_dataset(str(number), data=np.ones(9))
                    dataset.attrs["words"] = "a" * 100
            raw.check()
        return (tmp_path / "a.h5").stat().st_size

    size = write(1 << 30)
    for n_bytes in range(0, size, 1500):
        with pytest.raises(OSError, match="No space left"):
            write(n_bytes)
    assert write(size) == size


def test_convert_to_a_full_disk(weights: Path, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 48) as disk:
        result = invoke("convert", weights, disk / "out", "--to", "hdf5")
        assert_refused(result, "No space left on device", "Free some space")
        assert not list((disk / "out").iterdir())
