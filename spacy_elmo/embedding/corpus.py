"""A corpus -> blocks of vectors, written in parts."""

from collections import deque
from typing import Any, Deque, Dict, Iterable, Iterator, List, NamedTuple, Tuple

import numpy as np

from ..bilm import BiLM
from ..parts import Parts
from ..text.documents import DocumentSentence
from .columns import Columns, mix_layers
from .encoding import encode_stream
from .vector_file import Block, write_block, write_parquet

PART_BYTES = 1 << 26
"""Approximate size of the vectors in a part, which are in memory at a time."""


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
    settings: For `encode_stream`.
    RETURNS (Written): What was written.
    RAISES: ValueError if a value is too large for float16.
    """
    n_sentences = n_words = 0
    remaining = parts.remaining(sentences)
    for group, block in encode_blocks(
        bilm, remaining, columns, dtype=dtype, part_bytes=part_bytes, **settings
    ):
        with parts.add(group) as path:
            if parquet:
                write_parquet(path, block, compress=compress)
            else:
                write_block(path, block)
        n_sentences += len(group)
        n_words += sum(map(len, block.words))
    return Written(n_sentences, n_words)


def encode_blocks(
    bilm: BiLM,
    sentences: Iterable[DocumentSentence],
    columns: Columns,
    *,
    dtype: str,
    part_bytes: int,
    **settings: Any,
) -> Iterator[Tuple[List[DocumentSentence], Block]]:
    """Encode sentences, and group them into blocks of about the same size.

    YIELDS (Tuple[List[DocumentSentence], Block]): Sentences and their vectors.
    """
    pending: Deque[DocumentSentence] = deque()
    group: List[DocumentSentence] = []
    arrays: Dict[str, List[np.ndarray]] = {name: [] for name in columns}
    n_bytes = 0

    def words_of_sentences() -> Iterator[List[str]]:
        for sentence in sentences:
            pending.append(sentence)
            yield sentence.words

    for _, layers in encode_stream(bilm, words_of_sentences(), **settings):
        group.append(pending.popleft())
        for name, weights in columns.items():
            array = _convert(mix_layers(layers, weights), dtype)
            arrays[name].append(array)
            n_bytes += array.nbytes
        if n_bytes >= part_bytes:
            yield group, _make_block(group, arrays)
            group, arrays, n_bytes = [], {name: [] for name in columns}, 0
    if group:
        yield group, _make_block(group, arrays)


def _make_block(
    group: List[DocumentSentence], arrays: Dict[str, List[np.ndarray]]
) -> Block:
    return Block(
        [sentence.document for sentence in group],
        [sentence.sentence for sentence in group],
        [sentence.words for sentence in group],
        {name: np.concatenate(rows) for name, rows in arrays.items()},
    )


def _convert(array: np.ndarray, dtype: str) -> np.ndarray:
    with np.errstate(over="ignore"):  # reported below
        converted = array.astype(dtype)
    if not np.isfinite(converted).all():
        raise ValueError(
            f"vectors: expected values within the range of {dtype}, found "
            f"{np.abs(array).max():g}. Write float32 instead, without --half."
        )
    return converted
