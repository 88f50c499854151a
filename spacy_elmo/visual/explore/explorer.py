"""Computes the results of `elmo explore` from typed text and a corpus."""

from threading import Lock
from typing import List, NamedTuple, Optional, Sequence

import numpy as np

from ...bilm import BiLM
from ...embedding.encoding import MEAN, TOP, check_layer, select_layer
from ...embedding.neighbors import Occurrence, occurrences, rank_neighbors
from ...pipeline.head_mixes import HeadMix
from ...scoring.scorer import Scorer
from ...text.tokenizers import Tokenizer
from ..clustering import PCA
from ..neighborhood import NeighborsView
from ..senses import MAX_OCCURRENCES, SensesView, arrange
from ..sentences import Context
from ..similarity import SimilarityView, compare
from ..surprisal import SurprisalView, view_of_scores
from .corpus import Corpus, EncodedSample

MAX_WORDS = 500
"""Words of a typed text."""
N_COMPARED = 10_000
"""Words of the corpus that neighbors are chosen from."""


class Model(NamedTuple):
    """A biLM, with its output layer and mixes if it has any.

    name (str): Its path, to show.
    bilm (BiLM): The network.
    scorer (Optional[Scorer]): Its language model; None without an output layer.
    no_scorer (str): The reason, if there is no scorer.
    mixes (Sequence[HeadMix]): The mixes of a trained pipeline's heads.
    no_mixes (str): The reason, if there are none.
    """

    name: str
    bilm: BiLM
    scorer: Optional[Scorer] = None
    no_scorer: str = ""
    mixes: Sequence[HeadMix] = ()
    no_mixes: str = ""


class Explorer:
    """Computes views, one at a time.

    model (Model): The biLM.
    corpus (Corpus): The text that is searched.
    tokenize (Tokenizer): Splits a typed text into sentences of words.
    """

    def __init__(self, model: Model, corpus: Corpus, tokenize: Tokenizer) -> None:
        self.model = model
        self.corpus = corpus
        self._tokenize = tokenize
        self._sample = EncodedSample(model.bilm, corpus, N_COMPARED)
        self._lock = Lock()
        if model.scorer is not None:
            model.scorer.log_probs([["."]])  # packs weights, before the first request

    @property
    def layers(self) -> List[str]:
        """Names of layers to choose from."""
        n_layers = self.model.bilm.config.n_layers
        return [TOP, MEAN, *(str(number) for number in range(n_layers + 1))]

    def surprisal(self, text: str, unit: str) -> SurprisalView:
        """Score the words of a text.

        RAISES: ValueError if there is no output layer, or the text is empty or long.
        """
        if self.model.scorer is None:
            raise ValueError(self.model.no_scorer)
        with self._lock:
            sentences = self._sentences(text)
            return view_of_scores(
                sentences, self.model.scorer.log_probs(sentences), unit
            )

    def compare(self, first: str, second: str, word: str) -> SimilarityView:
        """Compare a word in two sentences, or two texts if the word is empty.

        RAISES: ValueError if a text is empty or long, or lacks the word.
        """
        with self._lock:
            texts = [self._sentences(text) for text in (first, second)]
            if word:
                found = [self._occurrence(word, text) for text in texts]
                contexts = [Context.of(occurrence) for occurrence in found]
                vectors = [
                    layers[:, occurrence.position]
                    for layers, occurrence in zip(
                        self.model.bilm.encode([o.words for o in found]), found
                    )
                ]
            else:
                contexts = [
                    Context("", " ".join(w for words in text for w in words), "")
                    for text in texts
                ]
                vectors = [
                    np.concatenate(self.model.bilm.encode(text), axis=1).mean(axis=1)
                    for text in texts
                ]
            return compare((contexts[0], contexts[1]), vectors[0], vectors[1])

    def senses(
        self,
        word: str,
        layer: str,
        clusters: Optional[int],
        projection: str = PCA,
    ) -> SensesView:
        """Arrange the occurrences of a word in the corpus.

        RAISES: ValueError if the corpus lacks the word, or a setting is invalid.
        """
        check_layer(layer, self.model.bilm, (TOP, MEAN))
        with self._lock:
            found = self.corpus.find(word, MAX_OCCURRENCES)
            if not found.total:
                raise ValueError(
                    f"{word!r}: expected a word of the text, found it nowhere. Enter "
                    "a word as the tokenizer splits it."
                )
            encoded = self.model.bilm.encode([each.words for each in found.shown])
            vectors = [
                select_layer(layers, layer)[occurrence.position]
                for layers, occurrence in zip(encoded, found.shown)
            ]
            return arrange(
                word,
                found.shown,
                np.asarray(vectors),
                n_occurrences=found.total,
                layer=layer,
                clusters=clusters,
                projection=projection,
            )

    def neighbors(self, text: str, word: str, layer: str, among: str) -> NeighborsView:
        """Find the words of the corpus that are nearest to a word in a sentence.

        RAISES: ValueError if the text is empty or long, lacks the word, or a setting is
            invalid.
        """
        check_layer(layer, self.model.bilm, (TOP, MEAN))
        with self._lock:
            query = self._occurrence(word, self._sentences(text))
            (layers,) = self.model.bilm.encode([query.words])
            nearest, n_compared = rank_neighbors(
                query,
                select_layer(layers, layer)[query.position],
                self._sample.vectors(layer),
                among=among,
            )
            return NeighborsView.of(query, nearest, n_compared, layer)

    def _sentences(self, text: str) -> List[List[str]]:
        """Tokenize. RAISES: ValueError if there are no words, or too many."""
        sentences = list(self._tokenize([text.strip()]).sentences())
        n_words = sum(map(len, sentences))
        if not 1 <= n_words <= MAX_WORDS:
            raise ValueError(
                f"expected a text of 1 to {MAX_WORDS} words, found {n_words:,}."
            )
        return sentences

    def _occurrence(self, word: str, sentences: List[List[str]]) -> Occurrence:
        """The first occurrence of a word. RAISES: ValueError if there is none."""
        for words in sentences:
            for occurrence in occurrences(word, words):
                return occurrence
        text = " ".join(word for words in sentences for word in words)
        raise ValueError(
            f"expected a sentence with the word {word!r}, found {text!r}. Enter a word "
            "as the tokenizer splits it."
        )
