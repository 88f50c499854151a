"""Only one run at a time may use an output folder."""

from __future__ import annotations

import errno
import fcntl
import os
import platform
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from spacy_elmo.lock import LOCK, OWNER, lock_folder

IN_USE = "expected a folder without a run in progress"
HOLD = """
import sys
from pathlib import Path
from spacy_elmo.lock import lock_folder
with lock_folder(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""


def test_lock_is_exclusive_and_released_when_its_process_is_killed(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "run"
    with lock_folder(folder):
        pass
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )
    assert other.stdout is not None
    assert other.stdout.readline() == b"locked\n"
    with pytest.raises(OSError, match=IN_USE), lock_folder(folder):
        pass
    other.kill()
    other.wait()
    with lock_folder(folder):
        pass
    assert not (folder / OWNER).exists()


@pytest.fixture(params=[errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def _no_locks(request: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that does not support locks."""

    def flock(file: int, operation: int) -> None:
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "flock", flock)


@pytest.mark.usefixtures("_no_locks")
class TestWithoutLocks:
    @pytest.mark.filterwarnings("ignore:.*does not support locks")
    def test_owner_is_recorded_instead(self, tmp_path: Path) -> None:
        with lock_folder(tmp_path):
            owner = (tmp_path / OWNER).read_text(encoding="utf8")
            assert owner == f"{platform.node()} {os.getpid()}"
            match = rf"{IN_USE}, found that process {os.getpid()} on .*remove "
            with pytest.raises(OSError, match=match), lock_folder(tmp_path):
                pass
        assert [path.name for path in tmp_path.iterdir()] == [".lock"]

    def test_missing_locks_are_warned_about(self, tmp_path: Path) -> None:
        lock = lock_folder(tmp_path)
        with pytest.warns(UserWarning, match="does not support locks"):
            lock.__enter__()
        lock.__exit__(None, None, None)

    @pytest.mark.filterwarnings("ignore:.*does not support locks")
    def test_owner_that_was_killed_is_replaced(self, tmp_path: Path) -> None:
        process = subprocess.Popen([sys.executable, "-c", ""])
        process.wait()
        (tmp_path / OWNER).write_text(f"{platform.node()} {process.pid}")
        with lock_folder(tmp_path):
            assert str(os.getpid()) in (tmp_path / OWNER).read_text(encoding="utf8")
        assert [path.name for path in tmp_path.iterdir()] == [LOCK]

    @pytest.mark.filterwarnings("ignore:.*does not support locks")
    def test_only_one_of_many_replaces_a_killed_owner(self, tmp_path: Path) -> None:
        """The others do not remove the new owner's file."""
        n_threads = 8
        process = subprocess.Popen([sys.executable, "-c", ""])
        process.wait()
        barrier = threading.Barrier(n_threads)

        def start(_: int) -> bool:
            barrier.wait()
            with suppress(OSError), lock_folder(tmp_path):
                barrier.wait()  # until all others have tried
                return True
            barrier.wait()
            return False

        with ThreadPoolExecutor(n_threads) as threads:
            for _ in range(50):
                (tmp_path / OWNER).write_text(f"{platform.node()} {process.pid}")
                assert sum(threads.map(start, range(n_threads))) == 1

    @pytest.mark.parametrize(
        ("text", "owner"),
        [("elsewhere 1", "process 1 on elsewhere"), ("", "process 0 on an unknown")],
    )
    def test_owner_on_another_host_is_respected(
        self, tmp_path: Path, text: str, owner: str
    ) -> None:
        (tmp_path / OWNER).write_text(text)
        with pytest.raises(OSError, match=owner), lock_folder(tmp_path):
            pass
        assert (tmp_path / OWNER).read_text() == text


def test_other_errors_are_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(file: int, operation: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(OSError, match="Input/output"), lock_folder(tmp_path):
        pass
