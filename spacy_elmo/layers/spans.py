"""Docs -> the sentences that the biLM reads."""

from typing import Iterator, List, NamedTuple, Sequence

import numpy as np
from spacy.attrs import IS_SPACE, SENT_START
from spacy.tokens import Doc

LONGEST = 8
"""Windows: a longer sentence is none, but text in which no end of one was found."""


class Words(NamedTuple):
    """The words of a batch of docs, white space left out.

    sentences: of words; those of a doc follow each other.
    n_words: of each doc.
    is_word: for each doc, which of its tokens are words, (n_tokens,) bool.
    """

    sentences: List[List[str]]
    n_words: List[int]
    is_word: List[np.ndarray]


def get_words(docs: Sequence[Doc], window: int) -> Words:
    """Cut docs into sentences where they have sentence boundaries, else into windows.

    A token of white space is no word: no biLM has seen one in training, so it gives
    its neighbours no context and gets none.

    window: the most words of a stretch of a doc without sentence boundaries, and an
        eighth of the most words of a sentence. Stretches are of nearly one length, so
        that no word is left alone at the end.
    """
    sentences: List[List[str]] = []
    masks: List[np.ndarray] = []
    for doc in docs:
        attributes = doc.to_array([IS_SPACE, SENT_START])
        is_word = attributes[:, 0] == 0
        words = [token.text for token in doc if not token.is_space]
        masks.append(is_word)
        if doc.has_annotation("SENT_START"):
            is_start = attributes[:, 1] == 1
            # The first word of a sentence may follow white space that starts it.
            number = np.cumsum(is_start)[is_word]
            cuts = (np.flatnonzero(np.diff(number)) + 1).tolist()
            longest = LONGEST * window
        else:
            cuts, longest = [], window
        sentences.extend(_split(words, cuts, longest))
    return Words(sentences, [int(mask.sum()) for mask in masks], masks)


def _split(words: List[str], cuts: List[int], longest: int) -> Iterator[List[str]]:
    for start, end in zip([0, *cuts], [*cuts, len(words)]):
        length = end - start
        n_parts = -(-length // longest)
        ends = [start + length * i // n_parts for i in range(1, n_parts + 1)]
        for first, last in zip([start, *ends], ends):
            yield words[first:last]
