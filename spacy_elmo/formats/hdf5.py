"""Bounded reading of HDF5 files by pyfive. It is pure Python, so that a damaged file
raises an error; in HDF5's own library it may end the process.

All that pyfive follows to find the datasets is read through `_BoundedReader`: lists,
trees and groups that refer back to themselves end there. Attributes are never read.
"""

import math
import os
import struct
import zlib
from pathlib import Path
from typing import IO, Any, Dict, KeysView, Tuple

import numpy as np
from pyfive.core import UNDEFINED_ADDRESS
from pyfive.dataobjects import DataObjects
from pyfive.h5d import DatasetID
from pyfive.misc_low_level import FORMAT_SIGNATURE, SuperBlock

from .checks import WeightsError, check_shape

METADATA_BYTES = 1 << 20
"""Maximum size of what describes the datasets; published files have up to 40 KB."""
MAX_RATIO = 100
"""Maximum ratio of compression. Trained weights hardly compress at all."""

# From the specification of the format: types of header messages, layouts of datasets,
# filters of chunks, and (bits, exponent bits, mantissa bits) of floats by their size.
_DATATYPE, _EXTERNAL_FILES = 0x03, 0x07
_CONTIGUOUS, _CHUNKED, _VIRTUAL = 1, 2, 3
_DEFLATE, _SHUFFLE, _FLETCHER32 = 1, 2, 3
_IEEE_FLOATS = {2: (16, 5, 10), 4: (32, 8, 23), 8: (64, 11, 52)}


def import_h5py() -> Any:
    """Import h5py, which is needed to write HDF5.

    RAISES: ImportError with the command that installs it.
    """
    try:
        import h5py
    except ImportError as error:
        raise ImportError(
            "HDF5: expected the package h5py, which writes it, found none. Install it: "
            "pip install 'spacy-elmo[hdf5]'."
        ) from error
    return h5py


