"""Perplexities of a text."""

import math
from typing import Any, Dict, Iterable, Mapping, NamedTuple, Optional

from .sentence_scores import SentenceScores


class Perplexities(NamedTuple):
    """How well a text is predicted. Every word counts, as <UNK> if it is unknown, and
    so does the end (forward LM) or beginning (backward LM) of each sentence.

    forward (float): Exponential of the forward LM's mean negative log likelihood.
    backward (float): The same for the backward LM.
    mean (float): Exponential of the mean over both directions.
    oov_rate (float): Share of the words that are not in the vocabulary, in [0, 1].
    n_words (int): Number of words, without the boundaries of sentences.
    """

    forward: float
    backward: float
    mean: float
    oov_rate: float
    n_words: int

    @classmethod
    def from_losses(
        cls, forward: float, backward: float, *, oov_rate: float, n_words: int
    ) -> "Perplexities":
        """Compute perplexities.

        forward (float): Mean negative log likelihood of the forward LM, in nats.
        backward (float): The same for the backward LM.
        """
        mean = (forward + backward) / 2
        return cls(_exp(forward), _exp(backward), _exp(mean), oov_rate, n_words)

    def to_json(self) -> Dict[str, Optional[float]]:
        """Represent infinity, which JSON lacks, as null."""
        values = self._asdict().items()
        return {name: v if math.isfinite(v) else None for name, v in values}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Perplexities":
        """The inverse of `to_json`."""
        return cls(**{n: math.inf if v is None else v for n, v in values.items()})  # type: ignore[arg-type]


def perplexity(scores: Iterable[SentenceScores]) -> Perplexities:
    """Compute the perplexities of sentences that are scored independently.

    RAISES: ValueError if there are no sentences.
    """
    forward = backward = 0.0
    n_words = n_targets = n_known = 0
    for sentence in scores:
        forward -= sentence.forward_total
        backward -= sentence.backward_total
        n_words += len(sentence.known)
        n_targets += len(sentence.known) + 1
        n_known += int(sentence.known.sum())
    if not n_targets:
        raise ValueError("scores: expected at least one sentence, found none.")
    return Perplexities.from_losses(
        forward / n_targets,
        backward / n_targets,
        oov_rate=(n_words - n_known) / n_words if n_words else 0.0,
        n_words=n_words,
    )


def _exp(loss: float) -> float:
    try:
        return math.exp(loss)
    except OverflowError:
        return math.inf
