"""Nearest neighbors of a word in its sentence, among the words of a text, each in its
own sentence (Peters et al. 2018, table 4)."""

from bisect import insort
from collections import deque
from typing import (
    Any,
    Deque,
    Dict,
    Iterable,
    Iterator,
    List,
    NamedTuple,
    Optional,
    Sequence,
    Set,
    Tuple,
)

import numpy as np

from ..bilm import BiLM
from ..bilm.batching import DEFAULT_BATCH_TOKENS
from .encoding import MEAN, TOP, check_layer, encode_stream, select_layer

ALL, SAME, OTHER = "all", "same", "other"

Key = Tuple[Tuple[str, ...], int]


class Occurrence(NamedTuple):
    """A word in its sentence.

    sentence (Optional[int]): Number of the sentence in the text, from 0, or None if it
        is not from the text.
    position (int): Index of the word in the sentence.
    words (Tuple[str, ...]): The sentence.
    """

    sentence: Optional[int]
    position: int
    words: Tuple[str, ...]

    @property
    def word(self) -> str:
        """The word."""
        return self.words[self.position]

    @property
    def key(self) -> Key:
        """Equal for all repetitions of the sentence."""
        return self.words, self.position

    def to_json(self) -> Dict[str, Any]:
        """A dict for JSON."""
        return {
            "sentence": self.sentence,
            "position": self.position,
            "word": self.word,
            "words": list(self.words),
        }


class Occurrences(NamedTuple):
    """The occurrences of a word in a text.

    first (List[Occurrence]): The first ones.
    n_occurrences (int): Number of occurrences in the text.
    n_sentences (int): Number of sentences in the text.
    """

    first: List[Occurrence]
    n_occurrences: int
    n_sentences: int


class Neighbor(NamedTuple):
    """A word in its sentence, and its cosine similarity to the query."""

    cosine: float
    occurrence: Occurrence


class Neighbors(NamedTuple):
    """The result of a search.

    nearest (List[Neighbor]): The neighbors, nearest first.
    n_sentences (int): Number of sentences in the text.
    n_compared (int): Number of words that were compared with the query.
    """

    nearest: List[Neighbor]
    n_sentences: int
    n_compared: int


def is_word(token: str, word: str) -> bool:
    """Compare words, ignoring case."""
    return token.casefold() == word.casefold()


def occurrences(
    word: str, words: List[str], sentence: Optional[int] = None
) -> Iterator[Occurrence]:
    """Find a word in a sentence.

    word (str): The word, in any case.
    words (List[str]): The sentence.
    sentence (Optional[int]): Its number, for the occurrences.
    YIELDS (Occurrence): Each occurrence.
    """
    for position, token in enumerate(words):
        if is_word(token, word):
            yield Occurrence(sentence, position, tuple(words))


def list_occurrences(word: str, text: Iterable[List[str]], n: int) -> Occurrences:
    """Find the first `n` occurrences of a word in a text, and count all of them."""
    first: List[Occurrence] = []
    n_occurrences = n_sentences = 0
    for number, words in enumerate(text):
        n_sentences += 1
        for occurrence in occurrences(word, words, number):
            n_occurrences += 1
            if len(first) < n:
                first.append(occurrence)
    return Occurrences(first, n_occurrences, n_sentences)


