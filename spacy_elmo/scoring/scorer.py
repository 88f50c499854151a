"""A biLM with its output layer: how probable each word is, from either side."""

import math
from dataclasses import dataclass, fields
from itertools import islice
from pathlib import Path
from typing import (
    Dict,
    Iterable,
    Iterator,
    List,
    NamedTuple,
    Sequence,
    Tuple,
    TypeVar,
    Union,
)

import numpy as np
import torch
from torch import Tensor

from ..bilm import BiLM
from ..bilm.model import DEFAULT_BATCH_TOKENS, group_by_length, list_sentences
from ..bilm.precision import resolve_precision
from ..bilm.softmax import OutputLayer
from ..formats import load_bilm
from ..formats.output_layer import check_output_layer, read_output_layer
from ..text.tokenization import weights_folder
from ..text.vocabulary import BEGIN, END, UNKNOWN
from .distributions import score_targets

Item = TypeVar("Item")

_SENTENCES_PER_PORTION = 1000


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


class Scorer:
    """Scores words by the forward and the backward language model of a biLM.

    bilm (BiLM): The network.
    output_layer (OutputLayer): The output layer that was trained with it.
    words (Sequence[str]): The output layer's vocabulary, in the order of its rows, with
        <S>, </S> and <UNK>.
    RAISES: ValueError if the vocabulary does not fit the output layer.
    """

    def __init__(
        self, bilm: BiLM, output_layer: OutputLayer, words: Sequence[str]
    ) -> None:
        index = {word: number for number, word in enumerate(words)}
        missing = [word for word in (BEGIN, END, UNKNOWN) if word not in index]
        if missing or len(words) != output_layer.n_words:
            raise ValueError(
                f"words: expected the {output_layer.n_words} words of the output "
                f"layer, with {BEGIN}, {END} and {UNKNOWN}; found {len(words)} words"
                f"{' without ' + ', '.join(missing) if missing else ''}. Use the "
                "vocabulary that was saved with these weights."
            )
        self.bilm = bilm
        self.output_layer = output_layer
        self.words = list(words)
        self._index = index

    @classmethod
    def load(cls, path: Union[str, Path]) -> "Scorer":
        """Load a language model that pretraining wrote: model-best or model-last.

        path (Union[str, Path]): The folder.
        RAISES: WeightsError if it has no output layer, as is the case for published
            weights, or if a file is damaged.
        """
        folder = weights_folder(path)
        check_output_layer(folder)
        bilm = load_bilm(folder)
        stored = read_output_layer(folder, bilm.config.projection_dim)
        return cls(bilm, stored.softmax, stored.vocabulary.words)

    def to(self, device: torch.device) -> "Scorer":
        """Move the model to a device, and return the scorer."""
        self.bilm.to(device)
        self.output_layer.to(device)
        return self

    def log_probs(
        self,
        sentences: Iterable[Sequence[str]],
        *,
        batch_tokens: int = DEFAULT_BATCH_TOKENS,
        precision: str = "float32",
    ) -> List[SentenceScores]:
        """Score each word of each sentence, independently of its neighbours.

        sentences (Iterable[Sequence[str]]): Tokenized sentences; may be empty.
        batch_tokens (int): Maximum number of tokens per batch. Bounds memory.
        precision (str): Precision of the network's matrix products, as in
            `BiLM.encode`. The softmax is computed in float32.
        RETURNS (List[SentenceScores]): One per sentence, in input order.
        RAISES: ValueError if `precision` is unknown or `batch_tokens` is less than 1;
            TypeError if a sentence is a string.
        """
        words = list_sentences(sentences)
        dtype = resolve_precision(precision, self.bilm.device)
        results: Dict[int, SentenceScores] = {}
        with torch.no_grad():
            for numbers in group_by_length(words, batch_tokens):
                batch = [words[number] for number in numbers]
                top, lengths = self._top_layer(batch, dtype)
                results.update(zip(numbers, self.score_top_layer(batch, top, lengths)))
            empty = [n for n, sentence in enumerate(words) if not sentence]
            if empty:
                top, lengths = self._top_layer([[]], dtype)
                (scores,) = self.score_top_layer([[]], top, lengths)
                results.update((number, scores) for number in empty)
        return [results[number] for number in range(len(words))]

    def log_probs_stream(
        self,
        sentences: Iterable[Sequence[str]],
        *,
        batch_tokens: int = DEFAULT_BATCH_TOKENS,
        precision: str = "float32",
    ) -> Iterator[SentenceScores]:
        """Score a stream of sentences, with only a few batches in memory.

        YIELDS (SentenceScores): One per sentence, in input order.
        RAISES: As `log_probs`.
        """
        for portion in portions(sentences, _SENTENCES_PER_PORTION):
            yield from self.log_probs(
                portion, batch_tokens=batch_tokens, precision=precision
            )

    def _top_layer(
        self, batch: Sequence[Sequence[str]], dtype: torch.dtype
    ) -> Tuple[Tensor, List[int]]:
        begin, end = self.bilm.characters.boundaries
        tokens = [word for words in batch for word in (begin, *words, end)]
        lengths = [len(words) + 2 for words in batch]
        distinct = list(dict.fromkeys(tokens))
        row_of = {word: row for row, word in enumerate(distinct)}
        rows = torch.tensor([row_of[word] for word in tokens], device=self.bilm.device)
        vectors = self.bilm.encode_words(distinct, dtype).index_select(0, rows)
        layers, _ = self.bilm.contextualize(vectors, lengths, None, dtype)
        return layers[-1], lengths

    def score_top_layer(
        self, batch: Sequence[Sequence[str]], top: Tensor, lengths: Sequence[int]
    ) -> Iterator[SentenceScores]:
        """Score sentences whose top layer was computed already.

        batch (Sequence[Sequence[str]]): Tokenized sentences.
        top (Tensor): The biLM's top layer for the sentences one after another, each
            with its two boundary tokens, shape (n_tokens, 2 * projection_dim).
        lengths (Sequence[int]): Number of tokens per sentence, boundaries included.
        """
        width = self.bilm.config.projection_dim
        ids = [self._target_ids(words) for words in batch]
        flat = np.concatenate(ids) if ids else np.zeros(0, dtype=np.int64)
        targets = torch.from_numpy(flat).to(top.device)
        is_first = np.zeros(len(top), dtype=bool)
        starts = np.cumsum(lengths) - np.asarray(lengths)
        is_first[starts] = True
        is_last = np.roll(is_first, -1)
        # The forward state at a token predicts the next one, the backward state the
        # token before.
        rows = torch.from_numpy(np.flatnonzero(~is_last)).to(top.device)
        forward = score_targets(self.output_layer, top[rows, :width], targets[rows + 1])
        backward = score_targets(
            self.output_layer, top[rows + 1, width:], targets[rows]
        )
        arrays = [part.float().cpu().numpy() for part in (*forward, *backward)]
        ends = np.cumsum(np.asarray(lengths) - 1)[:-1]
        unknown = self._index[UNKNOWN]
        for words_ids, *parts in zip(ids, *(np.split(a, ends) for a in arrays)):
            f, f_entropy, b, b_entropy = parts
            yield SentenceScores(
                forward=f[:-1].copy(),
                backward=b[1:].copy(),
                forward_entropy=f_entropy[:-1].copy(),
                backward_entropy=b_entropy[1:].copy(),
                end=float(f[-1]),
                begin=float(b[0]),
                end_entropy=float(f_entropy[-1]),
                begin_entropy=float(b_entropy[0]),
                known=words_ids[1:-1] != unknown,
            )

    def _target_ids(self, words: Sequence[str]) -> np.ndarray:
        """Vocabulary ids of a sentence with its boundaries, shape (n_words + 2,)."""
        unknown = self._index[UNKNOWN]
        inner = [self._index.get(word, unknown) for word in words]
        return np.asarray(
            [self._index[BEGIN], *inner, self._index[END]], dtype=np.int64
        )


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


def portions(items: Iterable[Item], size: int) -> Iterator[List[Item]]:
    """Cut a stream into lists of `size` items; the last one may be shorter."""
    iterator = iter(items)
    while portion := list(islice(iterator, size)):
        yield portion
