"""Memory-mapped shards of type ids: the form in which training reads a corpus.

A folder contains
  meta.json           the corpus's settings and sizes; written last
  types.txt           the distinct words, one a line: line i, from 1, is the type i
  counts.npy          number of occurrences of each type, (n_types,) int64
  tokens-00000.npy    type ids, with a 0 after each sentence, uint32; ends with a 0
  documents-00000.npy positions in that shard where documents end, int64
"""

import hashlib
import json
from pathlib import Path
from tokenize import TokenError
from typing import Any, Dict, Iterable, List, Optional, Union

import numpy as np

from ...files import write_json
from ...text.files import CorpusError
from ...text.tokenization import Tokenization
from ...text.tokenizers import END_OF_SENTENCE, Tokenized

META = "meta.json"
TYPES, COUNTS = "types.txt", "counts.npy"


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
        np.save(self.folder / COUNTS, self.counts[: len(self.types)])
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
            },
        )

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
        np.save(self.folder / f"tokens-{number:05}.npy", ids)
        np.save(self.folder / f"documents-{number:05}.npy", documents)
        self.shards.append(
            {
                "n_ids": len(ids),
                "n_sentences": int((ids == END_OF_SENTENCE).sum()),
                "n_documents": len(documents),
            }
        )
        self._ids, self._documents, self._size = [], [], 0


class Shards:
    """A prepared corpus, read through memory maps. Its `identity` is a hash of all ids
    and types, wherever the folder is.

    folder (Union[str, Path]): A folder written by `ShardWriter`.
    RAISES: CorpusError if the folder is incomplete, damaged, or something else.
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
        except (KeyError, TypeError, ValueError) as error:
            raise CorpusError(
                f"{meta}: expected the JSON written with the shards, found {error!r}: "
                "prepare the corpus again."
            ) from error
        self.counts = self._load(COUNTS, n_types)
        self.tokens: List[np.ndarray] = []
        self.documents: List[np.ndarray] = []
        for number, (n_ids, n_documents) in enumerate(sizes):
            self.tokens.append(
                self._load(f"tokens-{number:05}.npy", n_ids, mapped=True)
            )
            self.documents.append(self._load(f"documents-{number:05}.npy", n_documents))

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

    def types(self) -> List[str]:
        """Read the distinct words. The type i is `types()[i - 1]`."""
        try:
            text = (self.folder / TYPES).read_bytes().decode("utf8")
        except (OSError, UnicodeDecodeError) as error:
            raise CorpusError(
                f"{self.folder / TYPES}: expected {self.meta['n_types']} lines of "
                f"UTF-8, found {error}: prepare the corpus again."
            ) from error
        types = text.split("\n")[:-1]
        if len(types) != self.meta["n_types"]:
            raise CorpusError(
                f"{self.folder / TYPES}: expected {self.meta['n_types']} lines, found "
                f"{len(types)}. The file has changed: prepare the corpus again."
            )
        return types

    def _load(self, name: str, length: int, *, mapped: bool = False) -> np.ndarray:
        path = self.folder / name
        try:
            array: np.ndarray = np.load(path, mmap_mode="r" if mapped else None)
        except (OSError, ValueError, EOFError, SyntaxError, TokenError) as error:
            raise CorpusError(
                f"{path}: expected {length} numbers, found a file that cannot be read "
                f"({error}): prepare the corpus again."
            ) from error
        if array.shape != (length,):
            raise CorpusError(
                f"{path}: expected {length} numbers, found {array.shape}: prepare the "
                "corpus again."
            )
        return array


def read_sentences(shards: Shards, ids: Iterable[int]) -> List[List[str]]:
    """Convert type ids back to sentences of words, for inspection."""
    types = shards.types()
    sentences: List[List[str]] = [[]]
    for type_id in ids:
        if type_id == END_OF_SENTENCE:
            sentences.append([])
        else:
            sentences[-1].append(types[type_id - 1])
    return [sentence for sentence in sentences if sentence]
