"""The nearest neighbours of a word in its sentence: other words in theirs (Peters et
al. 2018, table 4)."""

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
    Set,
    Tuple,
)

import numpy as np

from ..bilm import BiLM
from ..bilm.model import DEFAULT_BATCH_TOKENS
from .encoding import MEAN, TOP, check_layer, encode_stream, select_layer

ALL, SAME, OTHER = "all", "same", "other"

Key = Tuple[Tuple[str, ...], int]


class Occurrence(NamedTuple):
    """A word in its sentence.

    sentence: its number in the text, from 0; None: of no text.
    position: of the word in the sentence, from 0.
    """

    sentence: Optional[int]
    position: int
    words: Tuple[str, ...]

    @property
    def word(self) -> str:
        return self.words[self.position]

    @property
    def key(self) -> Key:
        """The same in each repetition of the sentence."""
        return self.words, self.position

    def to_json(self) -> Dict[str, Any]:
        return {
            "sentence": self.sentence,
            "position": self.position,
            "word": self.word,
            "words": list(self.words),
        }


class Neighbor(NamedTuple):
    cosine: float
    occurrence: Occurrence


class Neighbors(NamedTuple):
    """nearest: the nearest first. n_sentences: read. n_compared: words that could have
    been neighbours."""

    nearest: List[Neighbor]
    n_sentences: int
    n_compared: int


def is_word(found: str, word: str) -> bool:
    """Whether it is the same word, at a sentence's beginning or elsewhere."""
    return found.casefold() == word.casefold()


def occurrences(
    word: str, words: List[str], sentence: Optional[int] = None
) -> Iterator[Occurrence]:
    """A word's places in a sentence, whose number is given."""
    for position, found in enumerate(words):
        if is_word(found, word):
            yield Occurrence(sentence, position, tuple(words))


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
    """The words of a text that are nearest to a word in its sentence, by the cosine of
    a layer. A sentence that the text repeats counts once, and that of the query has
    its other words as neighbours only.

    sentences: the text; read once, and no vectors of it are kept.
    n: how many neighbours.
    layer: "top", "mean", or a layer's number.
    among: "all" words; the "same" word alone (its upper and lower case are one), for
        which other sentences are not run through the network; or all "other" words.

    Raises ValueError for an unknown layer or choice of words, and for an n under 1.
    """
    if n < 1:
        raise ValueError(f"n: expected a whole number from 1, found {n}.")
    if among not in (ALL, SAME, OTHER):
        raise ValueError(f"words: expected {ALL}, {SAME} or {OTHER}, found {among!r}.")
    check_layer(layer, bilm, (TOP, MEAN))
    (layers,) = bilm.encode([query.words], batch_tokens, precision)
    direction = _unit(select_layer(layers, layer)[query.position])
    best = _Best(n, query.key)
    numbers: Deque[int] = deque()  # of the sentences that are in the network
    n_sentences = n_compared = 0

    def chosen() -> Iterator[List[str]]:
        nonlocal n_sentences
        for words in sentences:
            if among != SAME or any(is_word(found, query.word) for found in words):
                numbers.append(n_sentences)
                yield words
            n_sentences += 1

    encoded = encode_stream(
        bilm, chosen(), batch_tokens=batch_tokens, precision=precision
    )
    for words, layers in encoded:
        number = numbers.popleft()
        cosines = _unit(select_layer(layers, layer)) @ direction
        if among != ALL:
            same = np.asarray([is_word(found, query.word) for found in words])
            places = np.flatnonzero(same if among == SAME else ~same)
        else:
            places = np.arange(len(words))
        n_compared += len(places)
        for place in places[cosines[places] > best.worst].tolist():
            occurrence = Occurrence(number, place, tuple(words))
            best.add(Neighbor(float(cosines[place]), occurrence))
    return Neighbors(best.nearest(), n_sentences, n_compared)


class _Best:
    """The n nearest so far, each sentence's word once.

    query: what is no neighbour.
    """

    def __init__(self, n: int, query: Key) -> None:
        self._n = n
        self._sorted: List[Tuple[float, int, Neighbor]] = []
        self._keys: Set[Key] = {query}
        self._count = 0

    @property
    def worst(self) -> float:
        """Of the n nearest: only what is nearer can be one of them."""
        return -self._sorted[-1][0] if len(self._sorted) == self._n else -np.inf

    def add(self, neighbor: Neighbor) -> None:
        key = neighbor.occurrence.key
        if key in self._keys or neighbor.cosine <= self.worst:
            return
        self._keys.add(key)
        self._count += 1  # of two that are as near, the first comes first
        insort(self._sorted, (-neighbor.cosine, self._count, neighbor))
        if len(self._sorted) > self._n:
            self._keys.discard(self._sorted.pop()[2].occurrence.key)

    def nearest(self) -> List[Neighbor]:
        return [neighbor for _, _, neighbor in self._sorted]


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Of length 1; zeros stay zeros. (..., width)."""
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(norms > 0, norms, 1)
