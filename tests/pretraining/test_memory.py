"""Memory between the steps."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import runs

from spacy_elmo.pretraining import memory, trainer

HAS_GLIBC = hasattr(ctypes.CDLL(None), "malloc_trim")

# Every other block of a heap that has grown is freed: nothing lies at its end.
HOLES = """
import torch
from spacy_elmo.pretraining.memory import keep_freed_memory, return_holes

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 2**20

keep_freed_memory()
blocks = [torch.ones(2**20) for _ in range(100)]
full = resident()
del blocks[::2]
kept = resident()
return_holes()
print(full, kept, resident())
"""


@pytest.mark.skipif(
    not HAS_GLIBC or not Path("/proc/self/statm").exists(),
    reason="needs glibc, and Linux's /proc to see the memory",
)
def test_freed_blocks_stay_until_their_holes_are_returned() -> None:
    command = [sys.executable, "-c", HOLES]
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    full, kept, left = map(float, result.stdout.split())
    assert kept > full - 50
    assert left < full - 150


def test_without_glibc_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: object())
    memory.keep_freed_memory()
    memory.return_holes()


def test_training_returns_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = runs.make_texts(tmp_path)
    calls: list[None] = []
    monkeypatch.setattr(trainer, "STEPS_BETWEEN_TRIMS", 5)
    monkeypatch.setattr(trainer, "return_holes", lambda: calls.append(None))
    runs.run(texts, tmp_path / "out")
    assert len(calls) == 12 // 5
