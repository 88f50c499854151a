"""Checkpoints: everything that a killed run needs to resume as if uninterrupted.

A checkpoint is a folder `step-00001000` with state.safetensors and state.json, which
holds the checksums of both. It is written under another name and renamed, so that a
folder of this name is complete unless the disk damaged it later.
"""

import json
import os
import shutil
import zlib
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ...files import replace_folder, write_json
from ...tensor_files import save_tensors

TENSORS, META = "state.safetensors", "state.json"
_PREFIX = "step-"
_DAMAGED = "damaged-"
_DAMAGE = (
    FileNotFoundError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    RecursionError,
    SafetensorError,
)


class Checkpoint(NamedTuple):
    """A checkpoint in memory.

    step (int): Number of steps done.
    tensors (Dict[str, Tensor]): Tensors by name, on the CPU.
    meta (Dict[str, Any]): Anything that JSON can represent.
    """

    step: int
    tensors: Dict[str, Tensor]
    meta: Dict[str, Any]


def save(
    folder: Path, step: int, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]
) -> Path:
    """Write a checkpoint, replacing one of the same step.

    folder (Path): The folder of all checkpoints.
    RETURNS (Path): The folder of this checkpoint.
    RAISES: OSError if the disk is full or cannot be written. Earlier checkpoints are
        unchanged, and no partial checkpoint is left.
    """
    target = folder / f"{_PREFIX}{step:08}"
    with replace_folder(target) as part:
        save_tensors(tensors, part / TENSORS)
        write_json(
            part / META,
            {
                "step": step,
                "checksum": _checksum(part / TENSORS),
                "own_checksum": _own_checksum(step, meta),
                "meta": meta,
            },
        )
    return target


def load_newest(folder: Path, say: Callable[[str], None]) -> Optional[Checkpoint]:
    """Load the newest intact checkpoint, or None if there are no checkpoints.

    say (Callable[[str], None]): Called with a warning for each damaged checkpoint that
        is skipped. Damaged checkpoints are renamed.
    RAISES: ValueError if all checkpoints are damaged: starting over would lose the run;
        OSError if the newest one cannot be read, which may be temporary.
    """
    paths = _all(folder)
    for path in reversed(paths):
        try:
            return _load(path)
        except _DAMAGE as error:
            if path == paths[0]:
                raise ValueError(
                    f"{folder}: expected an intact checkpoint, found only damaged ones "
                    f"({path.name}: {error}). Restore a copy, or name another output "
                    "folder to start over."
                ) from error
            damaged = path.with_name(f"{_DAMAGED}{path.name}")
            shutil.rmtree(damaged, ignore_errors=True)
            os.replace(path, damaged)
            say(
                f"Checkpoint {path} is damaged ({error}); it is now {damaged.name}. "
                "Resuming from the previous one."
            )
        except OSError as error:
            raise OSError(
                error.errno,
                f"expected a checkpoint that can be read, found: {error}. Try again. "
                "If that fails, move it away to resume from the previous one",
                str(path),
            ) from error
    return None


def load_step(folder: Path, step: int) -> Checkpoint:
    """Load the checkpoint that another process has chosen.

    RAISES: ValueError if it does not exist here, e.g. on a machine with another disk.
    """
    path = folder / f"{_PREFIX}{step:08}"
    try:
        return _load(path)
    except (*_DAMAGE, OSError) as error:
        raise ValueError(
            f"{path}: expected the checkpoint that the first process resumes from, "
            f"found none ({error}). All machines must share one output folder."
        ) from error


def prune(folder: Path, keep: int, best: Optional[int]) -> None:
    """Remove old and damaged checkpoints, and what killed processes left.

    keep (int): Number of newest checkpoints to keep.
    best (Optional[int]): Step of another checkpoint to keep.
    """
    paths = _all(folder)
    for path in paths[:-keep]:
        if _step(path) != best:
            shutil.rmtree(path, ignore_errors=True)
    for rest in (f"*{_PREFIX}*.part", f"{_PREFIX}*.old", f"{_DAMAGED}{_PREFIX}*"):
        for path in folder.glob(rest):
            shutil.rmtree(path, ignore_errors=True)


def _load(path: Path) -> Checkpoint:
    state = json.loads((path / META).read_text(encoding="utf8"))
    for name, checksum, expected in (
        (TENSORS, _checksum(path / TENSORS), state["checksum"]),
        (META, _own_checksum(state["step"], state["meta"]), state["own_checksum"]),
    ):
        if checksum != expected:
            raise ValueError(f"{name} has checksum {checksum}, not {expected}")
    if state["step"] != _step(path):
        raise ValueError(f"{META} is of step {state['step']}")
    return Checkpoint(state["step"], load_file(path / TENSORS), state["meta"])


def _all(folder: Path) -> List[Path]:
    """All checkpoints, from the oldest to the newest."""
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
