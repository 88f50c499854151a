"""Characters of each distinct word of a corpus, encoded once."""

from pathlib import Path
from typing import NamedTuple, Tuple

import numpy as np

from ...bilm.characters import Characters, count_characters
from ...files import replace_file
from .shards import Shards

_BLOCK = 1 << 16


class WordTable(NamedTuple):
    """The types of a corpus, encoded for the network. Row i is the type i, row 0 the
    beginning of a sentence, and the last row its end.

    char_ids (ndarray): Character ids of shape (n_types + 2, max_characters), int32,
        mapped from a file.
    word_ids (ndarray): Ids in a biLM's own word vocabulary, of shape (n_types + 2,).
    lengths (ndarray): Number of character ids before the padding, of the same shape.
    """

    char_ids: np.ndarray
    word_ids: np.ndarray
    lengths: np.ndarray

    @classmethod
    def from_shards(
        cls, shards: Shards, characters: Characters, cache: Path
    ) -> "WordTable":
        """Encode the types of a corpus, or read them from the cache.

        cache (Path): Folder for this corpus and these characters alone.
        """
        path = cache / "characters.npy"
        begin, end = characters.boundaries
        words = [begin, *shards.types(), end]
        blocks = range(0, len(words), _BLOCK)
        shape = len(words), characters.max_characters
        if not _is_complete(path, shape):
            with replace_file(path) as part:
                table = np.lib.format.open_memmap(
                    part, mode="w+", dtype=np.int32, shape=shape
                )
                for first in blocks:
                    table[first : first + _BLOCK] = characters(
                        words[first : first + _BLOCK]
                    )
                table.flush()
                del table
        char_ids = np.asarray(np.load(path, mmap_mode="r"))
        lengths = [
            count_characters(char_ids[first : first + _BLOCK], characters.padding)
            for first in blocks
        ]
        return cls(char_ids, characters.word_ids(words), np.concatenate(lengths))


def _is_complete(path: Path, shape: Tuple[int, int]) -> bool:
    try:
        table: np.ndarray = np.load(path, mmap_mode="r")
    except Exception:
        # NumPy evaluates the header as Python, so a damaged one can raise anything.
        return False
    return table.shape == shape and table.dtype == np.int32
