"""Splitting docs into the sentences that the biLM reads, and back."""

import warnings
from typing import Iterator, List, NamedTuple, Sequence

import numpy as np
from spacy.attrs import IS_SPACE, SENT_START
from spacy.tokens import Doc
from thinc.api import Ops
from thinc.types import Floats3d

from ..text.documents import split_evenly

MAX_WINDOWS = 8
"""Maximum sentence length, in windows. Anything longer is text whose boundaries were
missed, and is split."""

MISMATCH = """\
{name!r}: expected the same sentence segmentation in training and in prediction, found
training docs without sentence boundaries and other docs with them. The heads are
trained on vectors that differ from those at prediction time. Add the component that
sets the boundaries to [training] annotating_components and, unless it is trained too,
to frozen_components."""


class SentenceBatch(NamedTuple):
    """The words of a batch of docs, without whitespace tokens.

    sentences (List[List[str]]): The sentences of all docs, in order.
    n_words (List[int]): Number of words per doc.
    is_word (List[ndarray]): Per doc, which of its tokens are words, bool of shape
        (n_tokens,).
    """

    sentences: List[List[str]]
    n_words: List[int]
    is_word: List[np.ndarray]

    def to_docs(self, ops: Ops, layers: Floats3d) -> List[Floats3d]:
        """Distribute the layers of all words over the docs' tokens.

        ops (Ops): Thinc's backend.
        layers (Floats3d): Shape (n_layers + 1, n_words, width).
        RETURNS (List[Floats3d]): Shape (n_layers + 1, n_tokens, width) per doc, zeros
            for whitespace tokens.
        """
        n_layers, _, width = layers.shape
        outputs: List[Floats3d] = []
        start = 0
        for n_words, is_word in zip(self.n_words, self.is_word):
            part = layers[:, start : start + n_words]
            if n_words < len(is_word):
                output = ops.alloc3f(n_layers, len(is_word), width)
                output[:, ops.xp.asarray(is_word)] = part
            elif len(self.n_words) == 1:
                output = ops.xp.ascontiguousarray(part)
            else:
                # A copy, because a view would keep the whole batch alive with each doc.
                output = part.copy()
            outputs.append(output)
            start += n_words
        return outputs

    def from_docs(self, ops: Ops, arrays: Sequence[Floats3d]) -> Floats3d:
        """Collect the rows of the words from one array per doc. Inverts `to_docs`."""
        xp = ops.xp
        pairs = zip(arrays, self.is_word)
        parts = [array[:, xp.asarray(is_word)] for array, is_word in pairs]
        return xp.ascontiguousarray(xp.concatenate(parts, axis=1))


def split_sentences(docs: Sequence[Doc], window: int) -> SentenceBatch:
    """Split docs at their sentence boundaries, or into windows if they have none.

    Whitespace tokens are left out: no biLM saw any in training, so they neither receive
    context nor give their neighbors any.

    docs (Sequence[Doc]): The docs.
    window (int): Maximum sentence length for docs without sentence boundaries, and an
        eighth of the maximum for other docs. Longer text is split
        evenly, so that no word is left alone at the end.
    RETURNS (SentenceBatch): The words, and how they map to the docs' tokens.
    """
    sentences: List[List[str]] = []
    masks: List[np.ndarray] = []
    for doc in docs:
        attributes = doc.to_array([IS_SPACE, SENT_START])
        is_word = attributes[:, 0] == 0
        words = [token.text for token in doc if not token.is_space]
        masks.append(is_word)
        starts, max_length = [0], window
        if doc.has_annotation("SENT_START"):
            is_start = attributes[:, 1] == 1
            if "sents" in doc.user_hooks:
                is_start[[sentence.start for sentence in doc.sents]] = True
            # The first word of a sentence may follow whitespace that starts it.
            numbers = np.cumsum(is_start)[is_word]
            starts += (np.flatnonzero(np.diff(numbers)) + 1).tolist()
            max_length = MAX_WINDOWS * window
        for start, end in zip(starts, [*starts[1:], len(words)]):
            sentences += split_evenly(words[start:end], max_length)
    return SentenceBatch(sentences, [int(mask.sum()) for mask in masks], masks)


def group_docs(docs: Sequence[Doc], max_tokens: int) -> Iterator[List[Doc]]:
    """Group consecutive docs into batches of at most `max_tokens` tokens. A longer doc
    gets its own batch."""
    group: List[Doc] = []
    n_tokens = 0
    for doc in docs:
        if group and n_tokens + len(doc) > max_tokens:
            yield group
            group, n_tokens = [], 0
        group.append(doc)
        n_tokens += len(doc)
    if group:
        yield group


class SegmentationCheck:
    """Warns if training and prediction docs are segmented differently: a word's vectors
    depend on its sentence."""

    def __init__(self) -> None:
        self._unsegmented_training = False
        self._has_warned = False

    def see_training_docs(self, docs: Sequence[Doc]) -> None:
        self._unsegmented_training = self._unsegmented_training or any(
            len(doc) > 1 and not doc.has_annotation("SENT_START") for doc in docs
        )

    def see_other_docs(self, docs: Sequence[Doc], name: str) -> None:
        """Warn once if any of these docs has several sentences although the training
        docs had no boundaries.

        docs (Sequence[Doc]): Docs of prediction, which includes evaluation.
        name (str): The component's name.
        """
        if not self._unsegmented_training or self._has_warned:
            return
        if any(_has_several_sentences(doc) for doc in docs):
            self._has_warned = True
            warnings.warn(MISMATCH.format(name=name), UserWarning, stacklevel=3)


def _has_several_sentences(doc: Doc) -> bool:
    if not doc.has_annotation("SENT_START"):
        return False
    return int((doc.to_array([SENT_START]) == 1).sum()) > 1
