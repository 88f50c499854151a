"""Signals: on SIGTERM or Ctrl-C, a run writes a checkpoint before it ends."""

import signal
from types import FrameType
from typing import Any, Dict, Optional


class Interrupted(Exception):
    """A run was stopped by a signal, and its checkpoint is written.

    signal_number (int): The signal.
    message (str): What happened, for the user.
    """

    def __init__(self, signal_number: int, message: str) -> None:
        super().__init__(message)
        self.signal_number = signal_number
        self.exit_status = 128 + signal_number  # the convention of shells


class StopSignals:
    """While entered, remembers the first SIGTERM or SIGINT in `received`. A second one
    has its usual effect.

    Outside the main thread, where Python allows no signal handlers, it does nothing.
    """

    def __init__(self) -> None:
        self.received: Optional[int] = None
        self._before: Dict[int, Any] = {}

    def __enter__(self) -> "StopSignals":
        for number in (signal.SIGTERM, signal.SIGINT):
            try:
                self._before[number] = signal.signal(number, self._remember)
            except ValueError:
                break
        return self

    def __exit__(self, *error: object) -> None:
        self._restore()

    def _remember(self, number: int, frame: Optional[FrameType]) -> None:
        self.received = number
        self._restore()

    def _restore(self) -> None:
        while self._before:
            signal.signal(*self._before.popitem())