class Hdf5File:
    """The float datasets of an HDF5 file. Opening it reads no more than their names.

    path (Path): The file.
    RAISES: WeightsError if it is not HDF5, is damaged, or contains a link, to the same
        file or another one. OSError if it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[bytes] = path.open("rb")
        self._size = self._unread = os.fstat(self._file.fileno()).st_size
        try:
            self._headers = self._find_datasets()
        except BaseException as error:
            self._file.close()
            if isinstance(error, Exception):
                raise self._explain(error) from error
            raise

    def __enter__(self) -> "Hdf5File":
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    @property
    def keys(self) -> KeysView[str]:
        """Keys of all datasets, such as "CNN/W_cnn_0"."""
        return self._headers.keys()

    def check(self, key: str, shape: Tuple[int, ...]) -> None:
        """Check a dataset by its header, without reading it.

        key (str): One of `keys`.
        shape (Tuple[int, ...]): Expected shape.
        RAISES: WeightsError if it has another shape, no floats, or is stored elsewhere.
        """
        try:
            self._check(self._headers[key], key, shape)
        except Exception as error:
            raise self._explain(error) from error

    def read(self, key: str) -> np.ndarray:
        """Read a dataset that `check` has accepted, in the float dtype that it has.

        RAISES: WeightsError if it is damaged.
        """
        try:
            header = self._headers[key]
            shape = header.shape
            dataset = DatasetID(header, noindex=True)
            if dataset.layout_class == _CHUNKED:
                dataset = self._open_chunks(header, shape)
            n_bytes = math.prod(shape) * dataset.dtype.itemsize
            # Datasets may overlap, so that a small file would fill the memory.
            self._unread -= n_bytes // (MAX_RATIO if dataset.chunks else 1)
            if self._unread < 0:
                raise ValueError("more numbers than fit into the file")
            if dataset.layout_class != _CONTIGUOUS:
                return np.asarray(dataset.get_data((), 0))
            if dataset.data_offset == UNDEFINED_ADDRESS:
                raise ValueError(f"{key} was never written")
            self._file.seek(dataset.data_offset)
            array = np.fromfile(self._file, dataset.dtype, math.prod(shape))
            return array.reshape(shape)
        except Exception as error:
            raise self._explain(error) from error

    def _find_datasets(self) -> Dict[str, "_Header"]:
        reader = _BoundedReader(self._file, METADATA_BYTES)
        if reader.read(len(FORMAT_SIGNATURE)) != FORMAT_SIGNATURE:
            raise ValueError("no HDF5 signature")
        superblock = SuperBlock(reader, 0)
        end = superblock._contents["end_of_file_address"]
        if end > self._size:
            raise ValueError(f"{self._size} bytes of {end}")
        headers: Dict[str, _Header] = {}
        groups = [("", superblock.offset_to_dataobjects)]
        while groups:
            prefix, address = groups.pop()
            for name, target in _Header(reader, address).get_links().items():
                key = prefix + name
                if isinstance(target, str):
                    raise self._elsewhere(key, f"a link to {target.strip(chr(0))!r}")
                header = _Header(reader, target)
                if header.is_dataset:
                    headers[key] = header
                else:
                    groups.append((f"{key}/", target))
        return headers

    def _check(self, header: "_Header", key: str, shape: Tuple[int, ...]) -> None:
        dtype = np.dtype(header.ptype.dtype)
        message = header.find_msg_type(_DATATYPE)[0]
        place = message["offset_to_message"] + 8
        is_ieee = dtype.kind == "f" and _IEEE_FLOATS[dtype.itemsize] == (
            struct.unpack_from("<2xHxBxB", header.msg_data, place)
        )
        if header.shape is None or not is_ieee:
            raise WeightsError(f"{self.path}: {key}: expected floats, found {dtype}.")
        check_shape(self.path, key, header.shape, shape)
        layout = header.get_id_storage_params()[1]
        if layout == _VIRTUAL or header.find_msg_type(_EXTERNAL_FILES):
            raise self._elsewhere(key, "a reference to other data")

    def _open_chunks(self, header: "_Header", shape: Tuple[int, ...]) -> DatasetID:
        """Open a chunked dataset, of which no chunk decompresses to more than its size.

        RAISES: ValueError if one does, or if the dataset has unknown filters.
        """
        header.fh = reader = _BoundedReader(self._file, 2 * self._size + METADATA_BYTES)
        dataset = DatasetID(header, noindex=True)
        filters = [entry["filter_id"] for entry in dataset.filter_pipeline or ()]
        known = {_DEFLATE, _SHUFFLE, _FLETCHER32}
        if len(set(filters)) < len(filters) or not known.issuperset(filters):
            raise ValueError(f"filters other than gzip, shuffle, fletcher32: {filters}")
        if any(chunk > size for chunk, size in zip(dataset.chunks, shape)):
            raise ValueError(f"chunks {dataset.chunks} of a dataset {shape}")
        if _DEFLATE in filters:
            limit = math.prod(dataset.chunks) * dataset.dtype.itemsize + 4  # checksum
            for chunk in dataset.index.values():
                reader.seek(chunk.byte_offset)
                data = reader.read(chunk.size)
                if len(zlib.decompressobj().decompress(data, limit + 1)) > limit:
                    raise ValueError(f"a chunk of more than {limit} bytes")
        return dataset

    def _elsewhere(self, key: str, found: str) -> WeightsError:
        return WeightsError(
            f"{self.path}: {key}: expected the numbers in this file, found {found}. "
            "Do not trust this file."
        )

    def _explain(self, error: Exception) -> Exception:
        """The error to raise for one of pyfive's: damaged files raise almost any."""
        if isinstance(error, WeightsError):
            return error
        reason = f"{type(error).__name__}: {error}".rstrip(": ")
        return WeightsError(
            f"{self.path}: expected an HDF5 file of groups and datasets, found one "
            f"that cannot be read ({reason}). It is truncated or of another format: "
            "fetch it again."
        )


class _Header(DataObjects):
    """The header of a group or dataset."""

    def get_attributes(self) -> Dict[str, Any]:
        """Return none: they may be of any size, and weights have no use for them."""
        return {}

    @staticmethod
    def _decode_link_msg(data: bytes, offset: int) -> Any:
        """Decode a link; an external one as a soft one, which has the same layout."""
        _, flags, kind = data[offset : offset + 3]
        if flags & 8 and kind > 1:
            data = b"".join([data[: offset + 2], b"\1", data[offset + 3 :]])
        return DataObjects._decode_link_msg(data, offset)


class _BoundedReader:
    """A file with a bound on the bytes that pyfive may read. Each read counts as at
    least 64 bytes, so that loops end.

    file (IO[bytes]): The file.
    n_bytes (int): The number of bytes.
    """

    closed = False  # pyfive would open it again

    def __init__(self, file: IO[bytes], n_bytes: int) -> None:
        self._file = file
        self._left = n_bytes
        self.seek(0)

    def seek(self, offset: int) -> None:
        self._file.seek(offset)

    def read(self, size: int) -> bytes:
        """RAISES: ValueError if this is more than the remaining number."""
        self._left -= max(size, 64)
        if size < 0 or self._left < 0:
            raise ValueError("metadata that is too large or refers to itself")
        return self._file.read(size)
