"""Memory for the layers of sentences that a frozen biLM has read."""

import math
import mmap
import shutil
import tempfile
import warnings
from functools import partial
from hashlib import blake2b
from typing import IO, Any, Dict, List, Optional, Sequence, Tuple

import numpy as np

from ..bilm.ready import Fingerprint

Place = Tuple[int, Tuple[int, ...], np.dtype]

_LEFT_FREE = 1 << 30
"""Bytes of the disk that are left to others: the trained pipeline may go there too."""


class LayerCache:
    """Sentence -> its layers: in main memory up to a budget, then in a temporary file
    that is mapped into memory and goes with the process.

    memory_mb: MiB of main memory; 0: nothing is kept.
    spills: whether what is more goes to the file; else it is not kept.
    """

    def __init__(self, memory_mb: float, *, spills: bool = True) -> None:
        self.memory_mb = memory_mb
        self.spills = spills
        self._budget = int(memory_mb * 2**20)
        self._fingerprint: Optional[Fingerprint] = None
        self._in_memory: Dict[bytes, np.ndarray] = {}
        self._in_file: Dict[bytes, Place] = {}
        self._bytes = 0
        self._file: Optional[IO[bytes]] = None
        self._map: Optional[mmap.mmap] = None
        self._is_full = False

    def __len__(self) -> int:
        return len(self._in_memory) + len(self._in_file)

    def __deepcopy__(self, memo: Dict[int, Any]) -> "LayerCache":
        return LayerCache(self.memory_mb, spills=self.spills)

    def __reduce__(self) -> Tuple[Any, Tuple[()]]:
        return partial(LayerCache, self.memory_mb, spills=self.spills), ()

    @property
    def is_used(self) -> bool:
        return self._budget > 0

    def holds(self, fingerprint: Fingerprint) -> bool:
        """Whether what is in it is of these weights."""
        return fingerprint == self._fingerprint

    def follow(self, fingerprint: Fingerprint) -> None:
        """Drop everything if the weights are others than before."""
        if fingerprint != self._fingerprint:
            self.clear()
            self._fingerprint = fingerprint

    def clear(self) -> None:
        self._in_memory, self._in_file = {}, {}
        self._bytes, self._is_full, self._fingerprint = 0, False, None
        if self._file is not None:
            self._file.close()
            self._file, self._map = None, None

    def get(self, key: bytes) -> Optional[np.ndarray]:
        """RETURNS: (n_layers + 1, n_words, width), or None."""
        found = self._in_memory.get(key)
        if found is not None or self._file is None:
            return found
        place = self._in_file.get(key)
        if place is None:
            return None
        offset, shape, dtype = place
        n_values = math.prod(shape)
        whole = self._mapped(self._file, offset + n_values * dtype.itemsize)
        return np.frombuffer(whole, dtype, n_values, offset).reshape(shape)

    def _mapped(self, file: IO[bytes], end: int) -> mmap.mmap:
        """The file, mapped anew where it has grown: each map takes a file descriptor,
        and one a sentence would be too many."""
        if self._map is None or len(self._map) < end:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return self._map

    def put(self, key: bytes, layers: np.ndarray) -> None:
        """layers: an array of its own. A full disk is told once; what does not fit is
        computed again when it is needed."""
        if self._bytes + layers.nbytes <= self._budget:
            self._in_memory[key] = layers
            self._bytes += layers.nbytes
        elif self.spills and not self._is_full:
            try:
                self._in_file[key] = self._write(layers)
            except OSError as error:
                self._is_full = True
                warnings.warn(
                    "The layers of further training docs are not kept: the temporary "
                    f"file in {tempfile.gettempdir()} could not be written ({error}). "
                    "The biLM will read them in each epoch. Name a folder with more "
                    "space in the environment variable TMPDIR, or give the model a "
                    "larger layer_cache_mb.",
                    stacklevel=2,
                )

    def _write(self, layers: np.ndarray) -> Place:
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="spacy-elmo-")  # noqa: SIM115
        free = shutil.disk_usage(tempfile.gettempdir()).free
        if free < _LEFT_FREE + layers.nbytes:
            raise OSError(f"{free >> 20} MiB are free, and {_LEFT_FREE >> 20} stay so")
        offset = self._file.seek(0, 2)
        # Written, not mapped: where the disk is full, a mapped write ends the process.
        self._file.write(layers.tobytes())
        self._file.flush()
        return offset, layers.shape, layers.dtype


def key_of(words: Sequence[str]) -> bytes:
    """Tells sentences apart, in 16 bytes."""
    digest = blake2b(digest_size=16)
    for word in words:
        utf8 = word.encode("utf8", "surrogatepass")
        digest.update(len(utf8).to_bytes(4, "little"))
        digest.update(utf8)
    return digest.digest()


def narrow(layers: np.ndarray) -> np.ndarray:
    """In float16, if its range holds them; else as they are. An array of its own."""
    with np.errstate(over="ignore"):
        half = layers.astype(np.float16)
    return half if np.isfinite(half).all() else np.array(layers)


def join(parts: List[np.ndarray]) -> np.ndarray:
    """One after the other, in float32."""
    n_layers, _, width = parts[0].shape
    n_words = sum(part.shape[1] for part in parts)
    joined = np.empty((n_layers, n_words, width), dtype=np.float32)
    start = 0
    for part in parts:
        joined[:, start : start + part.shape[1]] = part
        start += part.shape[1]
    return joined
