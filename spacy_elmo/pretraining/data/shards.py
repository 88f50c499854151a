"""Memory-mapped shards of type ids: the form in which training reads a corpus.

A folder contains
  meta.json           the corpus's settings and sizes; written last
  types.txt           the distinct words, one a line: line i, from 1, is the type i
  counts.npy          number of occurrences of each type, (n_types,) int64
  tokens-00000.npy    type ids, with a 0 after each sentence, uint32; ends with a 0
  documents-00000.npy positions in that shard where documents end, int64

meta.json also has the size and checksum of each of the others, which are compared when
the folder is opened.
"""

import hashlib
import json
from pathlib import Path
from tokenize import TokenError
from typing import Any, Dict, List, Optional, Union

import numpy as np

from ...files import write_json
from ...text.files import CorpusError
from ...text.tokenization import Tokenization
from ...text.tokenizers import END_OF_SENTENCE, Tokenized
from .stored_files import StoredFile, describe, read_descriptions, save_array, stamp

META = "meta.json"
TYPES, COUNTS = "types.txt", "counts.npy"
TOKENS, DOCUMENTS = "tokens-{:05}.npy", "documents-{:05}.npy"
DAMAGE = (OSError, ValueError, EOFError, SyntaxError, TokenError)
"""Errors of NumPy for damaged files, whose header it evaluates as Python."""


class ShardWriter:
    """Writes a corpus chunk by chunk, with one shard and the types in memory.

    folder (Path): An empty folder.
    shard_tokens (int): Approximate number of ids per shard.
    """

    def __init__(self, folder: Path, shard_tokens: int) -> None:
        self.folder = folder
        self.shard_tokens = shard_tokens
        self.types: Dict[str, int] = {}
        self.counts = np.zeros(1024, dtype=np.int64)
        self.shards: List[Dict[str, int]] = []
        self._ids: List[np.ndarray] = []
        self._documents: List[int] = []
        self._size = 0
        self._hash = hashlib.blake2b(digest_size=8)
        self._stored: Dict[str, List[Any]] = {}

    def add(self, chunk: Tokenized) -> None:
        """Add a chunk, with its types renumbered for the whole corpus."""
        types = self.types
        lookup = np.zeros(len(chunk.types) + 1, dtype=np.uint32)
        for i, word in enumerate(chunk.types, start=1):
            lookup[i] = types.setdefault(word, len(types) + 1)
        if len(types) > len(self.counts):
            self.counts = np.pad(self.counts, (0, 2 * len(types) - len(self.counts)))
        self.counts[lookup[1:] - 1] += np.bincount(chunk.ids, minlength=len(lookup))[1:]
        # A document that ends at the chunk's beginning belongs to the shard before it.
        if len(chunk.documents) and chunk.documents[0] == 0:
            self._end_document(0)
        if len(chunk.ids) and self._size >= self.shard_tokens:
            self._write_shard()
        for end in chunk.documents:
            self._end_document(int(end))
        self._ids.append(lookup[chunk.ids])
        self._size += len(chunk.ids)

    def close(self, meta: Dict[str, Any]) -> None:
        """Write the rest of the corpus and, last, meta.json, which marks it as
        complete.

        meta (Dict[str, Any]): Further entries of meta.json.
        RAISES: CorpusError if there are no words.
        """
        if self._size:
            self._write_shard()
        if not self.types:
            raise CorpusError("corpus: expected text, found no words.")
        text = "\n".join(self.types) + "\n"
        (self.folder / TYPES).write_bytes(text.encode("utf8"))
        self._hash.update(text.encode("utf8"))
        self._save(COUNTS, self.counts[: len(self.types)])
        self._describe(TYPES)
        write_json(
            self.folder / META,
            {
                **meta,
                "identity": self._hash.hexdigest(),
                "n_types": len(self.types),
                "n_tokens": int(self.counts.sum()),
                "n_sentences": sum(shard["n_sentences"] for shard in self.shards),
                "n_documents": sum(shard["n_documents"] for shard in self.shards),
                "shards": self.shards,
                "stored": self._stored,
            },
        )
        stamp(self.folder / META, self._stored)

    def _end_document(self, end: int) -> None:
        """End a document, unless several empty lines have ended it already."""
        place = self._size + end
        if place > (self._documents[-1] if self._documents else 0):
            self._documents.append(place)

    def _write_shard(self) -> None:
        ids = np.concatenate(self._ids)
        documents = np.asarray(self._documents, dtype=np.int64)
        self._hash.update(ids.tobytes())
        number = len(self.shards)
        self._save(TOKENS.format(number), ids)
        self._save(DOCUMENTS.format(number), documents)
        self.shards.append(
            {
                "n_ids": len(ids),
                "n_sentences": int((ids == END_OF_SENTENCE).sum()),
                "n_documents": len(documents),
            }
        )
        self._ids, self._documents, self._size = [], [], 0

    def _save(self, name: str, array: np.ndarray) -> None:
        save_array(self.folder / name, array.dtype, array.shape, [array])
        self._describe(name)

    def _describe(self, name: str) -> None:
        self._stored.update(describe(self.folder / name))


