"""What the network reads of each word type of a corpus: its characters."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...bilm.characters import Characters, count_characters
from ...files import replace_file
from .shards import Shards

_AT_ONCE = 1 << 16


class TypeTable(NamedTuple):
    """Row i is the type i; row 0 begins a sentence, the last row ends one.

    char_ids: (n_types + 2, max_characters), int32, mapped from a file.
    word_ids, lengths: (n_types + 2,); lengths are without padding.
    """

    char_ids: np.ndarray
    word_ids: np.ndarray
    lengths: np.ndarray

    @classmethod
    def of(cls, shards: Shards, characters: Characters, cache: Path) -> "TypeTable":
        """Formed once for a corpus, kept in a file of the folder `cache`.

        cache: belongs to this corpus and these characters alone.
        """
        path = cache / "characters.npy"
        begin, end = characters.boundaries
        words = [begin, *shards.types(), end]
        if not _is_complete(path, (len(words), characters.max_characters)):
            with replace_file(path) as beside:
                table = np.lib.format.open_memmap(
                    beside,
                    mode="w+",
                    dtype=np.int32,
                    shape=(len(words), characters.max_characters),
                )
                for first in range(0, len(words), _AT_ONCE):
                    part = characters(words[first : first + _AT_ONCE])
                    table[first : first + len(part)] = part
                table.flush()
                del table
        char_ids = np.asarray(np.load(path, mmap_mode="r"))
        lengths = [
            count_characters(char_ids[first : first + _AT_ONCE], characters.padding)
            for first in range(0, len(words), _AT_ONCE)
        ]
        return cls(char_ids, characters.word_ids(words), np.concatenate(lengths))


def _is_complete(path: Path, shape: "tuple[int, int]") -> bool:
    try:
        found: np.ndarray = np.load(path, mmap_mode="r")
    except Exception:
        # A damaged header is read as Python and may raise anything.
        return False
    return found.shape == shape and found.dtype == np.int32
