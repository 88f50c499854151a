"""The text that `elmo explore` searches, in memory."""

from array import array
from pathlib import Path
from typing import Dict, Iterable, Iterator, List, NamedTuple, Sequence, Tuple

import numpy as np

from ...bilm import BiLM
from ...embedding.encoding import select_layer
from ...embedding.neighbors import Occurrence
from ..senses import evenly_spaced

SHIPPED = Path(__file__).parents[1] / "corpus" / "ambiguous.txt"
"""Short sentences with ambiguous words. Written for this package; public domain."""

SUGGESTIONS = (
    "bank",
    "bark",
    "bat",
    "crane",
    "light",
    "match",
    "mouse",
    "seal",
    "spring",
)
"""The ambiguous words."""

MAX_SENTENCE = 256
"""Maximum words per sentence. Longer sentences are split, which bounds memory for
a text without line breaks."""


class Occurrences(NamedTuple):
    """Occurrences of a word.

    shown (List[Occurrence]): Some of them, evenly spaced over the text.
    total (int): Number of occurrences in the text.
    """

    shown: List[Occurrence]
    total: int


class Corpus:
    """Sentences, with an index of their words.

    sentences (Iterable[Sequence[str]]): The text; read until there are `max_words`.
    name (str): Name to show.
    max_words (int): Words to keep. A million take about 100 MB.
    is_shipped (bool): Whether this is the text that ships.
    RAISES: ValueError if `max_words` is less than 1.
    """

    def __init__(
        self,
        sentences: Iterable[Sequence[str]],
        name: str,
        max_words: int = 1_000_000,
        *,
        is_shipped: bool = False,
    ) -> None:
        if max_words < 1:
            raise ValueError(
                f"max_words: expected a positive number, found {max_words}."
            )
        self.name = name
        self.is_shipped = is_shipped
        self.sentences: List[Tuple[str, ...]] = []
        self.n_words = 0
        self.is_cut = False
        self._index: Dict[str, array] = {}
        known: Dict[str, str] = {}
        for words in _cut(sentences):
            if self.n_words + len(words) > max_words:
                self.is_cut = True
                words = words[: max_words - self.n_words]
            # Equal words share one string.
            words = tuple(known.setdefault(word, word) for word in words)
            for position, word in enumerate(words):
                entry = self._index.setdefault(word.casefold(), array("I"))
                entry.extend((len(self.sentences), position))
            self.sentences.append(words)
            self.n_words += len(words)
            if self.is_cut:
                break

    def find(self, word: str, limit: int) -> Occurrences:
        """Find a word, ignoring case.

        limit (int): Maximum number of occurrences to return.
        """
        entry = self._index.get(word.casefold(), array("I"))
        places = np.frombuffer(entry, dtype=np.uint32).reshape(-1, 2)
        kept = places[evenly_spaced(len(places), limit)].tolist()
        shown = [
            Occurrence(number, position, self.sentences[number])
            for number, position in kept
        ]
        return Occurrences(shown, len(places))

    def sample(self, max_words: int) -> List[int]:
        """Choose sentences, evenly spaced over the text, of at most `max_words` words
        in total.

        RETURNS (List[int]): Their numbers.
        """
        share = min(1.0, max_words / max(1, self.n_words))
        n_sentences = max(1, round(len(self.sentences) * share))
        chosen: List[int] = []
        for number in evenly_spaced(len(self.sentences), n_sentences).tolist():
            max_words -= len(self.sentences[number])
            if max_words < 0:
                break
            chosen.append(number)
        return chosen


class EncodedSample:
    """Sentences of a corpus with their vectors, for neighbors.

    bilm (BiLM): The network.
    corpus (Corpus): The text.
    max_words (int): Words to encode. With the weights that ship, 10,000 take 60 MB.
    """

    def __init__(self, bilm: BiLM, corpus: Corpus, max_words: int) -> None:
        self._numbers = corpus.sample(max_words)
        self._sentences = [corpus.sentences[number] for number in self._numbers]
        self._layers = bilm.encode(self._sentences)

    def vectors(self, layer: str) -> Iterator[Tuple[int, Tuple[str, ...], np.ndarray]]:
        """Select a layer.

        layer (str): "top", "mean", or its number.
        YIELDS (Tuple): Number, words and vectors of each sentence.
        """
        for number, words, layers in zip(self._numbers, self._sentences, self._layers):
            yield number, words, select_layer(layers, layer)


def _cut(sentences: Iterable[Sequence[str]]) -> Iterator[Sequence[str]]:
    for words in sentences:
        for start in range(0, len(words), MAX_SENTENCE):
            yield words[start : start + MAX_SENTENCE]
