"""Output written in parts, so that a killed run resumes where it was.

The parts are in the folder OUTPUT.parts until they are joined, or are the files of a
dataset. Each is written atomically, and state.json lists those that are complete, with
the number and a hash of the input items in them, so that a changed input is noticed.
"""

import hashlib
import json
import shutil
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import (
    Any,
    Callable,
    Dict,
    Generic,
    Iterable,
    Iterator,
    List,
    Optional,
    Sequence,
    TypeVar,
)

from .files import remove_parts, replace_file, write_json
from .lock import lock_folder

Item = TypeVar("Item")

STATE = "state.json"
DATASET_STATE = "_state.json"
"""Readers of datasets ignore files whose names start with an underscore or a dot."""


class Parts(Generic[Item]):
    """The parts of an output file. Made by `open_parts`.

    folder (Path): Folder of the parts.
    settings (Dict[str, Any]): Settings that the output depends on, as JSON can
        represent it.
    key (Callable[[Item], bytes]): What identifies an item of the input.
    suffix (Optional[str]): Extension of the files of a dataset; None if the parts are
        to be joined.
    """

    def __init__(
        self,
        folder: Path,
        settings: Dict[str, Any],
        key: Callable[[Item], bytes],
        suffix: Optional[str] = None,
    ) -> None:
        self._folder = folder
        self._settings = settings
        self._key = key
        self._hash = hashlib.blake2b(digest_size=16)
        self._n_items: List[int] = []
        self._stored_hash = ""
        self._inode = 0  # of the joined output
        self._suffix = suffix
        self._is_replacing = False
        self._has_leftovers = True  # or may have
        self.is_finished = False  # a dataset
        self._advice = f"To start over, remove {folder}."

    @property
    def paths(self) -> List[Path]:
        """The files of the complete parts, in order."""
        return [self._path(number) for number in range(len(self._n_items))]

    @property
    def n_items(self) -> int:
        """Number of input items in the complete parts."""
        return sum(self._n_items)

    def remaining(self, items: Iterable[Item]) -> Iterator[Item]:
        """Skip the items of the complete parts.

        items (Iterable[Item]): The input, from its beginning.
        YIELDS (Item): The items that no complete part contains.
        RAISES: ValueError if the skipped items differ from the items of the parts.
        """
        iterator = iter(items)
        for item in islice(iterator, self.n_items):
            self._update_hash(item)
        if self._n_items and self._hash.hexdigest() != self._stored_hash:
            raise ValueError(
                f"{self._folder}: expected the input of the interrupted run, found "
                f"that its first {self.n_items:,} items have changed. Restore it. "
                f"{self._advice}"
            )
        yield from iterator

    @contextmanager
    def add(self, items: Sequence[Item]) -> Iterator[Path]:
        """Write the next part.

        items (Sequence[Item]): The items of the input that the part contains.
        YIELDS (Path): Where to write the part. If the block raises, there is no part.
        """
        self._remove_leftovers()
        with replace_file(self._path(len(self._n_items))) as path:
            yield path
        for item in items:
            self._update_hash(item)
        self._n_items.append(len(items))
        self.write_state()

    @contextmanager
    def join(self, output: Path) -> Iterator[Path]:
        """Write the output from the parts, which are removed afterwards.

        YIELDS (Path): Where to write the output, which appears when it is complete.
        """
        with replace_file(output) as path:
            yield path
            # Noted before the file gets its name, in case the process is killed then.
            self._inode = path.stat().st_ino
            self.write_state()

    def finish(self) -> None:
        """Mark a dataset as complete."""
        self._remove_leftovers()
        self.is_finished = True
        self.write_state()

    def start_over(self) -> None:
        """Replace the parts of earlier runs. They are kept until there is a new part,
        in case the input cannot be read."""
        self._n_items, self.is_finished, self._stored_hash = [], False, ""
        self._is_replacing = True

    def _remove_leftovers(self) -> None:
        """Remove replaced parts, and parts that killed runs have not noted."""
        if self._is_replacing:
            self.write_state()  # first, so that no removed part counts as complete
        if self._has_leftovers:
            pattern = "[0-9]*" if self._suffix is None else f"part-*{self._suffix}"
            for path in {*self._folder.glob(pattern)} - {*self.paths}:
                path.unlink()
            remove_parts(self._folder)
        self._is_replacing = self._has_leftovers = False

    def is_joined(self, output: Path) -> bool:
        """Whether the output was written from these parts."""
        return output.is_file() and output.stat().st_ino == self._inode

    def _path(self, number: int) -> Path:
        if self._suffix is not None:
            return self._folder / f"part-{number:06d}{self._suffix}"
        return self._folder / f"{number:06d}"

    def _update_hash(self, item: Item) -> None:
        key = self._key(item)
        self._hash.update(len(key).to_bytes(8, "little"))
        self._hash.update(key)

    def write_state(self) -> None:
        """Note which parts are complete."""
        state = {
            "settings": self._settings,
            "n_items": self._n_items,
            "hash": self._hash.hexdigest(),
            "inode": self._inode,
            "is_finished": self.is_finished,
        }
        write_json(self._state_path, state)

    @property
    def _state_path(self) -> Path:
        return self._folder / (STATE if self._suffix is None else DATASET_STATE)

    def resume(self, output: Path) -> None:
        """Take over the parts of an earlier run, if there are any.

        RAISES: ValueError if its settings were others, or a file is damaged.
        """
        path = self._state_path
        if not path.is_file():
            return
        try:
            state = json.loads(path.read_text(encoding="utf8"))
            settings, n_items = dict(state["settings"]), list(state["n_items"])
            self._stored_hash, self._inode = str(state["hash"]), int(state["inode"])
            self.is_finished = bool(state.get("is_finished"))
            is_complete = all(self._path(n).is_file() for n in range(len(n_items)))
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise ValueError(
                f"{path}: expected the JSON that an earlier run wrote, found {error!r}."
                f" {self._advice}"
            ) from error
        if self.is_joined(output):
            path.unlink()  # the process was killed before the folder was removed
            return
        if not is_complete:
            raise ValueError(
                f"{self._folder}: expected {len(n_items)} parts, found that some are "
                f"missing. {self._advice}"
            )
        if self.is_finished or not n_items:
            return  # there is nothing to continue, so the settings may change
        ours = json.loads(json.dumps(self._settings))
        if changes := list_changes(settings, ours):
            raise ValueError(
                f"{self._folder}: expected parts of a run with the same settings, "
                f"found {changes}. Repeat the earlier command to resume it. "
                f"{self._advice}"
            )
        self._n_items = n_items


