"""A lock on an output folder: two runs in it would overwrite each other's files."""

import errno
import os
import platform
import warnings
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Iterator, Tuple

from .files import explain_write_errors

LOCK = ".lock"
OWNER = ".lock.owner"

_IN_USE = {errno.EACCES, errno.EAGAIN, errno.EDEADLK}
_UNSUPPORTED = {errno.EINVAL, errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Lock a folder while the block runs. The operating system releases the lock when
    the process ends, even if it is killed.

    On a file system without locks (some Lustre, BeeGFS and NFS mounts), a file with the
    owner's host and process ID is used instead, with a warning. If the owner is killed,
    its file is replaced if the next run is on the same host, and refused otherwise.

    folder (Path): The folder, which is created if needed.
    RAISES: OSError if another process has locked the folder.
    """
    with ExitStack() as stack:
        with explain_write_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context((folder / LOCK).open("a+b"))
        try:
            _lock(file)
        except OSError as error:
            if error.errno in _IN_USE:
                raise OSError(_in_use(folder, "another process")) from error
            if error.errno not in _UNSUPPORTED:
                raise
            stack.enter_context(_owner_file(folder))
            warnings.warn(
                f"{folder}: this file system does not support locks ({error}). "
                f"{folder / OWNER} marks the folder as in use instead.",
                stacklevel=3,
            )
        yield


@contextmanager
def _owner_file(folder: Path) -> Iterator[None]:
    path = folder / OWNER
    _remove_killed_owner(path)
    try:
        with path.open("x", encoding="utf8") as file:
            file.write(f"{platform.node()} {os.getpid()}")
    except FileExistsError as error:
        host, pid = _read_owner(path)
        message = _in_use(folder, f"process {pid} on {host}")
        raise OSError(
            f"{message} If that process was killed, remove {path}."
        ) from error
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _remove_killed_owner(path: Path) -> None:
    """Remove the file of a process that was killed. One process at a time does so, and
    checks again first: a slow one could otherwise remove the file of a faster one."""
    if not _was_killed(path):
        return
    try:
        with path.with_name(f"{path.name}.removal").open("x") as marker:
            if _was_killed(path):
                path.unlink(missing_ok=True)
    except FileExistsError:
        return  # by another process, which will be the owner
    Path(marker.name).unlink()


def _was_killed(owner: Path) -> bool:
    host, pid = _read_owner(owner)
    return host == platform.node() and not _is_running(pid)


def _read_owner(path: Path) -> Tuple[str, int]:
    try:
        host, pid = path.read_text(encoding="utf8").split()
        return host, int(pid)
    except (OSError, ValueError):
        return "an unknown host", 0  # no file, or its owner has not written to it yet


def _is_running(pid: int) -> bool:
    if os.name != "posix":
        return True  # only there can a process be probed without ending it
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # it belongs to another user
    return True


def _in_use(folder: Path, owner: str) -> str:
    return (
        f"{folder}: expected a folder without a run in progress, found that {owner} is "
        "using it. Wait for that run, stop it, or choose another output folder."
    )


if os.name == "nt":  # pragma: no cover
    import msvcrt

    def _lock(file: IO[bytes]) -> None:
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]

else:
    import fcntl

    def _lock(file: IO[bytes]) -> None:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
