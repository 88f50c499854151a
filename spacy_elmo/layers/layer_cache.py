"""Cache for the layers of sentences that a frozen biLM has read."""

import math
import mmap
import shutil
import tempfile
import warnings
import weakref
from functools import partial
from hashlib import blake2b
from typing import IO, Any, Dict, Optional, Sequence, Tuple

import numpy as np

from ..bilm.prepared_weights import Fingerprint

FileEntry = Tuple[int, Tuple[int, ...], np.dtype]
"""Offset, shape and dtype."""

RESERVED_DISK_SPACE = 1 << 30
"""Bytes left free on the disk. The trained pipeline may be saved there, too."""


class LayerCache:
    """Maps sentences to their layers: in memory up to a budget, then in a memory-mapped
    temporary file, which is deleted with the process.

    memory_mb (float): MiB of memory. 0 disables the cache.
    spills (bool): Whether layers beyond the budget go to the file or are dropped.
    """

    def __init__(self, memory_mb: float, *, spills: bool = True) -> None:
        self.memory_mb = memory_mb
        self.spills = spills
        self._budget = int(memory_mb * 2**20)
        self._file: Optional[IO[bytes]] = None
        self._fingerprint: Optional[Fingerprint] = None
        self.clear()

    def __len__(self) -> int:
        return len(self._in_memory) + len(self._in_file)

    def __reduce__(self) -> Tuple[Any, ...]:
        """Copy and pickle the settings, not the contents."""
        return partial(LayerCache, self.memory_mb, spills=self.spills), ()

    @property
    def enabled(self) -> bool:
        return self._budget > 0

    @property
    def n_in_file(self) -> int:
        return len(self._in_file)

    def holds(self, fingerprint: Fingerprint) -> bool:
        """Whether the cached layers were computed with these weights."""
        return fingerprint == self._fingerprint

    def follow(self, fingerprint: Fingerprint) -> None:
        """Drop everything if the weights have changed."""
        if not self.holds(fingerprint):
            self.clear()
            self._fingerprint = fingerprint

    def clear(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file = None
        self._map: Optional[mmap.mmap] = None
        self._in_memory: Dict[bytes, np.ndarray] = {}
        self._in_file: Dict[bytes, FileEntry] = {}
        self._bytes = 0
        self._disk_is_full = False
        self._fingerprint = None

    def get(self, key: bytes) -> Optional[np.ndarray]:
        """RETURNS (Optional[ndarray]): Shape (n_layers + 1, n_words, width)."""
        if key not in self._in_file:
            return self._in_memory.get(key)
        offset, shape, dtype = self._in_file[key]
        n_values = math.prod(shape)
        if self._map is None or len(self._map) < offset + n_values * dtype.itemsize:
            # Mapped again only if the file has grown: each map takes a file descriptor,
            # and one per sentence would be too many.
            assert self._file is not None
            self._map = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        return np.frombuffer(self._map, dtype, n_values, offset).reshape(shape)

    def put(self, key: bytes, layers: np.ndarray) -> None:
        """Cache an array that is not changed or shared afterwards. Warns once if the
        disk is full; what does not fit will be computed again."""
        if self._bytes + layers.nbytes <= self._budget:
            self._in_memory[key] = layers
            self._bytes += layers.nbytes
        elif self.spills and not self._disk_is_full:
            try:
                self._in_file[key] = self._write(layers)
            except OSError as error:
                self._disk_is_full = True
                warnings.warn(
                    "The layers of further training docs are not cached: a temporary "
                    f"file could not be written ({error}). The biLM will read these "
                    "docs in every epoch. Set the environment variable TMPDIR to a "
                    "folder with more space, or increase the model's layer_cache_mb.",
                    stacklevel=2,
                )

    def _write(self, layers: np.ndarray) -> FileEntry:
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="spacy-elmo-")  # noqa: SIM115
            weakref.finalize(self, self._file.close)
        folder = tempfile.gettempdir()
        free = shutil.disk_usage(folder).free
        if free < RESERVED_DISK_SPACE + layers.nbytes:
            raise OSError(
                f"in {folder}, {free >> 20} MiB are free, of which "
                f"{RESERVED_DISK_SPACE >> 20} MiB are reserved"
            )
        offset = self._file.seek(0, 2)
        # Written rather than mapped: a mapped write on a full disk kills the process.
        self._file.write(layers.tobytes())
        self._file.flush()
        return offset, layers.shape, layers.dtype


def key_of(words: Sequence[str]) -> bytes:
    """Compute a 16-byte digest that identifies a sentence."""
    digest = blake2b(digest_size=16)
    for word in words:
        utf8 = word.encode("utf8", "surrogatepass")
        digest.update(len(utf8).to_bytes(4, "little"))
        digest.update(utf8)
    return digest.digest()


def narrow(layers: np.ndarray) -> np.ndarray:
    """Copy to float16, or to the same dtype if float16 would overflow."""
    with np.errstate(over="ignore"):
        half = layers.astype(np.float16)
    return half if np.isfinite(half).all() else np.array(layers)
