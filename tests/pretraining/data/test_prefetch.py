"""Streams of batches, and the thread that prepares them for a GPU."""

from __future__ import annotations

import threading
import time
from typing import Callable, Iterator

import pytest
import torch

from spacy_elmo.pretraining.data.prefetch import prefetch, stream_batches


def test_a_cpu_makes_each_batch_when_it_is_needed() -> None:
    steps: list[int] = []
    source = stream_batches(steps.append, 2, 5, torch.device("cpu"))
    assert steps == []
    next(source)
    assert (steps, n_threads()) == ([2], 0)
    assert len(list(source)) == 2
    assert steps == [2, 3, 4]


def test_other_devices_prefetch_in_a_thread() -> None:
    source = stream_batches(str, 3, 9, torch.device("meta"))
    assert next(source) == "3"
    assert n_threads() == 1
    assert list(source) == ["4", "5", "6", "7", "8"]
    assert n_threads() == 0


def n_threads() -> int:
    return sum(thread.name == "batches" for thread in threading.enumerate())


def test_prefetch_stays_within_its_depth() -> None:
    steps: list[int] = []
    source = prefetch(steps.append, 0, 100, depth=3)
    assert steps == []
    next(source)
    wait_until(lambda: len(steps) == 5)
    time.sleep(0.15)
    # One is used, three are waiting, and the thread holds one more.
    assert steps == [0, 1, 2, 3, 4]
    source.close()
    assert n_threads() == 0
    assert len(steps) == 5


def test_an_error_in_the_thread_is_raised_at_its_step() -> None:
    results: list[float] = []
    with pytest.raises(ZeroDivisionError):
        results.extend(prefetch(lambda step: 1 / (4 - step), 2, 100))
    assert results == [0.5, 1.0]
    assert n_threads() == 0


@pytest.mark.parametrize("end", ["closed", "error", "dropped"])
def test_the_thread_ends_with_its_reader(end: str) -> None:
    def read(source: Iterator[object]) -> None:
        for _ in source:
            if end == "error":
                raise KeyError
            return

    source = prefetch(lambda step: [], 0, 10**9)
    if end == "error":
        with pytest.raises(KeyError):
            read(source)
        source.close()
    else:
        read(source)
        assert n_threads() == 1
        if end == "closed":
            source.close()
    del source
    assert n_threads() == 0


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "timed out"
        time.sleep(0.001)
