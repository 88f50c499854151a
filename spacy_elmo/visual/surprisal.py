"""How surprising each word is, from either side."""

import math
from typing import Iterable, Iterator, List, NamedTuple, Sequence

import numpy as np
from spacy.tokens import Doc, Span

from ..pipeline.scores import ROWS, get_scores
from ..scoring.sentence_scores import SentenceScores
from .sentences import list_items, read_sentences

MAX_WORDS = 2000
"""Words shown by default. More make a page that browsers are slow to draw."""

NATS, BITS = "nats", "bits"
_DARKEST = {NATS: 12.0, BITS: 12.0 / math.log(2)}
"""Surprisal of the darkest shade. Fixed, so that sentences can be compared."""
N_SHADES = 10
_SHOWN = ("surprisal", "surprisal_backward", "entropy", "known")
"""Rows of the scores on a Doc."""


class ScoredWord(NamedTuple):
    """A word and its scores.

    text (str): The word.
    forward (float): Surprisal given the words before it.
    backward (float): Surprisal given the words after it.
    entropy (float): Entropy of the forward distribution that predicts it.
    known (bool): Whether it is in the vocabulary.
    """

    text: str
    forward: float
    backward: float
    entropy: float
    known: bool


class SurprisalView(NamedTuple):
    """Data of the template surprisal.html.

    sentences (List[List[ScoredWord]]): The words of each sentence.
    unit (str): "nats" or "bits".
    is_cut (bool): Whether further words are left out.
    """

    sentences: List[List[ScoredWord]]
    unit: str
    is_cut: bool = False

    def shade(self, surprisal: float) -> int:
        """The shade of a surprisal, from 0 to N_SHADES."""
        share = min(1.0, max(0.0, surprisal / _DARKEST[self.unit]))
        return round(N_SHADES * share)


def show_surprisal(
    docs: object, *, unit: str = NATS, max_words: int = MAX_WORDS
) -> SurprisalView:
    """Show the scores on docs.

    docs (Union[Doc, Span, Iterable]): Docs that an elmo component with score = true has
        seen.
    unit (str): "nats" or "bits".
    max_words (int): Maximum number of words to show.
    RAISES: ValueError if an option is invalid, or the docs have no scores.
    """
    texts = list_items(docs, (Doc, Span))
    if max_words < 1:
        raise ValueError(f"max_words: expected a positive number, found {max_words}.")
    per_unit = _nats_per(unit)
    sentences: List[List[ScoredWord]] = []
    n_left = max_words
    for sentence in read_sentences(texts):
        if not n_left:
            return SurprisalView(sentences, unit, is_cut=True)
        numbers = [token.i for token in sentence.tokens[:n_left]]
        scores = get_scores(sentence.tokens[0].doc)[:, numbers]
        rows = scores[[ROWS.index(name) for name in _SHOWN]]
        sentences.append(list(_scored_words(sentence.words, rows, per_unit)))
        n_left -= len(numbers)
        if len(numbers) < len(sentence.words):
            return SurprisalView(sentences, unit, is_cut=True)
    return SurprisalView(sentences, unit)


def view_of_scores(
    sentences: Iterable[Sequence[str]],
    scores: Iterable[SentenceScores],
    unit: str = NATS,
) -> SurprisalView:
    """Combine sentences and their scores.

    RAISES: ValueError if the unit is unknown.
    """
    per_unit = _nats_per(unit)
    view = SurprisalView([], unit)
    for words, found in zip(sentences, scores):
        rows = np.stack(
            [-found.forward, -found.backward, found.forward_entropy, found.known]
        )
        view.sentences.append(list(_scored_words(words, rows, per_unit)))
    return view


def _nats_per(unit: str) -> float:
    if unit not in (NATS, BITS):
        raise ValueError(f"unit: expected {NATS} or {BITS}, found {unit!r}.")
    return 1.0 if unit == NATS else math.log(2)


def _scored_words(
    words: Sequence[str], rows: np.ndarray, per_unit: float
) -> Iterator[ScoredWord]:
    """rows (ndarray): One row for each of _SHOWN, shape (4, n_words)."""
    for word, (forward, backward, entropy, known) in zip(words, rows.T.tolist()):
        yield ScoredWord(
            word,
            forward / per_unit,
            backward / per_unit,
            entropy / per_unit,
            known == 1,
        )
