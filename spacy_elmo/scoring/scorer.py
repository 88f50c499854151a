"""A biLM with its output layer: how probable each word is, from either side."""

from itertools import islice
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, Sequence, TypeVar, Union

import torch

from ..bilm import BiLM
from ..bilm.batching import DEFAULT_BATCH_TOKENS, group_by_length, list_sentences
from ..bilm.precision import resolve_precision
from ..bilm.softmax import OutputLayer
from ..formats import load_bilm
from ..formats.bundled import bundled_folder
from ..formats.output_layer import check_output_layer, read_output_layer
from ..text.tokenization import weights_folder
from .perplexity import perplexity
from .sentence_scores import SentenceScores
from .word_scores import TopLayerScorer, compute_boundaries

__all__ = ["Scorer", "SentenceScores", "perplexity", "portions"]

Item = TypeVar("Item")

_SENTENCES_PER_PORTION = 1000


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
        self.bilm = bilm
        self.top_layer_scorer = TopLayerScorer(output_layer, words)

    @property
    def output_layer(self) -> OutputLayer:
        return self.top_layer_scorer.output_layer

    @property
    def words(self) -> List[str]:
        """The output layer's vocabulary, in the order of its rows."""
        return self.top_layer_scorer.words

    @classmethod
    def load(cls, path: Union[str, Path, None] = None) -> "Scorer":
        """Load a language model that pretraining wrote: model-best or model-last.

        path (Union[str, Path, None]): The folder. None for the English weights that
            ship with the package.
        RAISES: WeightsError if it has no output layer, as is the case for published
            weights, or if a file is damaged.
        """
        folder = bundled_folder() if path is None else weights_folder(path)
        check_output_layer(folder)
        bilm = load_bilm(folder)
        stored = read_output_layer(folder, bilm.config.projection_dim)
        return cls(bilm, stored.softmax, stored.vocabulary.words)

    def to(self, device: torch.device) -> "Scorer":
        """Move the model to a device, and return the scorer."""
        self.bilm.to(device)
        self.output_layer.to(device)
        return self

    @torch.no_grad()
    def log_probs(
        self,
        sentences: Iterable[Sequence[str]],
        *,
        batch_tokens: int = DEFAULT_BATCH_TOKENS,
        precision: str = "float32",
    ) -> List[SentenceScores]:
        """Score each word of each sentence, independently of its neighbors.

        sentences (Iterable[Sequence[str]]): Tokenized sentences; may be empty.
        batch_tokens (int): Maximum number of tokens per batch. Bounds memory.
        precision (str): Precision of the matrix products of the network and the output
            layer, as in `BiLM.encode`. With "int8", the output layer is in float32.
        RETURNS (List[SentenceScores]): One per sentence, in input order.
        RAISES: ValueError if `precision` is unknown or `batch_tokens` is less than 1;
            TypeError if a sentence is a string.
        """
        words = list_sentences(sentences)
        dtype = resolve_precision(precision, self.bilm.device)
        results: Dict[int, SentenceScores] = {}
        boundaries = compute_boundaries(self.bilm, dtype)
        score = self.top_layer_scorer.score
        for numbers in group_by_length(words, batch_tokens):
            batch = [words[number] for number in numbers]
            layers, _ = self.bilm.encode_batch(batch, dtype=dtype)
            results.update(zip(numbers, score(batch, layers[-1], boundaries, dtype)))
        empty = [number for number, sentence in enumerate(words) if not sentence]
        no_words = boundaries.begin.new_empty(0, self.bilm.config.width)
        results.update(
            zip(empty, score([[]] * len(empty), no_words, boundaries, dtype))
        )
        return [results[number] for number in range(len(words))]

    def log_probs_stream(
        self, sentences: Iterable[Sequence[str]], **settings: Any
    ) -> Iterator[SentenceScores]:
        """Score a stream of sentences, with only a few batches in memory.

        **settings: As for `log_probs`.
        YIELDS (SentenceScores): One per sentence, in input order.
        RAISES: As `log_probs`.
        """
        for portion in portions(sentences, _SENTENCES_PER_PORTION):
            yield from self.log_probs(portion, **settings)


def portions(items: Iterable[Item], size: int) -> Iterator[List[Item]]:
    """Cut a stream into lists of `size` items; the last one may be shorter."""
    iterator = iter(items)
    while portion := list(islice(iterator, size)):
        yield portion
