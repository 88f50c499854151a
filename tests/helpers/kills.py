"""Processes that are killed at a chosen moment of their work on files."""

from __future__ import annotations

import os
import signal
import sys
import traceback
import warnings
from typing import Any, Callable, Iterator

import pytest

_EVENTS = {"open", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "shutil.rmtree"}
"""By Python's audit hooks; os.rename is os.replace too."""


def kill_everywhere(work: Callable[[], object]) -> Iterator[bool]:
    """Run the work again and again, in a process that is killed before its first
    operation on files, before its second one, and so on, the last time until its end.

    Yields after each process: whether it came to its end.
    """
    if not hasattr(os, "fork"):
        pytest.skip("needs os.fork")
    number, status = 0, signal.SIGKILL
    while status == signal.SIGKILL:
        with warnings.catch_warnings():
            # Of forks beside threads, which do nothing here.
            warnings.simplefilter("ignore", DeprecationWarning)
            process = os.fork()
        if not process:
            _run(work, number)
        status = os.waitpid(process, 0)[1]
        assert status in (0, signal.SIGKILL), "the work has failed"
        number += 1
        yield status == 0


def _run(work: Callable[[], object], number: int) -> None:
    left = number

    def hook(event: str, arguments: Any) -> None:
        nonlocal left
        if event in _EVENTS:
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1

    try:
        sys.addaudithook(hook)
        work()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)
