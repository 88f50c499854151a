"""Disks on which there is too little space."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

import pytest

_LIMIT = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, ({n_bytes}, {n_bytes}))
"""


def run_with_limit(script: str, n_bytes: int) -> subprocess.CompletedProcess[str]:
    """Run a script in a process that cannot write files of more than `n_bytes`."""
    pytest.importorskip("resource")
    return subprocess.run(
        [sys.executable, "-c", _LIMIT.format(n_bytes=n_bytes) + script],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@contextmanager
def small_disk(folder: Path, kilobytes: int) -> Iterator[Path]:
    """Mount a file system of this size. Skips the test without the rights to do so."""
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)]
    try:
        subprocess.run(["mount", *options], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"cannot mount a file system: {error}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)
