"""Writing files so that a reader never sees half of one."""

import json
import os
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator, Union

PathLike = Union[str, Path]


@contextmanager
def replacing(path: PathLike) -> Iterator[Path]:
    """A path beside the target to write to; put in its place in one step if all went
    well, removed if not."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".part")
    try:
        yield beside
        with beside.open("r+b") as file:  # Windows flushes no file that is read
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def write_bytes(path: PathLike, data: bytes) -> None:
    with replacing(path) as beside:
        beside.write_bytes(data)


def write_json(path: PathLike, value: Any) -> None:
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    # What came from a file name may hold bytes that are no text; JSON spells such a
    # half of a surrogate pair as Python does.
    write_bytes(path, (text + "\n").encode("utf8", errors="backslashreplace"))