class Shards:
    """A prepared corpus, read through memory maps. Its `identity` is a hash of all ids
    and types, wherever the folder is.

    Each file is compared with its size in meta.json and, unless both were modified at
    the same time, with its checksum. Folders of version 0.1 have only the identity,
    which is always computed. Both take about a second per GB.

    folder (Union[str, Path]): A folder written by `ShardWriter`.
    RAISES: CorpusError if the folder is incomplete, damaged, changed, or something
        else.
    """

    def __init__(self, folder: Union[str, Path]) -> None:
        self.folder = Path(folder)
        meta = self.folder / META
        if not meta.is_file():
            raise CorpusError(
                f"{folder}: expected a folder of shards, found no {META} in it. Its "
                "preparation was not finished, or it is a folder of something else: "
                "prepare the corpus again."
            )
        try:
            self.meta: Dict[str, Any] = json.loads(meta.read_text(encoding="utf8"))
            sizes = [
                (shard["n_ids"], shard["n_documents"]) for shard in self.meta["shards"]
            ]
            n_types = self.meta["n_types"]
            self.identity: str = self.meta["identity"]
            self._files = self._stored_files(len(sizes))
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise CorpusError(
                f"{meta}: expected the JSON written with the shards, found {error!r}: "
                "prepare the corpus again."
            ) from error
        self._files = {name: file.verified() for name, file in self._files.items()}
        self.counts = self._load(COUNTS, n_types, np.int64)
        self.tokens: List[np.ndarray] = []
        self.documents: List[np.ndarray] = []
        for number, (n_ids, n_documents) in enumerate(sizes):
            tokens = self._load(TOKENS.format(number), n_ids, np.uint32, mapped=True)
            documents = self._load(DOCUMENTS.format(number), n_documents, np.int64)
            self.tokens.append(tokens)
            self.documents.append(documents)
        if "stored" not in self.meta:
            self._check_identity()

    @property
    def tokenization(self) -> Optional[Tokenization]:
        """How the text was tokenized, or None if the folder does not say."""
        try:
            stored = Tokenization.from_json(self.meta["settings"])
            return stored._replace(pipeline_hash=self.meta.get("pipeline"))
        except (KeyError, TypeError):
            return None

    @property
    def n_ids(self) -> int:
        """Number of words and ends of sentences."""
        return sum(len(tokens) for tokens in self.tokens)

    def check_unchanged(self, number: int) -> None:
        """Check that a shard has not changed since the folder was opened.

        RAISES: CorpusError if it has, or was removed.
        """
        self._files[TOKENS.format(number)].check_unchanged()

    def types(self) -> List[str]:
        """Read the distinct words. The type i is `types()[i - 1]`."""
        try:
            text = (self.folder / TYPES).read_bytes().decode("utf8")
        except (OSError, UnicodeDecodeError) as error:
            expected = f"{self.meta['n_types']} lines of UTF-8"
            raise self._damaged(TYPES, expected, error) from error
        types = text.split("\n")[:-1]
        if len(types) != self.meta["n_types"]:
            expected = f"{self.meta['n_types']} lines"
            raise self._damaged(TYPES, expected, f"{len(types)}")
        return types

    def _stored_files(self, n_shards: int) -> Dict[str, StoredFile]:
        """Read the sizes and checksums of the other files from meta.json.

        RAISES: ValueError if these are not the files of `n_shards` shards.
        """
        names = {TYPES, COUNTS}
        for number in range(n_shards):
            names |= {TOKENS.format(number), DOCUMENTS.format(number)}
        stored = self.meta.get("stored")
        if stored is None:  # version 0.1
            paths = [self.folder / name for name in sorted(names)]
            return {path.name: StoredFile.of(path) for path in paths}
        if set(stored) != names:
            other = ", ".join(sorted(names.symmetric_difference(stored))[:4])
            raise ValueError(f"{n_shards} shards, but not their files: {other}")
        return read_descriptions(self.folder / META, stored)

    def _check_identity(self) -> None:
        """RAISES: CorpusError if the ids or types are not those that were written."""
        identity = hashlib.blake2b(digest_size=8)
        for tokens in self.tokens:
            identity.update(tokens.data)
        identity.update(("\n".join(self.types()) + "\n").encode("utf8"))
        if identity.hexdigest() != self.identity:
            raise CorpusError(
                f"{self.folder}: expected ids and types with the hash {self.identity}, "
                f"found {identity.hexdigest()}. They have changed since they were "
                "written: restore them, or remove the folder and prepare the corpus "
                "again."
            )

    def _load(
        self, name: str, length: int, dtype: type, *, mapped: bool = False
    ) -> np.ndarray:
        try:
            path = self.folder / name
            array: np.ndarray = np.load(path, mmap_mode="r" if mapped else None)
        except DAMAGE as error:
            raise self._damaged(name, f"{length} numbers", error) from error
        if array.shape != (length,) or array.dtype != dtype:
            expected = f"{length} numbers of type {np.dtype(dtype)}"
            found = f"{array.dtype} of shape {array.shape}"
            raise self._damaged(name, expected, found)
        return array

    def _damaged(
        self, name: str, expected: str, found: Union[str, Exception]
    ) -> CorpusError:
        if isinstance(found, Exception):
            found = f"a file that cannot be read ({found})"
        return CorpusError(
            f"{self.folder / name}: expected {expected}, found {found}: restore it, or "
            "remove its folder and prepare the corpus again."
        )
