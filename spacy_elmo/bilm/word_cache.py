"""Vectors of words that were met before, the least recently used ones dropped first."""

import os
from collections import OrderedDict
from threading import Lock
from typing import Callable, List, Sequence
from weakref import WeakSet

import torch
from torch import Tensor

LONGEST = 128
"""Characters of a word that is kept, at most: few are longer."""


class WordCache:
    """Word -> its vector from its characters alone, in bounded memory.

    capacity: words, of at most LONGEST characters, so that the memory of the
        words themselves has a bound too. width: of a vector. like: has the vectors'
        dtype and device.
    """

    def __init__(self, capacity: int, width: int, like: Tensor) -> None:
        # A tensor of inference mode could not be written to outside of it.
        with torch.inference_mode(False):
            self._vectors = like.new_empty(capacity, width)
        self._start_anew()
        _of_this_process.add(self)

    def _start_anew(self) -> None:
        self._rows: OrderedDict[str, int] = OrderedDict()
        self._n_used = 0
        self._lock = Lock()

    def after_fork(self) -> None:
        """In a new process: where another thread of the old one was at work here, there
        is none to end it, or to give back the lock."""
        if self._lock.locked():
            self._start_anew()

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, word: str) -> bool:
        return word in self._rows

    @property
    def capacity(self) -> int:
        return len(self._vectors)

    def look_up(
        self, words: Sequence[str], compute: Callable[[List[str]], Tensor]
    ) -> Tensor:
        """The words' vectors, (len(words), width).

        words: each once; one that comes again is computed again.
        compute: gives the vectors of those that are not there; they then are, as far
            as they fit and are not too long.
        """
        with self._lock:
            known: List[int] = []
            rows: List[int] = []
            unknown: List[int] = []
            for place, word in enumerate(words):
                row = self._rows.get(word)
                if row is None:
                    unknown.append(place)
                else:
                    known.append(place)
                    rows.append(row)
                    self._rows.move_to_end(word)
            found = self._vectors[self._index(rows)]
        if not unknown:
            return found
        # Without the lock: other threads need not wait.
        new = compute([words[place] for place in unknown])
        vectors = new
        if known:
            vectors = new.new_empty(len(words), new.shape[1])
            vectors[self._index(known)] = found
            vectors[self._index(unknown)] = new
        places = {words[place]: number for number, place in enumerate(unknown)}
        with self._lock:
            # Words of this call do not drop each other; another thread may have had
            # the same.
            kept = [word for word in places if len(word) <= LONGEST]
            kept = [word for word in kept if word not in self._rows]
            kept = kept[: self.capacity - len(set(rows))]
            rows = [self._free_row() for _ in kept]
            index = self._index([places[word] for word in kept])
            self._vectors[self._index(rows)] = new[index]
            self._rows.update(zip(kept, rows))
        return vectors

    def _free_row(self) -> int:
        if self._n_used < self.capacity:
            self._n_used += 1
            return self._n_used - 1
        return self._rows.popitem(last=False)[1]

    def _index(self, places: List[int]) -> Tensor:
        return torch.tensor(places, dtype=torch.long, device=self._vectors.device)


_of_this_process: "WeakSet[WordCache]" = WeakSet()


def _after_fork() -> None:
    for cache in list(_of_this_process):
        cache.after_fork()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_after_fork)
