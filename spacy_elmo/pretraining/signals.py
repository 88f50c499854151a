"""SIGTERM and Ctrl-C: asked to end, a run writes a checkpoint first."""

import signal
from types import FrameType, TracebackType
from typing import Any, Dict, Optional, Type


class Interrupted(Exception):
    """The run has ended early, on request; all of it is in a checkpoint.

    signal_number: which asked. exit_status: what a shell expects of a program that one
    ended.
    """

    def __init__(self, signal_number: int, message: str) -> None:
        super().__init__(message)
        self.signal_number = signal_number
        self.exit_status = 128 + signal_number


class Requests:
    """While entered, remembers the first signal to end; a second one acts at once.

    Outside of the main thread, where Python allows no handlers, nothing changes.
    """

    def __init__(self) -> None:
        self.received: Optional[int] = None
        self._before: Dict[int, Any] = {}

    def __enter__(self) -> "Requests":
        for number in (signal.SIGTERM, signal.SIGINT):
            try:
                self._before[number] = signal.signal(number, self._remember)
            except ValueError:
                break
        return self

    def __exit__(
        self,
        error_type: Optional[Type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self._restore()

    def _remember(self, number: int, frame: Optional[FrameType]) -> None:
        self.received = number
        self._restore()

    def _restore(self) -> None:
        while self._before:
            signal.signal(*self._before.popitem())
