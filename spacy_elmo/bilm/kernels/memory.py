"""Memory of large arrays, which is kept for the next ones.

A system has to clear each page that it gives to a process, and malloc gives large
arrays back to it: a step that trains a large biLM forms 2 GB of them, and would wait
for their pages a quarter of its time.
"""

from collections import deque
from threading import Lock
from typing import Deque, List

import numpy as np
import torch
from torch import Tensor

_LARGE = 1 << 20
"""Bytes; malloc keeps smaller ones itself."""

_MOST = 1.25
"""Of the bytes that were in use at once: so many are in use or kept."""


class Pool:
    """Blocks of memory. One is free again when nothing refers to its tensor any more.

    Safe from several threads.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._free: List[Tensor] = []  # the one that was given back first, first
        # Garbage is collected at any time, within the lock too.
        self._given_back: Deque[Tensor] = deque()
        self._in_use = 0
        self._most_in_use = 0

    def empty(self, n_bytes: int) -> np.ndarray:
        """As `numpy.empty` of bytes, (n_bytes)."""
        with self._lock:
            self._collect()
            # Of two that fit alike the last one, which may be in the processor's cache.
            fitting = [
                block
                for block in reversed(self._free)
                if n_bytes <= len(block) <= 2 * n_bytes
            ]
            if fitting:
                block = min(fitting, key=len)
                self._free = [one for one in self._free if one is not block]
            else:
                block = torch.empty(
                    _rounded_up(n_bytes), dtype=torch.uint8, device="cpu"
                )
            self._in_use += len(block)
            self._most_in_use = max(self._most_in_use, self._in_use)
        return np.asarray(_Lent(block, self._given_back))[:n_bytes]

    def release(self) -> None:
        """Gives what is free back to the system."""
        with self._lock:
            self._collect()
            self._free.clear()
            self._most_in_use = self._in_use

    @property
    def n_free_bytes(self) -> int:
        with self._lock:
            self._collect()
            return sum(map(len, self._free))

    def _collect(self) -> None:
        while self._given_back:
            block = self._given_back.popleft()
            self._in_use -= len(block)
            self._free.append(block)
        n_most = _MOST * self._most_in_use - self._in_use
        while sum(map(len, self._free)) > n_most:
            del self._free[0]


class _Lent:
    """What an array's memory belongs to: it goes back when the array is gone."""

    def __init__(self, block: Tensor, give_back_to: Deque[Tensor]) -> None:
        self.block, self.give_back_to = block, give_back_to
        self.__array_interface__ = block.numpy().__array_interface__

    def __del__(self) -> None:
        self.give_back_to.append(self.block)


def _rounded_up(n_bytes: int) -> int:
    """By an eighth at most: batches are of many sizes, few blocks are to fit all."""
    step = 1 << max(n_bytes.bit_length() - 4, 0)
    return -(-n_bytes // step) * step


_pool = Pool()


def empty(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """As `torch.empty` on a CPU; large ones are of memory that was used before."""
    n_bytes = int(np.prod(shape)) * dtype.itemsize
    if n_bytes < _LARGE:
        return torch.empty(shape, dtype=dtype, device="cpu")
    return torch.from_numpy(_pool.empty(n_bytes)).view(dtype).view(shape)


def release() -> None:
    """Gives memory that no array has back to the system."""
    _pool.release()