def find_neighbors(
    bilm: BiLM,
    query: Occurrence,
    sentences: Iterable[List[str]],
    *,
    n: int = 10,
    layer: str = TOP,
    among: str = ALL,
    batch_tokens: int = DEFAULT_BATCH_TOKENS,
    precision: str = "float32",
) -> Neighbors:
    """Find the words of a text that are nearest to a word, by the cosine similarity of
    a layer. Sentences that the text repeats count once. Other words of the query's own
    sentence can be neighbors, the query itself cannot.

    bilm (BiLM): The network.
    query (Occurrence): The word in its sentence.
    sentences (Iterable[List[str]]): The text. It is read once, and its vectors are not
        kept.
    n (int): Number of neighbors.
    layer (str): "top", "mean", or the number of a layer.
    among (str): Which words to compare with: "all", the "same" word, ignoring case, or
        all "other" words. With "same", sentences without the word are not encoded.
    batch_tokens (int): Maximum number of tokens per batch.
    precision (str): As for `BiLM.encode`.
    RETURNS (Neighbors): The neighbors.
    RAISES: ValueError if `layer` or `among` is unknown, or `n` is less than 1.
    """
    check_layer(layer, bilm, (TOP, MEAN))
    (layers,) = bilm.encode([query.words], batch_tokens, precision)
    vector = select_layer(layers, layer)[query.position]
    pending: Deque[int] = deque()  # numbers of the sentences that are being encoded
    n_sentences = 0

    def relevant_sentences() -> Iterator[List[str]]:
        nonlocal n_sentences
        for words in sentences:
            if among != SAME or any(is_word(token, query.word) for token in words):
                pending.append(n_sentences)
                yield words
            n_sentences += 1

    encoded = encode_stream(
        bilm, relevant_sentences(), batch_tokens=batch_tokens, precision=precision
    )
    numbered = (
        (pending.popleft(), words, select_layer(layers, layer))
        for words, layers in encoded
    )
    nearest, n_compared = rank_neighbors(query, vector, numbered, n=n, among=among)
    return Neighbors(nearest, n_sentences, n_compared)


def rank_neighbors(
    query: Occurrence,
    vector: np.ndarray,
    sentences: Iterable[Tuple[int, Sequence[str], np.ndarray]],
    *,
    n: int = 10,
    among: str = ALL,
) -> Tuple[List[Neighbor], int]:
    """Find the nearest neighbors of a word among sentences whose vectors are known.

    query (Occurrence): The word in its sentence.
    vector (ndarray): Its vector, of shape (width,).
    sentences (Iterable[Tuple[int, Sequence[str], ndarray]]): The number of each
        sentence, its words, and their vectors, of shape (n_words, width).
    n (int): Number of neighbors.
    among (str): As for `find_neighbors`.
    RETURNS (Tuple[List[Neighbor], int]): The neighbors, nearest first, and the number
        of words that were compared with the query.
    RAISES: ValueError if `among` is unknown or `n` is less than 1.
    """
    if n < 1:
        raise ValueError(f"n: expected a positive number, found {n}.")
    if among not in (ALL, SAME, OTHER):
        raise ValueError(f"words: expected {ALL}, {SAME} or {OTHER}, found {among!r}.")
    direction = normalize(vector)
    nearest = _Nearest(n, query.key)
    n_compared = 0
    for number, words, vectors in sentences:
        cosines = normalize(vectors) @ direction
        positions = np.arange(len(words))
        if among != ALL:
            same = [is_word(token, query.word) for token in words]
            is_same = np.asarray(same, dtype=bool)
            positions = np.flatnonzero(is_same if among == SAME else ~is_same)
        n_compared += len(positions)
        for position in positions[cosines[positions] > nearest.threshold].tolist():
            occurrence = Occurrence(number, position, tuple(words))
            nearest.add(Neighbor(float(cosines[position]), occurrence))
    return nearest.neighbors(), n_compared


class _Nearest:
    """The `n` nearest neighbors so far, without repetitions and without the query."""

    def __init__(self, n: int, query: Key) -> None:
        self._n = n
        self._sorted: List[Tuple[float, int, Neighbor]] = []
        self._keys: Set[Key] = {query}
        self._count = 0

    @property
    def threshold(self) -> float:
        """The cosine that a further neighbor must exceed."""
        return -self._sorted[-1][0] if len(self._sorted) == self._n else -np.inf

    def add(self, neighbor: Neighbor) -> None:
        key = neighbor.occurrence.key
        if key in self._keys or neighbor.cosine <= self.threshold:
            return
        self._keys.add(key)
        self._count += 1  # breaks ties: the earlier one comes first
        insort(self._sorted, (-neighbor.cosine, self._count, neighbor))
        if len(self._sorted) > self._n:
            self._keys.discard(self._sorted.pop()[2].occurrence.key)

    def neighbors(self) -> List[Neighbor]:
        return [neighbor for _, _, neighbor in self._sorted]


def normalize(vectors: np.ndarray) -> np.ndarray:
    """Scale vectors, of shape (..., width), to length 1. Zeros stay zeros."""
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(norms > 0, norms, 1)