def list_changes(earlier: Dict[str, Any], now: Dict[str, Any]) -> str:
    """List the settings that differ, with both values. Empty if none does."""
    return ", ".join(
        f"{name} = {earlier.get(name)} (now {now.get(name)})"
        for name in {**earlier, **now}
        if earlier.get(name) != now.get(name)
    )


@contextmanager
def open_parts(
    output: Path,
    settings: Dict[str, Any],
    key: Callable[[Item], bytes],
    *,
    force: bool = False,
) -> Iterator["Parts[Item]"]:
    """Lock the parts of an output file, and continue an earlier run.

    output (Path): The output file.
    settings (Dict[str, Any]): Settings that the output depends on, as JSON can
        represent it.
    key (Callable[[Item], bytes]): Identifies an item of the input.
    force (bool): Whether to replace an existing output file, and the parts of a run
        with other settings.
    YIELDS (Parts): The parts. Their folder is removed if they are joined in the block.
    RAISES: OSError if the output exists, or another process writes it; ValueError if
        the earlier run had other settings, or its files are damaged.
    """
    if output.is_dir():
        raise FileExistsError(f"{output}: expected a file, found a folder. Rename one.")
    folder = output.with_name(f"{output.name}.parts")
    is_needed = True
    try:
        with lock_folder(folder):
            parts = Parts(folder, settings, key)
            try:
                _resume(parts, output, force)
                if output.exists() and not force:
                    raise FileExistsError(
                        f"{output}: expected a new file, found one that exists. "
                        "Choose another name, or overwrite it with --force."
                    )
                yield parts
            finally:
                is_needed = (folder / STATE).is_file() and not parts.is_joined(output)
    finally:
        # After the lock is released: Windows does not remove files in use.
        if not is_needed:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def open_dataset(
    folder: Path,
    settings: Dict[str, Any],
    key: Callable[[Item], bytes],
    suffix: str,
    *,
    force: bool = False,
) -> Iterator["Parts[Item]"]:
    """Lock a folder whose files part-000000, part-000001, ... are the output, and
    continue an earlier run. The block ends with `Parts.finish`.

    folder (Path): The output.
    settings (Dict[str, Any]): As for `open_parts`.
    key (Callable[[Item], bytes]): As for `open_parts`.
    suffix (str): Extension of the files.
    force (bool): Whether to replace a dataset that is complete or of other settings.
    YIELDS (Parts): The parts.
    RAISES: OSError if the folder has a complete dataset or other files, or if another
        process writes it; ValueError if the earlier run had other settings,
        or its files are damaged.
    """
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder}: expected a folder, found a file. Rename one.")
    is_ours = (folder / DATASET_STATE).is_file()
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    if not is_ours and any(not name.startswith((".", DATASET_STATE)) for name in names):
        raise FileExistsError(
            f"{folder}: expected an empty folder or none, found other files in it. "
            "Choose another."
        )
    with lock_folder(folder):
        parts = Parts(folder, settings, key, suffix)
        _resume(parts, folder, force)
        if parts.is_finished:
            if not force:
                raise FileExistsError(
                    f"{folder}: expected a new or an unfinished dataset, found one "
                    "that is complete. Choose another folder, or overwrite it with "
                    "--force."
                )
            parts.start_over()
        if not is_ours:
            parts.write_state()  # from now on, it is
        yield parts


def _resume(parts: Parts[Any], output: Path, force: bool) -> None:
    """Continue an earlier run, or replace it if that is impossible and `force` is set.

    RAISES: ValueError as `Parts.resume` does, without `force`.
    """
    try:
        parts.resume(output)
    except ValueError:
        if not force:
            raise
        parts.start_over()
