"""Detects changes to the files of a prepared text.

A JSON file next to them has their sizes and checksums. They are given its time of
modification, so that a later change shows without reading them.
"""

import os
from pathlib import Path
from typing import Any, Dict, Iterable, List, Mapping, NamedTuple, Tuple

import numpy as np

from ...files import hash_files
from ...text.files import CorpusError


def save_array(
    path: Path, dtype: np.dtype, shape: Tuple[int, ...], blocks: Iterable[np.ndarray]
) -> None:
    """Write a .npy file, block by block. NumPy's errors for a full disk do not say so,
    and writing to a memory map would end the process.

    dtype (np.dtype): Type of the array.
    shape (Tuple[int, ...]): Shape of the array.
    blocks (Iterable[ndarray]): Parts of the array, along its first axis.
    """
    descr = np.lib.format.dtype_to_descr(dtype)
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for block in blocks:
            file.write(np.ascontiguousarray(block, dtype).data)


def describe(path: Path) -> Dict[str, List[Any]]:
    """Describe a file that has just been written: size and checksum, by its name."""
    return {path.name: [path.stat().st_size, hash_files([path])]}


def stamp(meta: Path, names: Iterable[str]) -> None:
    """Give files the time of modification of the JSON file that describes them."""
    modified = meta.stat().st_mtime_ns
    for name in names:
        os.utime(meta.with_name(name), ns=(modified, modified))


def read_descriptions(
    meta: Path, stored: Mapping[str, List[Any]]
) -> Dict[str, "StoredFile"]:
    """Read what `describe` has returned for several files.

    meta (Path): The JSON file.
    stored (Mapping[str, List[Any]]): The part of it.
    RAISES: TypeError or ValueError if it is something else.
    """
    modified = meta.stat().st_mtime_ns
    files = {}
    for name, (size, checksum) in stored.items():
        path = meta.with_name(name)
        files[name] = StoredFile(path, int(size), modified, str(checksum))
    return files


class StoredFile(NamedTuple):
    """A file's size, time of modification and checksum.

    path (Path): The file.
    size (int): Its size in bytes.
    modified (int): Time of its last modification, in nanoseconds since the epoch.
    checksum (str): Hash of its contents.
    """

    path: Path
    size: int
    modified: int
    checksum: str

    @classmethod
    def of(cls, path: Path) -> "StoredFile":
        """The present state of a file, without its checksum.

        RAISES: CorpusError if it is missing.
        """
        try:
            stat = path.stat()
        except OSError as error:
            raise _changed(path, "the file that was written", str(error)) from error
        return cls(path, stat.st_size, stat.st_mtime_ns, "")

    def verified(self) -> "StoredFile":
        """Check the contents. The checksum is only computed if the time of
        modification differs, as it does for copies.

        RETURNS (StoredFile): The same, with the time at which the file was modified.
        RAISES: CorpusError if they are not those that were written.
        """
        now = StoredFile.of(self.path)
        if now.size != self.size:
            raise _changed(self.path, f"{self.size} bytes", f"{now.size}")
        if self.checksum and now.modified != self.modified:
            checksum = hash_files([self.path])
            if checksum != self.checksum:
                raise _changed(self.path, f"the checksum {self.checksum}", checksum)
        return self._replace(modified=now.modified)

    def check_unchanged(self) -> None:
        """Check that the file has not changed since it was verified. Reading a part of
        a mapped file that was cut off would end the process.

        RAISES: CorpusError if it has, or is missing.
        """
        now = StoredFile.of(self.path)
        if (now.size, now.modified) != (self.size, self.modified):
            raise _changed(
                self.path,
                f"{self.size} bytes that do not change while they are in use",
                f"{now.size} bytes that were modified",
            )


def _changed(path: Path, expected: str, found: str) -> CorpusError:
    return CorpusError(
        f"{path}: expected {expected}, found {found}. The file has changed since it "
        "was written: restore it, or remove its folder and prepare the corpus again."
    )
