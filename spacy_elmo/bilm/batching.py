"""Tokenized sentences: checked, and grouped into batches."""

from contextlib import suppress
from typing import AbstractSet, Iterable, Iterator, List, Mapping, Optional, Sequence

import numpy as np

DEFAULT_BATCH_TOKENS = 4096

Sentence = Sequence[str]

_NOT_A_SENTENCE = (
    "{what}: expected a list of words (strings) per sentence, found {found}. Split "
    "text into words first; of a spaCy Doc, use [token.text for token in doc]."
)


def list_sentences(sentences: Iterable[Iterable[str]]) -> List[List[str]]:
    """Read sentences once, in the order of iteration, into lists of words.

    sentences (Iterable[Iterable[str]]): Any iterables, also generators and a pandas
        Series, whose labels are ignored.
    RAISES: TypeError, with its position, if a sentence is a string, a set or a mapping,
        or has items that are not strings.
    """
    if isinstance(sentences, (str, bytes)):
        raise TypeError(_NOT_A_SENTENCE.format(what="sentences", found=repr(sentences)))
    lists: List[List[str]] = []
    for number, sentence in enumerate(sentences):
        words: Optional[List[str]] = None
        if not isinstance(sentence, (str, bytes, AbstractSet, Mapping)):
            with suppress(TypeError):  # not iterable
                words = list(sentence)
        if words is None or not all(isinstance(word, str) for word in words):
            found = f"{type(sentence).__name__} {sentence!r:.60}"
            what = f"sentences, item {number}"
            raise TypeError(_NOT_A_SENTENCE.format(what=what, found=found))
        lists.append(words)
    return lists


def group_by_length(
    sentences: Sequence[Sentence], batch_tokens: int
) -> Iterator[List[int]]:
    """Group sentences of similar length into batches.

    sentences (Sequence[Sequence[str]]): Tokenized sentences.
    batch_tokens (int): Maximum number of tokens per batch, with two boundary tokens per
        sentence. A longer sentence gets its own batch.
    YIELDS (List[int]): Indices of the sentences of a batch, longest first. Empty
        sentences are left out.
    RAISES: ValueError if `batch_tokens` is less than 1.
    """
    if batch_tokens < 1:
        raise ValueError(
            f"batch_tokens: expected a whole number from 1, found {batch_tokens}."
        )
    lengths = np.asarray([len(sentence) for sentence in sentences], dtype=np.int64)
    batch: List[int] = []
    tokens = 0
    for number in np.argsort(-lengths, kind="stable").tolist():
        length = int(lengths[number]) + 2
        if length == 2:
            break
        if batch and tokens + length > batch_tokens:
            yield batch
            batch, tokens = [], 0
        batch.append(number)
        tokens += length
    if batch:
        yield batch
