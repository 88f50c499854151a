"""Batches in the order of the steps, prepared in the background for a GPU."""

import queue
import threading
from typing import Any, Callable, Generator, TypeVar

import torch

T = TypeVar("T")


def stream_batches(
    make: Callable[[int], T], first: int, end: int, device: torch.device
) -> Generator[T, None, None]:
    """Yield `make(step)` for each step in `range(first, end)`.

    On a CPU, batches are made between the steps: a thread would slow down the matrix
    products by far more than it saves.
    """
    if device.type != "cpu":
        yield from prefetch(make, first, end)
        return
    for step in range(first, end):
        yield make(step)


def prefetch(
    make: Callable[[int], T], first: int, end: int, depth: int = 2
) -> Generator[T, None, None]:
    """Yield `make(step)` for each step in `range(first, end)`, computed in a thread.

    make (Callable[[int], T]): Called in the thread. If it raises, the error is raised
        here, at that step.
    depth (int): Number of results that may be waiting.
    """
    results: queue.Queue[Any] = queue.Queue(depth)
    stop = threading.Event()

    def put(item: Any) -> None:
        while not stop.is_set():
            try:
                return results.put(item, timeout=0.1)
            except queue.Full:
                continue

    def work() -> None:
        try:
            for step in range(first, end):
                if stop.is_set():
                    return
                put(make(step))
        except BaseException as error:
            put(error)

    thread = threading.Thread(target=work, name="batches", daemon=True)
    thread.start()
    try:
        for _ in range(first, end):
            item = results.get()
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        thread.join()
