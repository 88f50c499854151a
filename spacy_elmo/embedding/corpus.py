"""A corpus -> blocks of vectors, written in parts."""

from collections import deque
from typing import (
    Any,
    Callable,
    Deque,
    Dict,
    Iterable,
    Iterator,
    List,
    NamedTuple,
    Optional,
)

import numpy as np

from ..bilm import BiLM
from ..resumable_output import Parts
from ..text.documents import DocumentSentence
from .columns import Columns, mix_layers
from .encoding import encode_stream
from .threads import write_behind
from .vector_formats import Block, write_block, write_parquet

PART_BYTES = 1 << 26
"""Approximate size of the vectors in a part. Two parts are in memory at a time: one is
written while the next is encoded."""


class EncodedGroup(NamedTuple):
    """Consecutive sentences and their vectors.

    sentences (List[DocumentSentence]): The sentences.
    vectors (Dict[str, List[ndarray]]): The array of each sentence, of shape (n_words,
        width), by the name of the column.
    """

    sentences: List[DocumentSentence]
    vectors: Dict[str, List[np.ndarray]]

    def to_block(self) -> Block:
        """Concatenate the arrays."""
        return Block(
            [sentence.document for sentence in self.sentences],
            [sentence.sentence for sentence in self.sentences],
            [sentence.words for sentence in self.sentences],
            {name: np.concatenate(arrays) for name, arrays in self.vectors.items()},
        )


class Written(NamedTuple):
    """What a run has written, without the parts of earlier runs."""

    n_sentences: int
    n_words: int


def write_parts(
    parts: "Parts[DocumentSentence]",
    bilm: BiLM,
    sentences: Iterable[DocumentSentence],
    columns: Columns,
    *,
    dtype: str = "float32",
    parquet: bool = True,
    compress: bool = False,
    part_bytes: int = PART_BYTES,
    add: Optional[Callable[[Block], None]] = None,
    **settings: Any,
) -> Written:
    """Encode a corpus and write its vectors, in order.

    parts (Parts): The parts that are complete.
    bilm (BiLM): The network.
    sentences (Iterable[DocumentSentence]): All sentences of the input; those in
        complete parts are skipped.
    columns (Columns): What to write.
    dtype (str): "float32" or "float16".
    parquet (bool): Whether parts are Parquet files, or NumPy archives to be joined.
    compress (bool): Whether to compress Parquet files.
    part_bytes (int): Approximate size of the vectors in a part.
    add (Optional[Callable]): Called with the block of each part once it is written.
    settings: For `encode_stream`.
    RETURNS (Written): What was written.
    RAISES: ValueError if a value is too large for float16.
    """
    n_sentences = n_words = 0

    def write(group: EncodedGroup) -> None:
        nonlocal n_sentences, n_words
        block = group.to_block()
        with parts.add(group.sentences) as path:
            if parquet:
                write_parquet(path, block, compress=compress)
            else:
                write_block(path, block)
        if add is not None:
            add(block)
        n_sentences += len(block.words)
        n_words += sum(map(len, block.words))

    remaining = parts.remaining(sentences)
    groups = encode_groups(
        bilm, remaining, columns, dtype=dtype, group_bytes=part_bytes, **settings
    )
    write_behind(groups, write)
    return Written(n_sentences, n_words)


def encode_groups(
    bilm: BiLM,
    sentences: Iterable[DocumentSentence],
    columns: Columns,
    *,
    dtype: str,
    group_bytes: int = PART_BYTES,
    **settings: Any,
) -> Iterator[EncodedGroup]:
    """Encode sentences in groups whose vectors have about the same size.

    group_bytes (int): Approximate size of the vectors of a group. The other parameters
        are those of `write_parts`.
    YIELDS (EncodedGroup): Sentences and their vectors.
    """
    pending: Deque[DocumentSentence] = deque()
    group = EncodedGroup([], {name: [] for name in columns})
    n_bytes = 0

    def words_of_sentences() -> Iterator[List[str]]:
        for sentence in sentences:
            pending.append(sentence)
            yield sentence.words

    for _, layers in encode_stream(bilm, words_of_sentences(), **settings):
        group.sentences.append(pending.popleft())
        for name, weights in columns.items():
            array = _convert(mix_layers(layers, weights), dtype)
            group.vectors[name].append(array)
            n_bytes += array.nbytes
        if n_bytes >= group_bytes:
            yield group
            group, n_bytes = EncodedGroup([], {name: [] for name in columns}), 0
    if group.sentences:
        yield group


def _convert(array: np.ndarray, dtype: str) -> np.ndarray:
    with np.errstate(over="ignore"):  # reported below
        converted = array.astype(dtype)
    if not np.isfinite(converted).all():
        raise ValueError(
            f"vectors: expected values within the range of {dtype}, found "
            f"{np.abs(array).max():g}. Write float32 instead, without --half."
        )
    return converted
