"""The fuzz targets without a fuzzer: valid inputs, damaged ones, what failed once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fuzz.readers import READERS, read, seeds

FOLDER = Path(__file__).parent
REGRESSIONS = sorted((FOLDER / "regressions").glob("*/*"))


def test_each_reader_has_a_target() -> None:
    assert {path.stem[5:] for path in FOLDER.glob("fuzz_*.py")} == READERS.keys()


@pytest.mark.parametrize("name", READERS)
def test_seeds(name: str) -> None:
    for seed in seeds(name):
        assert read(name, seed)


@pytest.mark.parametrize("name", READERS)
def test_damaged_seeds(name: str) -> None:
    """Any error that is not one of the reader's own is raised."""
    rng = np.random.default_rng(0)
    n_refused = 0
    for seed in seeds(name):
        for length in rng.integers(len(seed), size=4):
            n_refused += not read(name, seed[:length])
        for _ in range(10):
            changed = bytearray(seed)
            changed[rng.integers(1, len(seed))] ^= 1 << rng.integers(8)
            n_refused += not read(name, bytes(changed))
    assert n_refused


@pytest.mark.parametrize("path", REGRESSIONS, ids=lambda path: path.parent.name)
def test_inputs_that_failed_once(path: Path) -> None:
    read(path.parent.name, path.read_bytes())


def test_without_atheris() -> None:
    """A run that cannot fuzz says why, and is no failure."""
    code = (
        "import runpy, sys; sys.modules['atheris'] = None; "
        f"sys.argv = ['run.py']; runpy.run_path({str(FOLDER / 'run.py')!r}, "
        "run_name='__main__')"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], text=True, capture_output=True
    )
    assert process.returncode == 0, process.stderr
    assert "Not fuzzed: the package atheris is not installed" in process.stdout
