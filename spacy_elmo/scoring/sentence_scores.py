"""Scores of a sentence's words."""

import math
from dataclasses import dataclass, fields

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
