"""Memory of large arrays of training, which is kept for the next ones.

A system has to clear each page that it gives to a process, and malloc gives large
arrays back to it: a step that trains a large biLM forms 2 GB of them, and would wait
for their pages a quarter of its time. What is kept goes back when a biLM is used
without gradients, or is gone.
"""

import math
import os
from collections import deque
from threading import Lock
from typing import Deque, List, Optional, Tuple

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
        self._keeps = False
        # Garbage is collected at any time, within the lock too. Size, and what is kept.
        self._given_back: Deque[Tuple[int, Optional[Tensor]]] = deque()
        self._in_use = 0
        self._most_in_use = 0

    def empty(self, n_bytes: int) -> np.ndarray:
        """As `numpy.empty` of bytes, (n_bytes)."""
        with self._lock:
            self._keeps = True
            self._collect()
            # Of two that fit alike the last one, which may be in the processor's cache.
            fitting = [
                block
                for block in reversed(self._free)
                if n_bytes <= block.nbytes <= 2 * n_bytes
            ]
            if fitting:
                block = min(fitting, key=_size)
                self._free = [one for one in self._free if one is not block]
            else:
                size = _rounded_up(n_bytes)
                self._trim(size)
                block = torch.empty(size, dtype=torch.uint8, device="cpu")
            self._in_use += block.nbytes
            self._most_in_use = max(self._most_in_use, self._in_use)
        return np.asarray(_Lent(block, self))[:n_bytes]

    def give_back(self, n_bytes: int, block: Tensor) -> None:
        self._given_back.append((n_bytes, block if self._keeps else None))

    def release(self) -> None:
        """Gives what is free back to the system, and keeps nothing until `empty` is
        called again."""
        self._keeps = False
        # The finalizer of a biLM runs at any time, also while this thread has the lock.
        # Who has it is training, and keeps what there is.
        if self._lock.acquire(blocking=False):
            try:
                self._collect()
                self._free.clear()
                self._most_in_use = self._in_use
            finally:
                self._lock.release()

    @property
    def n_free_bytes(self) -> int:
        with self._lock:
            self._collect()
            return sum(map(_size, self._free))

    def _collect(self) -> None:
        while self._given_back:
            n_bytes, block = self._given_back.popleft()
            self._in_use -= n_bytes
            if block is not None:
                self._free.append(block)
        self._trim(0)

    def _trim(self, n_more: int) -> None:
        """To what may be kept once so many more bytes are in use."""
        in_use = self._in_use + n_more
        n_kept = _MOST * max(self._most_in_use, in_use) - in_use
        while self._free and sum(map(_size, self._free)) > n_kept:
            del self._free[0]


class _Lent:
    """What an array's memory belongs to: it goes back when the array is gone."""

    def __init__(self, block: Tensor, pool: Pool) -> None:
        self.n_bytes, self.block, self.pool = block.nbytes, block, pool
        self.__array_interface__ = block.numpy().__array_interface__

    def __del__(self) -> None:
        self.pool.give_back(self.n_bytes, self.block)


def _size(block: Tensor) -> int:
    return block.nbytes


def _rounded_up(n_bytes: int) -> int:
    """By an eighth at most: batches are of many sizes, few blocks are to fit all."""
    step = 1 << max(n_bytes.bit_length() - 4, 0)
    return -(-n_bytes // step) * step


_pool = Pool()


def empty(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """As `torch.empty` on a CPU; large ones are of memory that was used before."""
    n_bytes = math.prod(shape) * dtype.itemsize
    if n_bytes < _LARGE:
        return torch.empty(shape, dtype=dtype, device="cpu")
    return torch.from_numpy(_pool.empty(n_bytes)).view(dtype).view(shape)


def release() -> None:
    """Gives memory that is kept back to the system, and from then on each array's as
    soon as it is gone, until `empty` is called again."""
    _pool.release()


def _begin_anew() -> None:
    """In a forked child, where who had the lock is gone."""
    global _pool
    _pool = Pool()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
