"""Kills a process before each of its file operations."""

from __future__ import annotations

import os
import signal
import sys
import traceback
import warnings
from typing import Any, Callable, Iterator

import pytest

_EVENTS = {"open", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "shutil.rmtree"}
"""Audit events of Python; os.rename includes os.replace."""


def kill_everywhere(work: Callable[[], object]) -> Iterator[bool]:
    """Run `work` repeatedly, in a process that is killed before its first file
    operation, then before its second one, and so on, until it is no longer killed.

    YIELDS: After each process, whether it finished.
    """
    if not hasattr(os, "fork"):
        pytest.skip("needs os.fork")
    number, status = 0, signal.SIGKILL
    while status == signal.SIGKILL:
        with warnings.catch_warnings():
            # Forking next to threads is safe here, as they are idle.
            warnings.simplefilter("ignore", DeprecationWarning)
            process = os.fork()
        if not process:
            _run(work, number)
        status = os.waitpid(process, 0)[1]
        assert status in (0, signal.SIGKILL), "the process failed"
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
