"""The cache of word vectors."""

from __future__ import annotations

import multiprocessing
import os
import random

import pytest
import torch
from torch import Tensor

from spacy_elmo.bilm.word_cache import MAX_LENGTH, WordCache

WIDTH = 3


def vectors_of(words: list[str]) -> Tensor:
    """Return a distinct vector for each word."""
    rows = [[float(n) for n in word.encode()[:WIDTH].ljust(WIDTH)] for word in words]
    return torch.tensor(rows).view(len(words), WIDTH)


class Reader:
    """Computes vectors and records the words that it was asked for."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def __call__(self, words: list[str]) -> Tensor:
        self.asked.append(list(words))
        return vectors_of(words)


def cache_of(capacity: int) -> WordCache:
    return WordCache(capacity, WIDTH, torch.zeros(1))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.parametrize("held", [False, True])
def test_fork_while_a_thread_holds_the_lock(held: bool) -> None:
    """The child starts with an empty cache if the lock was held, otherwise with the
    cached words."""
    cache = cache_of(4)
    cache.look_up(["a", "b"], vectors_of)
    receiving, sending = multiprocessing.Pipe(duplex=False)

    def child() -> None:
        reader = Reader()
        found = cache.look_up(["a", "c"], reader)
        sending.send((found.tolist(), reader.asked))

    process = multiprocessing.get_context("fork").Process(target=child)
    if held:
        cache._lock.acquire()
    process.start()
    try:
        assert receiving.poll(60), "expected an answer from the child"
        found, asked = receiving.recv()
    finally:
        process.kill()
        process.join()
    assert found == vectors_of(["a", "c"]).tolist()
    assert asked == [["a", "c"] if held else ["c"]]
    # The parent process is unchanged.
    assert cache._lock.locked() == held
    assert "a" in cache
    assert "c" not in cache


def test_lock_is_free_while_words_are_computed() -> None:
    """Other threads need not wait."""
    cache = cache_of(4)

    def compute(words: list[str]) -> Tensor:
        assert not cache._lock.locked()
        return cache.look_up(words, vectors_of)

    assert torch.equal(cache.look_up(["a", "b"], compute), vectors_of(["a", "b"]))
    assert len(cache) == 2


def look_up(cache: WordCache, words: list[str]) -> list[str]:
    """Check the vectors of words and return those that were not cached."""
    reader = Reader()
    found = cache.look_up(words, reader)
    assert found.shape == (len(words), WIDTH)
    assert torch.equal(found, vectors_of(words))
    assert len(cache) <= cache.capacity
    assert len(reader.asked) <= 1
    return [word for words in reader.asked for word in words]


def test_a_word_is_computed_once() -> None:
    cache = cache_of(10)
    assert look_up(cache, ["a", "b"]) == ["a", "b"]
    assert look_up(cache, ["c", "b", "a", "d"]) == ["c", "d"]
    assert look_up(cache, ["d", "c", "b", "a"]) == []
    assert len(cache) == 4
    assert "a" in cache
    assert "e" not in cache


def test_long_words_are_not_cached() -> None:
    cache = cache_of(3)
    kept, longer = "l" * MAX_LENGTH, "l" * MAX_LENGTH + "o"
    assert look_up(cache, [longer, kept, "a"]) == [longer, kept, "a"]
    assert len(cache) == 2
    assert look_up(cache, ["a", longer, kept]) == [longer]


@pytest.mark.parametrize("capacity", [0, 1, 2, 3, 8])
def test_repeated_words(capacity: int) -> None:
    cache = cache_of(capacity)
    for words in (["a", "a"], ["b"], ["c", "c", "b"], ["d", "c", "d", "a"], ["e"]):
        for _ in range(3):
            look_up(cache, words)
    everything = {"a", "b", "c", "d", "e"}
    assert len(cache) == min(capacity, len(everything))
    assert sum(word in cache for word in everything) == len(cache)
    # No row was lost.
    fresh = [f"w{n}" for n in range(capacity)]
    assert look_up(cache, fresh) == fresh
    assert look_up(cache, fresh) == []


def test_repeated_cached_word_takes_one_row() -> None:
    cache = cache_of(3)
    look_up(cache, ["a"])
    look_up(cache, ["a", "a", "a", "a", "b", "c"])
    assert look_up(cache, ["a", "b", "c"]) == []


@pytest.mark.parametrize("capacity", [0, 1, 3, 7, 30])
def test_equals_a_list_of_recently_used_words(capacity: int) -> None:
    """A slow model of the cache: words in the order of their use, newest last."""
    cache, order, rng = cache_of(capacity), [], random.Random(capacity)
    for _ in range(400):
        words = rng.sample([chr(97 + n) for n in range(20)], rng.randint(0, 9))
        known = [word for word in words if word in order]
        new = [word for word in words if word not in order]
        assert look_up(cache, words) == new
        kept = new[: capacity - len(known)]
        others = [word for word in order if word not in known]
        free = capacity - len(known) - len(kept)
        order = [*others[len(others) - min(free, len(others)) :], *known, *kept]
        assert {word for word in map(chr, range(97, 117)) if word in cache} == {*order}


def test_results_may_be_modified() -> None:
    cache = cache_of(4)
    for words in (["a", "b"], ["a", "c"], ["a", "b"]):
        cache.look_up(words, vectors_of).zero_()
        assert torch.equal(cache.look_up(words, vectors_of), vectors_of(words))


def test_failed_computation_changes_nothing() -> None:
    def fail(words: list[str]) -> Tensor:
        raise MemoryError

    cache = cache_of(2)
    look_up(cache, ["a", "b"])
    for _ in range(3):
        with pytest.raises(MemoryError):
            cache.look_up(["c", "a"], fail)
    assert look_up(cache, ["a", "b"]) == []
    assert look_up(cache, ["c"]) == ["c"]


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_dtype(dtype: torch.dtype) -> None:
    cache = WordCache(2, 1, torch.zeros(1, dtype=dtype))

    def third(words: list[str]) -> Tensor:
        return torch.full((len(words), 1), 1 / 3, dtype=dtype)

    for words in (["a"], ["a", "b"], ["a", "b"]):
        assert torch.equal(cache.look_up(words, third), third(words))
