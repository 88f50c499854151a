"""Reading and writing in threads."""

from __future__ import annotations

import threading
from typing import Iterator

import pytest

from spacy_elmo.embedding.threads import prefetch, write_behind


def failing(n: int) -> Iterator[int]:
    yield from range(n)
    raise OSError("damaged")


def test_items_are_read_ahead_and_in_order() -> None:
    n_read = 0
    is_second_read = threading.Event()

    def read() -> Iterator[int]:
        nonlocal n_read
        for n_read in range(1, 6):
            if n_read == 2:
                is_second_read.set()
            yield n_read

    items = prefetch(read())
    assert next(items) == 1
    assert is_second_read.wait(10)
    assert list(items) == [2, 3, 4, 5]
    assert list(prefetch([])) == []


def test_an_error_of_the_reader_is_raised_in_its_place() -> None:
    items = prefetch(failing(2))
    assert [next(items), next(items)] == [0, 1]
    with pytest.raises(OSError, match="damaged"):
        next(items)


def test_items_are_written_while_the_next_is_computed() -> None:
    written: list[int] = []
    is_computed = threading.Event()

    def items() -> Iterator[int]:
        yield 1
        yield 2
        is_computed.set()
        yield 3

    def write(item: int) -> None:
        if item == 1:
            # Would time out if items were written before the next one is computed.
            assert not is_computed.is_set()
        if item == 2:
            assert is_computed.wait(10)
        written.append(item)

    write_behind(items(), write)
    assert written == [1, 2, 3]


def test_errors_of_both_sides_end_the_writing() -> None:
    written: list[int] = []

    def write(item: int) -> None:
        if item == 2:
            raise OSError("full")
        written.append(item)

    with pytest.raises(OSError, match="full"):
        write_behind(range(100), write)
    assert written == [0, 1]
    with pytest.raises(OSError, match="damaged"):
        write_behind(failing(1), written.append)
    assert written == [0, 1, 0]
