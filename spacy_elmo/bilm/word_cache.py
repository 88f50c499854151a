"""A bounded cache of word vectors with least-recently-used eviction."""

import os
from collections import OrderedDict
from threading import Lock
from typing import Callable, List, Sequence
from weakref import WeakSet

import torch
from torch import Tensor

MAX_LENGTH = 128
"""Maximum length of a cached word, in characters. Few words are longer."""


class WordCache:
    """Maps words to their vectors from characters alone. Only words of at most
    MAX_LENGTH characters are cached, which bounds the memory of the words too.

    capacity (int): Maximum number of words.
    width (int): Width of a vector.
    like (Tensor): A tensor with the dtype and device of the vectors.
    """

    def __init__(self, capacity: int, width: int, like: Tensor) -> None:
        # Tensors made in inference mode could not be written to outside it.
        with torch.inference_mode(False):
            self._vectors = like.new_empty(capacity, width)
        self._reset()
        _caches.add(self)

    def _reset(self) -> None:
        self._rows: OrderedDict[str, int] = OrderedDict()
        self._n_used = 0
        self._lock = Lock()

    def after_fork(self) -> None:
        """In a child process, drop everything if the lock is held: the thread that
        holds it does not exist there."""
        if self._lock.locked():
            self._reset()

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
        """Return the vectors of words, (n_words, width).

        words (Sequence[str]): The words. Repeated words may be computed repeatedly.
        compute (Callable[[List[str]], Tensor]): Computes the vectors of words that are
            not cached. They are cached if they fit.
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
            cached = self._vectors[self._index(rows)]
        if not unknown:
            return cached
        # Outside the lock, so that other threads need not wait.
        new = compute([words[place] for place in unknown])
        vectors = new
        if known:
            vectors = new.new_empty(len(words), new.shape[1])
            vectors[self._index(known)] = cached
            vectors[self._index(unknown)] = new
        places = {words[place]: number for number, place in enumerate(unknown)}
        with self._lock:
            # Another thread may have added the same words meanwhile. Words of one call
            # do not evict each other.
            added = [word for word in places if len(word) <= MAX_LENGTH]
            added = [word for word in added if word not in self._rows]
            added = added[: self.capacity - len(set(rows))]
            rows = [self._free_row() for _ in added]
            index = self._index([places[word] for word in added])
            self._vectors[self._index(rows)] = new[index]
            self._rows.update(zip(added, rows))
        return vectors

    def _free_row(self) -> int:
        if self._n_used < self.capacity:
            self._n_used += 1
            return self._n_used - 1
        return self._rows.popitem(last=False)[1]

    def _index(self, places: List[int]) -> Tensor:
        return torch.tensor(places, dtype=torch.long, device=self._vectors.device)


_caches: "WeakSet[WordCache]" = WeakSet()


def _after_fork() -> None:
    for cache in list(_caches):
        cache.after_fork()


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_after_fork)
