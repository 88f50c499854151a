"""From the biLM's top layer to the scores of words."""

from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence

import numpy as np
import torch
from torch import Tensor

from ..bilm import BiLM
from ..bilm.backends import PreparedSoftmax
from ..bilm.prepared_weights import fingerprint
from ..bilm.softmax import OutputLayer
from ..text.vocabulary import BEGIN, END, UNKNOWN
from .sentence_scores import SentenceScores

NOT_FINITE = (
    "expected log-probabilities that are finite numbers, found infinity or NaN: the "
    "weights are damaged, or their values are too large. Load the weights again, or "
    "use others."
)


class Boundaries(NamedTuple):
    """Top layer at the boundaries of any sentence. They are the same for all sentences,
    because each LM reads its boundary token first.

    begin (Tensor): Forward half at the beginning, which predicts the first word, shape
        (1, projection_dim).
    end (Tensor): Backward half at the end, which predicts the last word, shape
        (1, projection_dim).
    """

    begin: Tensor
    end: Tensor


@torch.no_grad()
def compute_boundaries(bilm: BiLM, dtype: torch.dtype = torch.float32) -> Boundaries:
    """Compute the top layer at the boundaries of a sentence.

    dtype (torch.dtype): Dtype of the matrix products, as for the words.
    """
    width = bilm.config.projection_dim
    vectors = bilm.encode_words(bilm.characters.boundaries, dtype)
    layers, _ = bilm.contextualize(vectors, [2], None, dtype)
    return Boundaries(layers[-1, :1, :width], layers[-1, 1:, width:])


class _Packed(NamedTuple):
    """A packed output layer.

    softmax (PreparedSoftmax): The layer.
    fitted (Any): Dtype and fingerprint of the weights it was packed from.
    weights (List[Tensor]): These weights, kept alive so that no others can take over
        their addresses.
    """

    softmax: PreparedSoftmax
    fitted: Any
    weights: List[Tensor]


class TopLayerScorer:
    """Scores words from the top layer of a biLM that has read their sentences.

    output_layer (OutputLayer): The output layer that was trained with the biLM.
    words (Sequence[str]): The output layer's vocabulary, in the order of its rows, with
        <S>, </S> and <UNK>.
    RAISES: ValueError if the vocabulary does not fit the output layer.
    """

    def __init__(self, output_layer: OutputLayer, words: Sequence[str]) -> None:
        index = {word: number for number, word in enumerate(words)}
        missing = [word for word in (BEGIN, END, UNKNOWN) if word not in index]
        if missing or len(words) != output_layer.n_words:
            raise ValueError(
                f"words: expected the {output_layer.n_words} words of the output "
                f"layer, with {BEGIN}, {END} and {UNKNOWN}; found {len(words)} words"
                f"{' without ' + ', '.join(missing) if missing else ''}. Use the "
                "vocabulary that was saved with these weights."
            )
        self.output_layer = output_layer
        self.words = list(words)
        self._index = index
        self._packed: Optional[_Packed] = None

    def __getstate__(self) -> Dict[str, Any]:
        return {**self.__dict__, "_packed": None}

    def score(
        self,
        sentences: Sequence[Sequence[str]],
        top: Tensor,
        boundaries: Boundaries,
        dtype: torch.dtype = torch.float32,
    ) -> Iterator[SentenceScores]:
        """Score each word of each sentence.

        sentences (Sequence[Sequence[str]]): Tokenized sentences; may be empty.
        top (Tensor): Top layer of their words, sentence after sentence, without
            boundary tokens, shape (n_words, 2 * projection_dim).
        boundaries (Boundaries): From the same biLM.
        dtype (torch.dtype): Dtype of the matrix products, as for the words. With int8,
            the output layer is computed in float32.
        YIELDS (SentenceScores): One per sentence, in order.
        RAISES: ValueError if a log-probability is not finite.
        """
        width = top.shape[1] // 2
        unknown = self._index[UNKNOWN]
        words = [word for sentence in sentences for word in sentence]
        ids = np.asarray([self._index.get(w, unknown) for w in words], dtype=np.int64)
        lengths = np.asarray([len(sentence) for sentence in sentences], dtype=np.int64)
        ends = np.cumsum(lengths)
        starts = ends - lengths
        # Row 0 of the states is the boundary that the LM reads before the words.
        rows = np.arange(1, len(words) + 1)
        states = [
            torch.cat([boundaries.begin, top[:, :width]])[np.insert(rows, starts, 0)],
            torch.cat([boundaries.end, top[:, width:]])[np.insert(rows, ends, 0)],
        ]
        targets = [
            np.insert(ids, ends, self._index[END]),
            np.insert(ids, starts, self._index[BEGIN]),
        ]
        # Both directions at once, so that the output layer is read from memory once.
        scores = self._prepare(dtype).score(
            torch.cat(states), torch.from_numpy(np.concatenate(targets)).to(top.device)
        )
        log_probs, entropies = (part.float().cpu().numpy() for part in scores)
        cuts = (ends + np.arange(1, len(ends) + 1))[:-1]
        if not np.isfinite(log_probs).all():
            raise ValueError(NOT_FINITE)
        arrays = [
            *np.split(log_probs, 2),
            *np.split(entropies, 2),
            np.insert(ids != unknown, ends, True),
        ]
        parts = [np.split(array, cuts) for array in arrays]
        for _, f, b, f_entropy, b_entropy, known in zip(sentences, *parts):
            yield SentenceScores(
                forward=f[:-1].copy(),
                backward=b[1:].copy(),
                forward_entropy=f_entropy[:-1].copy(),
                backward_entropy=b_entropy[1:].copy(),
                end=float(f[-1]),
                begin=float(b[0]),
                end_entropy=float(f_entropy[-1]),
                begin_entropy=float(b_entropy[0]),
                known=known[:-1].copy(),
            )

    def _prepare(self, dtype: torch.dtype) -> PreparedSoftmax:
        """Return the packed output layer. It is packed again if the weights have
        changed, as far as PyTorch counts changes."""
        dtype = torch.float32 if dtype == torch.int8 else dtype
        fitted = dtype, fingerprint(self.output_layer, 0)
        if self._packed is None or self._packed.fitted != fitted:
            weights = [each.detach() for each in self.output_layer.parameters()]
            softmax = self.output_layer.prepare(dtype)
            self._packed = _Packed(softmax, fitted, weights)
        return self._packed.softmax
