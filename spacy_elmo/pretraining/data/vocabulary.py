"""The vocabulary of the language model's output layer. Characters have none: a word
that is not in it still has its own vector."""

import hashlib
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Sequence, Union

import numpy as np

from ...files import write_bytes
from ...text.files import CorpusError

BEGIN, END, UNKNOWN = "<S>", "</S>", "<UNK>"
SPECIALS = (BEGIN, END, UNKNOWN)


class Coverage(NamedTuple):
    """How much of a corpus a vocabulary knows.

    n_words: in the corpus. n_unknown: of them, not in the vocabulary.
    """

    n_words: int
    n_unknown: int

    @property
    def oov_rate(self) -> float:
        """The share of unknown words, in [0, 1]."""
        return self.n_unknown / self.n_words if self.n_words else 0.0


class Vocabulary:
    """Words that the output layer can predict, the most frequent first: sampling by
    rank (log-uniform) is right for no other order.

    words: with the three specials <S>, </S> and <UNK> among them.
    counts: how often each is a target, (n_words,), never rising.

    Raises CorpusError where the specials are missing, a word stands twice, or a count
    rises.
    """

    def __init__(self, words: Sequence[str], counts: Sequence[int]) -> None:
        self.words = list(words)
        self.counts = np.asarray(counts, dtype=np.int64)
        self.index: Dict[str, int] = {word: i for i, word in enumerate(self.words)}
        missing = [word for word in SPECIALS if word not in self.index]
        if missing or len(self.index) != len(self.words):
            what = f"no {', '.join(missing)}" if missing else "a word twice"
            raise CorpusError(
                f"vocabulary: expected each word once and {', '.join(SPECIALS)} among "
                f"them, found {what}."
            )
        rises = np.flatnonzero(np.diff(self.counts) > 0)
        if len(self.counts) != len(self.words) or len(rises):
            where = (
                f"a rise at {self.words[rises[0] + 1]!r}" if len(rises) else "others"
            )
            raise CorpusError(
                "vocabulary: expected one count a word, the most frequent word first, "
                f"found {where}. Sampling by rank needs that order."
            )

    def __len__(self) -> int:
        return len(self.words)

    @classmethod
    def from_counts(
        cls,
        types: Sequence[str],
        counts: np.ndarray,
        n_sentences: int,
        *,
        min_count: int = 1,
        max_size: Optional[int] = None,
    ) -> "Vocabulary":
        """Cut a corpus's types.

        types, counts: of the corpus.
        n_sentences: as often, <S> and </S> are targets.
        min_count: how often a word must occur to get in.
        max_size: words at most, the specials included; None: no bound.

        Raises CorpusError for a max_size that leaves no room for a word.
        """
        if max_size is not None and max_size <= len(SPECIALS):
            raise CorpusError(
                f"max_size: expected more than {len(SPECIALS)}, the specials, found "
                f"{max_size}."
            )
        order = np.argsort(-counts, kind="stable")
        # A corpus may contain the specials as words: they then mean the specials.
        frequent = order[counts[order] >= min_count]
        kept = [int(i) for i in frequent if types[i] not in SPECIALS]
        if max_size is not None:
            kept = kept[: max_size - len(SPECIALS)]
        entries = [(int(counts[i]), types[i]) for i in kept]
        for word in (BEGIN, END):
            spelled = sum(int(counts[i]) for i in order if types[i] == word)
            entries.append((n_sentences + spelled, word))
        unknown = int(counts.sum()) + 2 * n_sentences - sum(c for c, _ in entries)
        entries.append((unknown, UNKNOWN))
        entries.sort(key=lambda entry: -entry[0])
        return cls([word for _, word in entries], [count for count, _ in entries])

    def lookup(self, types: Sequence[str]) -> np.ndarray:
        """Type ids -> output ids: entry i is that of types[i - 1], entry 0 that of
        </S>, (len(types) + 1,) int64."""
        unknown = self.index[UNKNOWN]
        ids = [self.index[END], *(self.index.get(word, unknown) for word in types)]
        return np.asarray(ids, dtype=np.int64)

    def coverage(self, types: Sequence[str], counts: np.ndarray) -> Coverage:
        """How much of a corpus it knows."""
        known = [
            int(count)
            for word, count in zip(types, counts)
            if word in self.index and word != UNKNOWN
        ]
        n_words = int(counts.sum())
        return Coverage(n_words, n_words - sum(known))

    def identity(self) -> str:
        """A hash of the words in their order."""
        text = "\n".join(self.words)
        return hashlib.blake2b(text.encode("utf8"), digest_size=8).hexdigest()

    def write(self, path: Union[str, Path]) -> None:
        """Lines of word<TAB>count."""
        lines: List[str] = [
            f"{word}\t{count}\n" for word, count in zip(self.words, self.counts)
        ]
        write_bytes(path, "".join(lines).encode("utf8"))

    @classmethod
    def read(cls, path: Union[str, Path]) -> "Vocabulary":
        """Raises CorpusError for a line that is not word<TAB>count."""
        words, counts = [], []
        try:
            text = Path(path).read_bytes().decode("utf8")
        except UnicodeDecodeError as error:
            raise CorpusError(f"{path}: expected UTF-8, found {error}.") from error
        lines = text.rstrip("\n").split("\n") if text else []
        for number, line in enumerate(lines, start=1):
            word, _, count = line.rpartition("\t")
            if not word or not count.isdecimal():
                raise CorpusError(
                    f"{path}, line {number}: expected word<TAB>count, found {line!r}."
                )
            words.append(word)
            counts.append(int(count))
        try:
            return cls(words, counts)
        except CorpusError as error:
            raise CorpusError(f"{path}: {error}") from error
