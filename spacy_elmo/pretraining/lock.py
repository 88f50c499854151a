"""Two runs in one folder would destroy each other's files."""

import os
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Iterator

LOCK = ".lock"


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold the folder; the system lets go of it when the process ends, however it does.

    Raises OSError where another process has it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a+b") as file:
        try:
            _lock(file)
        except OSError as error:
            raise OSError(
                f"{folder}: expected a folder that no run is at work in, found one "
                "that is in use. Wait for that run, end it, or name another folder."
            ) from error
        yield


if os.name == "nt":  # pragma: no cover
    import msvcrt

    def _lock(file: IO[bytes]) -> None:
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]

else:
    import fcntl

    def _lock(file: IO[bytes]) -> None:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
