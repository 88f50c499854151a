"""Buffers of large arrays that are reused from one training step to the next.

The system has to clear each page that it gives to a process, and malloc returns large
arrays to the system: without reuse, a step that trains a large biLM allocates 2 GB and
spends a quarter of its time waiting for pages.
"""

import math
from threading import Lock
from typing import Any, Callable, List, Optional, Tuple
from weakref import ref

import numpy as np
import torch
from torch import Tensor

LEAST_BYTES = 1 << 20
"""Smaller arrays are not pooled: malloc keeps their memory itself."""

MAX_GROWTH = 1.25
"""Upper bound on used plus free memory, as a multiple of peak usage."""

_Entry = Tuple[np.ndarray, Callable[[], Any]]
"""A buffer, and a weak reference to the array that was last handed out of it."""


class Workspace:
    """Memory for the large arrays of whoever owns it, and freed with it.

    A buffer is in use as long as any tensor refers to it, so tensors saved for a
    backward pass stay valid. Several threads may share a workspace.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._buffers: List[_Entry] = []
        self._peak = 0

    def empty(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """Allocate an uninitialized tensor, in a free buffer if one fits.

        shape (int): Sizes of the dimensions.
        dtype (torch.dtype): Type of the elements.
        RETURNS (Tensor): Contiguous tensor on the CPU.
        """
        n_bytes = math.prod(shape) * dtype.itemsize
        if n_bytes < LEAST_BYTES:
            return torch.empty(shape, dtype=dtype, device="cpu")
        with self._lock:
            array = self._take(n_bytes)
        return torch.from_numpy(array).view(dtype).view(shape)

    @property
    def n_free_bytes(self) -> int:
        """Bytes in buffers that no tensor refers to."""
        with self._lock:
            return sum(b.nbytes for b, user in self._buffers if user() is None)

    def _take(self, n_bytes: int) -> np.ndarray:
        free: List[_Entry] = []
        used: List[_Entry] = []
        for entry in self._buffers:
            (free if entry[1]() is None else used).append(entry)
        n_used = sum(buffer.nbytes for buffer, _ in used)
        fitting = [b for b, _ in free if n_bytes <= b.nbytes <= 2 * n_bytes]
        if fitting:
            # The most recently used of equals may still be in the processor's cache.
            buffer = min(reversed(fitting), key=lambda b: b.nbytes)
            free = [entry for entry in free if entry[0] is not buffer]
            self._peak = max(self._peak, n_used + buffer.nbytes)
        else:
            size = _round_up(n_bytes)
            self._peak = max(self._peak, n_used + size)
            excess = n_used + size - MAX_GROWTH * self._peak
            excess += sum(b.nbytes for b, _ in free)
            while free and excess > 0:
                excess -= free.pop(0)[0].nbytes
            # PyTorch aligns its memory to the vectors of any processor.
            buffer = torch.empty(size, dtype=torch.uint8, device="cpu").numpy()
        array = buffer[:n_bytes]
        self._buffers = [*free, *used, (buffer, ref(array))]
        return array


def empty(
    workspace: Optional[Workspace], *shape: int, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Allocate in a workspace, or without one, as `Workspace.empty`."""
    if workspace is None:
        return torch.empty(shape, dtype=dtype, device="cpu")
    return workspace.empty(*shape, dtype=dtype)


def _round_up(n_bytes: int) -> int:
    """Round up by at most an eighth: batches of many sizes share few buffers."""
    step = 1 << max(n_bytes.bit_length() - 4, 0)
    return -(-n_bytes // step) * step
