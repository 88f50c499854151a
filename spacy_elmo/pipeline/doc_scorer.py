"""Scores docs with the layers that the component has computed anyway."""

from typing import List, Optional, Sequence, Tuple

import torch
from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats3d
from thinc.util import xp2torch

from ..bilm import BiLM
from ..bilm.precision import resolve_precision
from ..bilm.prepared_weights import Fingerprint
from ..formats import output_layer
from ..layers.doc_sentences import split_sentences
from ..layers.elmo_model import DocLayers, get_bilm, get_source
from ..scoring.sentence_scores import SentenceScores
from ..scoring.word_scores import Boundaries, TopLayerScorer, compute_boundaries
from .scores import set_scores

NO_OUTPUT_LAYER = (
    "score = true: expected weights with an output layer, found a biLM without one. "
    "Load both: with spacy_elmo.PretrainedWeights.v1 and the path of a model-best that "
    "`elmo pretrain` wrote, or with "
    'nlp.get_pipe("elmo").set_scorer(Scorer.load(path)). Published weights have none: '
    "`elmo pretrain` with initialize.weights and initialize.softmax_steps trains an "
    "output layer for them. Or set score = false."
)


class DocScorer:
    """The output layer of the component's language model.

    scorer (Optional[TopLayerScorer]): An attribute: None until it is first needed, if
        it comes with the weights.
    """

    def __init__(self) -> None:
        self.scorer: Optional[TopLayerScorer] = None
        self._boundaries: Optional[Tuple[Fingerprint, torch.dtype, Boundaries]] = None

    def load(self, model: Model[List[Doc], DocLayers]) -> TopLayerScorer:
        """Get the output layer, which is read from the source of the biLM's weights
        when it is first needed.

        model (Model[List[Doc], List[Floats3d]]): The component's model.
        RAISES: ValueError if there is no output layer.
        """
        if self.scorer is None:
            bilm = get_bilm(model)
            source = get_source(model)
            read = getattr(source, "output_layer", None)
            if read is None:
                raise ValueError(NO_OUTPUT_LAYER)
            stored = read(bilm.config.projection_dim)
            self.scorer = TopLayerScorer(stored.softmax, stored.vocabulary.words)
        return self.scorer

    @torch.no_grad()
    def annotate(
        self,
        model: Model[List[Doc], DocLayers],
        docs: Sequence[Doc],
        layers: Sequence[Floats3d],
    ) -> None:
        """Put scores on docs.

        model (Model[List[Doc], List[Floats3d]]): The component's model.
        docs (Sequence[Doc]): The docs.
        layers (Sequence[Floats3d]): Their layers, of shape (n_layers + 1, n_tokens,
            width).
        RAISES: ValueError if there is no output layer.
        """
        scorer = self.load(model)
        bilm = get_bilm(model)
        reading = model.attrs["reading"]
        batch = split_sentences(docs, reading.window)
        top = xp2torch(
            batch.from_docs(model.ops, [each[-1:] for each in layers])[0],
            device=bilm.device,
        )
        scorer.output_layer.to(bilm.device)
        dtype = resolve_precision(reading.precision, bilm.device)
        boundaries = self._get_boundaries(bilm, dtype)
        scores = scorer.score(batch.sentences, top, boundaries, dtype)
        for doc, n_words, is_word in zip(docs, batch.n_words, batch.is_word):
            sentences: List[SentenceScores] = []
            while n_words:
                sentences.append(next(scores))
                n_words -= len(sentences[-1].known)
            set_scores(doc, sentences, is_word)

    def to_bytes(self, model: Model[List[Doc], DocLayers]) -> bytes:
        """Serialize the output layer."""
        scorer = self.load(model)
        return output_layer.to_bytes(scorer.output_layer, scorer.words)

    def from_bytes(self, data: bytes) -> None:
        """Load what `to_bytes` returned."""
        self.scorer = TopLayerScorer(*output_layer.from_bytes(data))

    def _get_boundaries(self, bilm: BiLM, dtype: torch.dtype) -> Boundaries:
        fingerprint = bilm.fingerprint()
        if self._boundaries is None or self._boundaries[:2] != (fingerprint, dtype):
            self._boundaries = (fingerprint, dtype, compute_boundaries(bilm, dtype))
        return self._boundaries[2]
