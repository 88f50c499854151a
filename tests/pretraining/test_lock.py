"""One run at a time in a folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from spacy_elmo.pretraining.lock import alone_in

HOLD = """
import sys
from pathlib import Path
from spacy_elmo.pretraining.lock import alone_in
with alone_in(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_folder_is_held_once_and_let_go(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with alone_in(folder):
        pass
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert other.stdout is not None
    assert other.stdout.readline() == b"held\n"
    message = "expected a folder that no run is at work in"
    with pytest.raises(OSError, match=message), alone_in(folder):
        pass
    other.kill()
    other.wait()
    with alone_in(folder):
        pass
