"""Atomic writes, and hashes of what files contain.

A file or folder is written next to its target, under a temporary name of this process
(.NAME.HOST.PID.part), and renamed when it is complete: readers see the old one or the
new one, never a part of it. The name is hidden, so that readers of a whole folder, such
as pyarrow's, skip it. A second writer of the same target is refused.
"""

import errno
import glob
import hashlib
import json
import os
import platform
import shutil
import warnings
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Iterator, Optional, Sequence, Set, Union

PathLike = Union[str, Path]

_FREE = " Free some space, or choose a folder on another disk."
_ALLOWED = " Choose a folder that you may write to."
_FOLDER = " Choose a path whose parents are folders: one of these is a file."
ADVICE = {
    errno.ENOTDIR: _FOLDER,
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), _FREE),
    **dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM), _ALLOWED),
}
_CANNOT_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES, errno.EPERM)

_reserved: Set[Path] = set()
"""Temporary names that this process is writing to."""


class WriteError(OSError):
    """A file or folder that cannot be written. The message names it and says what to
    do; it has the `errno` of the original error."""


@contextmanager
def explain_write_errors(path: PathLike) -> Iterator[None]:
    """Raise a WriteError for a path below a file and for a full or read-only disk,
    whose own error often has no path. Errors of files elsewhere, which the block reads,
    are raised as they are.

    path (PathLike): The file or folder that the block writes.
    """
    try:
        yield
    except OSError as error:
        # The outermost block has the path that the user has given.
        cause = error.__cause__ if isinstance(error, WriteError) else error
        assert isinstance(cause, OSError)
        if not _is_written(Path(cause.filename or path), Path(path)):
            raise
        if cause.errno is None or (cause.filename and cause.errno not in ADVICE):
            raise
        advice = ADVICE.get(cause.errno, "")
        message = f"{path}: expected to write it, found: {cause.strerror}.{advice}"
        raise WriteError(cause.errno, message) from cause


def _is_written(place: Path, target: Path) -> bool:
    """Check whether an error at `place` comes from writing `target`: the file or folder
    itself, its contents, a parent folder, or a new file next to it. An existing file
    next to it may be an input."""
    if place in target.parents or target in (place, *place.parents):
        return True
    if place == part_path(target):
        return True
    return target.parent in place.parents and not place.is_file()


@contextmanager
def replace_file(path: PathLike) -> Iterator[Path]:
    """Write a file atomically. If the block raises, an existing file is unchanged.

    path (PathLike): The file to create or replace; its folder is created if needed.
    YIELDS (Path): A temporary path to write to.
    """
    path = Path(path)
    with explain_write_errors(path), _temporary_path(path) as part:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.touch()
        mode = part.stat().st_mode
        yield part
        # safetensors replaces the file by one that only its owner may read.
        if part.stat().st_mode != mode:
            part.chmod(mode)
        # Windows only flushes files that are open for writing.
        with part.open("r+b") as file:
            os.fsync(file.fileno())
        os.replace(part, path)


@contextmanager
def replace_folder(path: PathLike, *, overwrite: bool = True) -> Iterator[Path]:
    """Write a folder atomically. If the block raises, an existing one is unchanged.

    A folder takes two renames to replace. If the process is killed between them, the
    old folder is left as NAME.old: `recover_folder` puts it back.

    path (PathLike): The folder to create or replace.
    overwrite (bool): Replace a folder that exists by the end of the block. If False,
        keep it and discard the new folder. This suits folders named by a hash of
        their contents, which several processes may write.
    YIELDS (Path): A temporary folder to fill.
    """
    path = Path(path)
    old = path.with_name(f"{path.name}.old")
    with (
        explain_write_errors(path),
        _temporary_path(path, is_exclusive=overwrite) as part,
    ):
        recover_folder(path)
        part.mkdir(parents=True)
        try:
            yield part
            _put_in_place(part, path, old, overwrite)
        finally:
            recover_folder(path)


def _put_in_place(part: Path, path: Path, old: Path, overwrite: bool) -> None:
    if overwrite and path.exists():
        shutil.rmtree(old, ignore_errors=True)
        os.replace(path, old)
    try:
        os.replace(part, path)
    except OSError:
        if overwrite or not path.is_dir():
            raise
    _sync_folder(path.parent)
    shutil.rmtree(old, ignore_errors=True)


