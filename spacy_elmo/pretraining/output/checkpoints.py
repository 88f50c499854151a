"""Checkpoints: all that a killed run needs to go on as if nothing had happened.

Each is a folder `step-00001000` with state.safetensors and, written last, state.json,
which has the checksums of both. It is written beside and renamed into place: a
folder of that name is complete, unless the disk damaged it later.
"""

import json
import os
import shutil
import zlib
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ...files import replace_file, replace_folder, write_json

TENSORS, META = "state.safetensors", "state.json"
_PREFIX = "step-"


class Checkpoint(NamedTuple):
    """step: steps done. tensors: by name, on the CPU. meta: anything JSON can hold."""

    step: int
    tensors: Dict[str, Tensor]
    meta: Dict[str, Any]


def save(
    folder: Path, step: int, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]
) -> Path:
    """Write a checkpoint; one of this step that is there already is replaced.

    Raises OSError where the disk is full or cannot be written; what was written of it
    is removed, and earlier checkpoints are as they were.
    """
    target = folder / f"{_PREFIX}{step:08}"
    with replace_folder(target) as beside:
        kept = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
        with replace_file(beside / TENSORS) as path:
            try:
                save_file(kept, str(path))
            except SafetensorError as error:
                # Its writer has an error of its own for a full disk.
                raise OSError(f"{path}: {error}") from error
        write_json(
            beside / META,
            {
                "step": step,
                "checksum": _checksum(beside / TENSORS),
                "own_checksum": _own_checksum(step, meta),
                "meta": meta,
            },
        )
    return target


def load_newest(folder: Path, say: Callable[[str], None]) -> Optional[Checkpoint]:
    """The newest checkpoint that is whole; None where there is none at all.

    say: told of each damaged one that is passed over; those are renamed, so that
        nobody takes them for good.

    Raises ValueError where all are damaged: to begin anew would lose the run.
    """
    paths = _all(folder)
    for path in reversed(paths):
        try:
            return _load(path)
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            if path == paths[0]:
                raise ValueError(
                    f"{folder}: expected an intact checkpoint, found only damaged ones "
                    f"({path.name}: {error}). Restore a copy, or name another output "
                    "folder to start over."
                ) from error
            damaged = path.with_name(f"damaged-{path.name}")
            shutil.rmtree(damaged, ignore_errors=True)
            os.replace(path, damaged)
            say(
                f"Checkpoint {path} is damaged ({error}); it is now {damaged.name}. "
                "Going on from the one before it."
            )
    return None


def load_step(folder: Path, step: int) -> Checkpoint:
    """A checkpoint that another process has found whole.

    Raises ValueError where it is not there, as on a machine with another disk.
    """
    path = folder / f"{_PREFIX}{step:08}"
    try:
        return _load(path)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise ValueError(
            f"{path}: expected the checkpoint that the first process resumes from, "
            f"found none ({error}). All machines must see one output folder."
        ) from error


def prune(folder: Path, keep: int, best: Optional[int]) -> None:
    """Remove all but the last `keep` and that of the step `best`, and what killed
    writers left."""
    paths = _all(folder)
    spared = set(paths[-keep:])
    for path in paths:
        if path not in spared and _step(path) != best:
            shutil.rmtree(path, ignore_errors=True)
    for ending in ("part", "old"):
        for path in folder.glob(f"{_PREFIX}*.{ending}"):
            shutil.rmtree(path, ignore_errors=True)


def _load(path: Path) -> Checkpoint:
    state = json.loads((path / META).read_text(encoding="utf8"))
    found = _checksum(path / TENSORS)
    if found != state["checksum"]:
        raise ValueError(f"{TENSORS} has checksum {found}, not {state['checksum']}")
    found = _own_checksum(state["step"], state["meta"])
    if found != state["own_checksum"]:
        raise ValueError(f"{META} has checksum {found}, not {state['own_checksum']}")
    return Checkpoint(state["step"], load_file(path / TENSORS), state["meta"])


def _all(folder: Path) -> List[Path]:
    """From the oldest to the newest."""
    paths = folder.glob(f"{_PREFIX}*")
    return sorted((p for p in paths if p.name[len(_PREFIX) :].isdecimal()), key=_step)


def _step(path: Path) -> int:
    return int(path.name[len(_PREFIX) :])


def _checksum(path: Path) -> str:
    checksum = 0
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            checksum = zlib.crc32(block, checksum)
    return f"{path.stat().st_size}-{checksum:08x}"


def _own_checksum(step: int, meta: Mapping[str, Any]) -> str:
    return f"{zlib.crc32(json.dumps([step, meta]).encode('utf8')):08x}"
