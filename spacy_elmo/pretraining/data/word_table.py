"""Characters of each distinct word of a corpus, encoded once."""

import json
from pathlib import Path
from typing import NamedTuple, Optional, Tuple

import numpy as np

from ...bilm.characters import Characters, count_characters
from ...files import replace_file, write_json
from .shards import Shards
from .stored_files import StoredFile, describe, read_descriptions, save_array, stamp

CHARACTERS, META = "characters.npy", "characters.json"
_BLOCK = 1 << 16


class WordTable(NamedTuple):
    """The types of a corpus, encoded for the network. Row i is the type i, row 0 the
    beginning of a sentence, and the last row its end.

    char_ids (ndarray): Character ids of shape (n_types + 2, max_characters), int32,
        mapped from a file.
    word_ids (ndarray): Ids in a biLM's own word vocabulary, of shape (n_types + 2,).
    lengths (ndarray): Number of character ids before the padding, of the same shape.
    file (StoredFile): The file, which must not change while it is mapped.
    """

    char_ids: np.ndarray
    word_ids: np.ndarray
    lengths: np.ndarray
    file: StoredFile

    @classmethod
    def from_shards(
        cls, shards: Shards, characters: Characters, cache: Path
    ) -> "WordTable":
        """Encode the types of a corpus, or read them from the cache.

        cache (Path): Folder for this corpus and these characters alone.
        """
        path, meta = cache / CHARACTERS, cache / META
        begin, end = characters.boundaries
        words = [begin, *shards.types(), end]
        blocks = range(0, len(words), _BLOCK)
        shape = len(words), characters.max_characters
        file = _find_stored(path, meta, shape)
        if file is None:
            rows = (characters(words[first : first + _BLOCK]) for first in blocks)
            with replace_file(path) as part:
                save_array(part, np.dtype(np.int32), shape, rows)
            write_json(meta, describe(path))
            stamp(meta, [path.name])
            file = read_descriptions(meta, describe(path))[path.name]
        char_ids = np.asarray(np.load(path, mmap_mode="r"))
        lengths = [
            count_characters(char_ids[first : first + _BLOCK], characters.padding)
            for first in blocks
        ]
        word_ids = characters.word_ids(words)
        return cls(char_ids, word_ids, np.concatenate(lengths), file)

    def characters(self, rows: np.ndarray) -> np.ndarray:
        """Read the character ids of words, of shape (len(rows), max_characters).

        RAISES: CorpusError if the file has changed since it was opened.
        """
        self.file.check_unchanged()
        return self.char_ids[rows].astype(np.int64)


def _find_stored(
    path: Path, meta: Path, shape: Tuple[int, int]
) -> Optional[StoredFile]:
    """The cached table, or None if it is missing, damaged, changed, or was written by
    version 0.1, which stored no checksum."""
    try:
        stored = json.loads(meta.read_text(encoding="utf8"))
        file = read_descriptions(meta, stored)[path.name].verified()
        table: np.ndarray = np.load(path, mmap_mode="r")
    except Exception:
        # NumPy evaluates the header as Python, so a damaged one can raise anything.
        return None
    return file if table.shape == shape and table.dtype == np.int32 else None