def recover_folder(path: PathLike) -> None:
    """Put back a folder whose replacement was interrupted between the two renames."""
    path = Path(path)
    old = path.with_name(f"{path.name}.old")
    if old.is_dir() and not path.exists():
        os.replace(old, path)


def write_bytes(path: PathLike, data: bytes) -> None:
    """Write a file atomically."""
    with replace_file(path) as part:
        part.write_bytes(data)


def write_json(path: PathLike, value: Any) -> None:
    """Write a JSON file atomically. Refuses NaN and infinity, which JSON lacks."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    # File names that are not valid UTF-8 contain lone surrogates, which JSON escapes
    # in the same way as Python.
    write_bytes(path, (text + "\n").encode("utf8", errors="backslashreplace"))


def hash_files(paths: Sequence[PathLike]) -> str:
    """Hash the contents of files, in the given order. Their names do not matter. A
    folder counts as all files below it, in the order of their paths."""
    digest = hashlib.blake2b(digest_size=16)
    for path in map(Path, paths):
        below = sorted(name for name in path.rglob("*") if name.is_file())
        for name in below if path.is_dir() else [path]:
            with name.open("rb") as file:
                digest.update(str(name.stat().st_size).encode())
                while block := file.read(1 << 20):
                    digest.update(block)
    return digest.hexdigest()


def check_pyarrow(output: PathLike) -> None:
    """RAISES: ValueError if pyarrow, which writes Parquet, is not installed."""
    if find_spec("pyarrow") is None:
        raise ValueError(
            f"{output}: expected the package pyarrow, which writes Parquet, found "
            "none. Install it: pip install 'spacy-elmo[parquet]'."
        )


def part_path(path: Path) -> Path:
    """The temporary name under which this process writes a file or folder. It includes
    the host, because the folder may be shared between machines."""
    host = hashlib.blake2b(platform.node().encode("utf8"), digest_size=4).hexdigest()
    return path.with_name(f".{path.name}.{host}.{os.getpid()}.part")


def remove_parts(folder: Path) -> None:
    """Remove what killed processes, of any host, were writing in a folder. It must be
    locked by the caller."""
    for part in folder.glob(".*.part"):
        _remove(part)


@contextmanager
def _temporary_path(path: Path, *, is_exclusive: bool = True) -> Iterator[Path]:
    """Reserve this process's temporary name for `path`, and remove any file left
    under it at the end."""
    part = part_path(path)
    other = part if part in _reserved else _remove_stale_parts(path)
    if other == part or (is_exclusive and other is not None):
        raise OSError(
            f"{path}: expected to be its only writer, found another one, whose file is "
            f"{other}. Wait for it, stop it, or choose another path."
        )
    _reserved.add(part)
    try:
        yield part
    finally:
        _remove(part)
        _reserved.discard(part)


def _remove_stale_parts(path: Path) -> Optional[Path]:
    """Remove what processes of this host that were killed have left of `path`. Returns
    a part of another process of this host that is running, if there is one."""
    if os.name != "posix":
        return None  # only there can a process be probed without ending it
    running = None
    host = part_path(path).suffixes[-3]
    for part in path.parent.glob(f".{glob.escape(path.name + host)}.*.part"):
        try:
            pid = int(part.suffixes[-2][1:])
            if pid != os.getpid():
                os.kill(pid, 0)
                running = part
                continue
        except (ValueError, ProcessLookupError):
            pass
        except OSError:
            running = part  # as another user
            continue
        _remove(part)
    return running


def _remove(part: Path) -> None:
    if part.is_dir():
        shutil.rmtree(part, ignore_errors=True)
    else:
        part.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Flush a folder's entries to disk, so that a rename survives a power failure."""
    if os.name == "nt":
        return  # Windows has no such call
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise
        # Some CIFS, VirtualBox and 9p mounts: the data is written all the same.
        warnings.warn(
            f"{folder}: this file system cannot flush a folder to disk ({error}). What "
            "was written last may be lost in a power failure.",
            stacklevel=2,
        )
    finally:
        os.close(descriptor)
