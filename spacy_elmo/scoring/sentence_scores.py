"""Scores of a sentence's words, and the perplexity of scored sentences."""

import math
from dataclasses import dataclass, fields
from typing import Iterable, NamedTuple

import numpy as np


@dataclass(frozen=True)
class SentenceScores:
    """Scores of one sentence of n words.

    All logarithms are natural: log-probabilities and entropies are in nats, unless
    `in_bits` was called. A word outside the vocabulary is scored as <UNK>: its
    log-probability is the one of any unknown word, and `known` is False.

    forward (ndarray): log p(w_k | w_1 .. w_{k-1}), shape (n,).
    backward (ndarray): log p(w_k | w_{k+1} .. w_n), shape (n,).
    forward_entropy (ndarray): Entropy of the forward distribution that predicts w_k,
        shape (n,).
    backward_entropy (ndarray): Entropy of the backward distribution that predicts w_k,
        shape (n,).
    end (float): Forward log-probability that the sentence ends after w_n.
    begin (float): Backward log-probability that the sentence begins before w_1.
    end_entropy (float): Entropy of the forward distribution after w_n.
    begin_entropy (float): Entropy of the backward distribution before w_1.
    known (ndarray): Whether each word is in the vocabulary, shape (n,), bool.
    """

    forward: np.ndarray
    backward: np.ndarray
    forward_entropy: np.ndarray
    backward_entropy: np.ndarray
    end: float
    begin: float
    end_entropy: float
    begin_entropy: float
    known: np.ndarray

    @property
    def forward_total(self) -> float:
        """Forward log-probability of the whole sentence, its end included."""
        return float(self.forward.sum(dtype=np.float64)) + self.end

    @property
    def backward_total(self) -> float:
        """Backward log-probability of the whole sentence, its beginning included."""
        return float(self.backward.sum(dtype=np.float64)) + self.begin

    @property
    def entropy_reduction(self) -> np.ndarray:
        """Entropy of the next word before w_k is read, minus the entropy after it.

        Shape (n,). Hale (2006) clips negative values to 0; they are kept here.
        """
        return self.forward_entropy - np.append(
            self.forward_entropy[1:], np.float32(self.end_entropy)
        )

    def in_bits(self) -> "SentenceScores":
        """Convert log-probabilities and entropies from nats to bits."""
        values = {
            field.name: getattr(self, field.name) / math.log(2)
            for field in fields(self)
            if field.name != "known"
        }
        return SentenceScores(known=self.known, **values)


class Perplexity(NamedTuple):
    """Perplexity of a text whose sentences are scored independently.

    forward (float): exp of the mean negative log-probability per target. Targets are
        all words and the sentence ends.
    backward (float): The same for the backward model and the sentence beginnings.
    mean (float): exp of the mean over both directions.
    oov_rate (float): Share of words that the vocabulary lacks, in [0, 1].
    n_words (int): Number of words, without sentence ends.
    """

    forward: float
    backward: float
    mean: float
    oov_rate: float
    n_words: int


def perplexity(scores: Iterable[SentenceScores]) -> Perplexity:
    """Compute perplexity and out-of-vocabulary rate over scored sentences.

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
    forward, backward = forward / n_targets, backward / n_targets
    return Perplexity(
        math.exp(forward),
        math.exp(backward),
        math.exp((forward + backward) / 2),
        (n_words - n_known) / n_words if n_words else 0.0,
        n_words,
    )
