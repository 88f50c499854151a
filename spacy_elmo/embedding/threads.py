"""Reading and writing in threads, so that the network does not wait for them."""

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Callable, Iterable, Iterator, Optional, TypeVar

Item = TypeVar("Item")


def prefetch(items: Iterable[Item]) -> Iterator[Item]:
    """Compute the next item in a thread while the caller uses the present one.

    items (Iterable[Item]): Items, none of which is None.
    YIELDS (Item): The same items, in order. An error is raised in place of its item.
    """
    iterator = iter(items)

    def read() -> Optional[Item]:
        return next(iterator, None)

    with ThreadPoolExecutor(1) as thread:
        pending = thread.submit(read)
        while (item := pending.result()) is not None:
            pending = thread.submit(read)
            yield item


def write_behind(items: Iterable[Item], write: Callable[[Item], None]) -> None:
    """Write each item in a thread while the next one is computed.

    items (Iterable[Item]): Items, computed in the thread of the caller. Two of them are
        in memory at a time.
    write (Callable): Writes an item. If it raises, nothing more is written.
    """
    pending: Optional[Future[None]] = None
    with ThreadPoolExecutor(1) as thread:
        for item in items:
            if pending is not None:
                pending.result()
            pending = thread.submit(write, item)
        if pending is not None:
            pending.result()
