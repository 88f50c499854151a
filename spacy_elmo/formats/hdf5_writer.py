"""HDF5 files, written through a Python file.

libhdf5 crashes the process if the disk is full when it closes a file. Here it never
sees a failed write: the error is kept, and raised from Python.
"""

import io
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator, List, Optional, Tuple

import numpy as np

from .hdf5 import import_h5py


class HDF5Writer:
    """Writes the datasets of a file. Made by `write_hdf5`."""

    def __init__(self, h5py: Any, file: Any, raw: "_RawFile") -> None:
        self._h5py = h5py
        self._file = file  # h5py.File
        self._raw = raw

    def add(
        self,
        key: str,
        array: np.ndarray,
        compression: Optional[str] = None,
        **attributes: str,
    ) -> None:
        """Write a dataset.

        key (str): Its path in the file.
        array (ndarray): The values.
        compression (Optional[str]): "gzip", or None.
        attributes (str): Attributes of the dataset.
        RAISES: OSError if the disk is full or cannot be written.
        """
        dataset = self._file.create_dataset(key, data=array, compression=compression)
        for name, text in attributes.items():
            self._write_attribute(dataset, name, text)
        self._raw.check()

    def _write_attribute(self, dataset: Any, name: str, text: str) -> None:
        """Write a string without `dataset.attrs`, which writes a temporary attribute
        and renames it. For many small datasets, that takes half of the time."""
        h5a, h5s, h5t = self._h5py.h5a, self._h5py.h5s, self._h5py.h5t
        string = h5t.py_create(self._h5py.string_dtype(), logical=True)
        scalar = h5s.create(h5s.SCALAR)
        attribute = h5a.create(dataset.id, name.encode("utf8"), string, scalar)
        attribute.write(np.asarray(text, dtype=object))


@contextmanager
def write_hdf5(path: Path) -> Iterator[HDF5Writer]:
    """Create an HDF5 file.

    path (Path): The file.
    YIELDS (HDF5Writer): Writes its datasets.
    RAISES: OSError if the disk is full or cannot be written, ImportError if h5py is not
        installed.
    """
    h5py = import_h5py()
    with path.open("w+b", buffering=0) as binary:
        raw = _RawFile(binary)
        with h5py.File(raw, "w") as file:
            yield HDF5Writer(h5py, file, raw)
        raw.check()


class _RawFile(io.RawIOBase):
    """A file whose operations succeed even after an error. What cannot be written is
    held in memory, because libhdf5 may read it again before it closes the file."""

    def __init__(self, binary: io.FileIO) -> None:
        self._binary = binary
        self._position = 0
        self._error: Optional[OSError] = None
        self._unwritten: List[Tuple[int, bytes]] = []

    def check(self) -> None:
        """Raise the first error."""
        if self._error is not None:
            raise self._error

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_END:
            ends = [start + len(data) for start, data in self._unwritten]
            offset += max([self._binary.seek(0, io.SEEK_END), *ends])
        elif whence == io.SEEK_CUR:
            offset += self._position
        self._position = offset
        return offset

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        if self._error is None:
            try:
                self._binary.seek(self._position)
                n_written = 0
                while n_written < len(view):
                    n_written += self._binary.write(view[n_written:]) or 0
            except OSError as error:
                self._error = error
        if self._error is not None:
            self._unwritten.append((self._position, bytes(view)))
        self._position += len(view)
        return len(view)

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        self._binary.seek(self._position)
        n_read = 0
        while n_read < len(view) and (n := self._binary.readinto(view[n_read:])):
            n_read += n
        view[n_read:] = bytes(len(view) - n_read)
        for start, data in self._unwritten:
            first = max(start, self._position)
            last = min(start + len(data), self._position + len(view))
            if first < last:
                target = slice(first - self._position, last - self._position)
                view[target] = data[first - start : last - start]
        self._position += len(view)
        return len(view)

    def truncate(self, size: Optional[int] = None) -> int:
        size = self._position if size is None else size
        if self._error is None:
            try:
                self._binary.truncate(size)
            except OSError as error:
                self._error = error
        return size

    def flush(self) -> None:
        """Nothing is buffered."""
