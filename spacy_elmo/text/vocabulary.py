"""The vocabulary of the language model's output layer. Words outside of it are not
predicted, but are read, by their characters."""

import hashlib
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Sequence, Union

import numpy as np

from ..files import write_bytes
from .files import CorpusError

BEGIN, END, UNKNOWN = "<S>", "</S>", "<UNK>"
SPECIALS = (BEGIN, END, UNKNOWN)


class Coverage(NamedTuple):
    """How much of a corpus a vocabulary covers.

    n_words (int): Number of words in the corpus.
    n_unknown (int): Number of those words that are not in the vocabulary.
    """

    n_words: int
    n_unknown: int

    @property
    def oov_rate(self) -> float:
        """Share of words that are not in the vocabulary, in [0, 1]."""
        return self.n_unknown / self.n_words if self.n_words else 0.0


class Vocabulary:
    """Words that the output layer can predict, the most frequent first. The sampled
    softmax draws words by rank (log-uniformly), which assumes that order.

    words (Sequence[str]): The words, including <S>, </S> and <UNK>.
    counts (Sequence[int]): Number of times each word is a target, in descending order.
    RAISES: CorpusError if a special word is missing, a word occurs twice, or a count is
        larger than the one before.
    """

    def __init__(self, words: Sequence[str], counts: Sequence[int]) -> None:
        self.words = list(words)
        self.counts = np.asarray(counts, dtype=np.int64)
        self.index: Dict[str, int] = {word: i for i, word in enumerate(self.words)}
        missing = [word for word in SPECIALS if word not in self.index]
        if missing or len(self.index) != len(self.words):
            problem = f"no {', '.join(missing)}" if missing else "a word twice"
            raise CorpusError(
                "vocabulary: expected each word once, including "
                f"{', '.join(SPECIALS)}, found {problem}."
            )
        rises = np.flatnonzero(np.diff(self.counts) > 0)
        if len(self.counts) != len(self.words) or len(rises):
            problem = f"{len(self.counts)} counts for {len(self.words)} words"
            if len(rises):
                problem = f"a larger count at {self.words[rises[0] + 1]!r}"
            raise CorpusError(
                "vocabulary: expected one count per word, the most frequent word "
                f"first, found {problem}. Sampling by rank depends on that order."
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
        words: Optional[Sequence[str]] = None,
    ) -> "Vocabulary":
        """Select the frequent words of a corpus.

        types (Sequence[str]): The corpus's distinct words.
        counts (ndarray): Number of occurrences of each, of shape (n_types,).
        n_sentences (int): Number of sentences: how often <S> and </S> are targets.
        min_count (int): Minimum number of occurrences.
        max_size (Optional[int]): Maximum number of words, including the three special
            words. None for no limit.
        words (Optional[Sequence[str]]): Distinct words to select instead, even if the
            corpus lacks them.
        RAISES: CorpusError if `max_size` leaves no room for any word.
        """
        if max_size is not None and max_size <= len(SPECIALS):
            raise CorpusError(
                f"max_size: expected more than the {len(SPECIALS)} special words, "
                f"found {max_size}."
            )
        order = np.argsort(-counts, kind="stable")
        # A corpus may contain "<S>" as a word: it counts as the special word.
        frequent = order[counts[order] >= min_count]
        kept = [int(i) for i in frequent if types[i] not in SPECIALS]
        if max_size is not None:
            kept = kept[: max_size - len(SPECIALS)]
        entries = [(int(counts[i]), types[i]) for i in kept]
        if words is not None:
            listed = set(words)
            entries = [entry for entry in entries if entry[1] in listed]
            known = {word for _, word in entries}.union(SPECIALS)
            entries += [(0, word) for word in words if word not in known]
        for special in (BEGIN, END):
            n_words = sum(int(n) for word, n in zip(types, counts) if word == special)
            entries.append((n_sentences + n_words, special))
        unknown = int(counts.sum()) + 2 * n_sentences - sum(c for c, _ in entries)
        entries.append((unknown, UNKNOWN))
        entries.sort(key=lambda entry: -entry[0])
        return cls([word for _, word in entries], [count for count, _ in entries])

    def lookup(self, types: Sequence[str]) -> np.ndarray:
        """Make an array that maps type ids to output ids.

        types (Sequence[str]): Distinct words. The type i is `types[i - 1]`.
        RETURNS (ndarray): Output ids of shape (len(types) + 1,), int64. Entry 0 is the
            id of </S>.
        """
        unknown = self.index[UNKNOWN]
        ids = [self.index[END], *(self.index.get(word, unknown) for word in types)]
        return np.asarray(ids, dtype=np.int64)

    def coverage(self, types: Sequence[str], counts: np.ndarray) -> Coverage:
        """Count the words of a corpus that are not in the vocabulary."""
        unknown = self.lookup(types)[1:] == self.index[UNKNOWN]
        return Coverage(int(counts.sum()), int(counts[unknown].sum()))

    def identity(self) -> str:
        """Hash the words, in order."""
        text = "\n".join(self.words)
        return hashlib.blake2b(text.encode("utf8"), digest_size=8).hexdigest()

    def write(self, path: Union[str, Path]) -> None:
        """Write lines of word<TAB>count."""
        lines: List[str] = [
            f"{word}\t{count}\n" for word, count in zip(self.words, self.counts)
        ]
        text = "".join(lines)
        # `read` removes one byte order mark, which may be part of the first word.
        mark = "\ufeff" * text.startswith("\ufeff")
        write_bytes(path, (mark + text).encode("utf8"))

    @classmethod
    def read(cls, path: Union[str, Path]) -> "Vocabulary":
        """Read a file written by `write`. RAISES: CorpusError if it is malformed."""
        words, counts = [], []
        for number, line in enumerate(_read_lines(path), start=1):
            word, _, count = line.rpartition("\t")
            if not word or not count.isdecimal():
                raise CorpusError(
                    f"{path}, line {number}: expected word<TAB>count or just a word on "
                    f"each line, found {line!r}."
                )
            words.append(word)
            counts.append(int(count))
        try:
            return cls(words, counts)
        except CorpusError as error:
            raise CorpusError(f"{path}: {error}") from error


def read_word_list(path: Union[str, Path]) -> Optional[List[str]]:
    """Read a vocabulary without counts, as other programs write it: a word per line.

    RETURNS (Optional[List[str]]): The words, or None if there are none, or if there are
        more columns.
    RAISES: CorpusError if the file is not in UTF-8, or has a word twice.
    """
    words: Dict[str, int] = {}
    for number, line in enumerate(_read_lines(path), start=1):
        word = line.strip()
        if len(word.split()) > 1:
            return None
        if word in words:
            raise CorpusError(
                f"{path}, line {number}: expected each word once, found {word!r} again,"
                f" after line {words[word]}. Remove one of them."
            )
        if word:
            words[word] = number
    return list(words) or None


def _read_lines(path: Union[str, Path]) -> List[str]:
    """Read lines with the line endings, and the byte order mark, of any editor."""
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CorpusError(f"{path}: expected UTF-8, found {error}.") from error
    lines = text.replace("\r\n", "\n").rstrip("\n").split("\n")
    return lines if text else []
