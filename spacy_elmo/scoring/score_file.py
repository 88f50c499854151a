"""Files of scores with one row per word: CSV, JSON lines or Parquet."""

import csv
import json
import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import (
    Any,
    Callable,
    Dict,
    Iterable,
    Iterator,
    List,
    NamedTuple,
    Sequence,
    TextIO,
)

import numpy as np

from ..files import check_pyarrow
from ..resumable_output import Parts
from ..text.documents import DocumentSentence
from .scorer import Scorer
from .sentence_scores import SentenceScores

WORDS_PER_PART = 1 << 14
"""A run that is killed loses the words of one part. Joining takes longer the more parts
there are."""

_ROWS_PER_GROUP = 1 << 17
"""Rows per row group of a Parquet file."""

COLUMNS = {
    "document": "int64",
    "sentence": "int64",
    "index": "int64",
    "text": "string",
    "forward_log_prob": "float32",
    "backward_log_prob": "float32",
    "forward_entropy": "float32",
    "backward_entropy": "float32",
    "known": "bool",
}
"""Names and types of the columns."""

Table = Dict[str, List[Any]]


class Format(NamedTuple):
    """How tables are written.

    write (Callable[[Path, Table], None]): Writes a part.
    join (Callable[[Path, Sequence[Path]], None]): Writes the output from its parts.
    """

    write: Callable[[Path, Table], None]
    join: Callable[[Path, Sequence[Path]], None]


def select_format(output: Path) -> Format:
    """Select the format of a file by its extension.

    RAISES: ValueError if the extension is unknown, or if pyarrow, which writes Parquet,
        is not installed.
    """
    suffix = output.suffix.lower()
    if suffix not in FORMATS:
        raise ValueError(
            f"{output}: expected a file name ending in {', '.join(FORMATS)}, found "
            f"{suffix or 'no ending'!r}."
        )
    if suffix == ".parquet":
        check_pyarrow(output)
    return FORMATS[suffix]


def write_scores(
    output: Path,
    parts: "Parts[DocumentSentence]",
    scorer: Scorer,
    sentences: Iterable[DocumentSentence],
    *,
    bits: bool = False,
    words_per_part: int = WORDS_PER_PART,
    **settings: Any,
) -> int:
    """Score sentences and write a row per word, in order.

    output (Path): The file to write. Its extension selects the format.
    parts (Parts): The parts of the file that are complete.
    scorer (Scorer): The language model.
    sentences (Iterable[DocumentSentence]): All sentences of the input; those in
        complete parts are skipped.
    bits (bool): Whether values are in bits instead of nats.
    words_per_part (int): Approximate number of words that are in memory at a time.
    **settings: Passed to `Scorer.log_probs`.
    RETURNS (int): Number of sentences.
    """
    file_format = select_format(output)
    for group in _groups(parts.remaining(sentences), words_per_part):
        scores = scorer.log_probs([sentence.words for sentence in group], **settings)
        table = make_table(group, [s.in_bits() for s in scores] if bits else scores)
        with parts.add(group) as path:
            file_format.write(path, table)
    with parts.join(output) as path:
        file_format.join(path, parts.paths)
    return parts.n_items


def make_table(
    sentences: Sequence[DocumentSentence], scores: Sequence[SentenceScores]
) -> Table:
    """Make a table with a row per word.

    RETURNS (Dict[str, List[Any]]): The values of each column of COLUMNS.
    """
    lengths = [len(sentence.words) for sentence in sentences]
    documents = np.repeat([sentence.document for sentence in sentences], lengths)
    numbers = np.repeat([sentence.sentence for sentence in sentences], lengths)
    names = ("forward", "backward", "forward_entropy", "backward_entropy", "known")
    values = [[x for s in scores for x in getattr(s, name)] for name in names]
    return {
        "document": documents.tolist(),
        "sentence": numbers.tolist(),
        "index": [index for sentence in sentences for index in sentence.indices],
        "text": [word for sentence in sentences for word in sentence.words],
        **dict(zip(list(COLUMNS)[4:], values)),
    }


def _groups(
    sentences: Iterable[DocumentSentence], n_words: int
) -> Iterator[List[DocumentSentence]]:
    group: List[DocumentSentence] = []
    size = 0
    for sentence in sentences:
        group.append(sentence)
        size += len(sentence.words)
        if size >= n_words:
            yield group
            group, size = [], 0
    if group:
        yield group


def _rows(table: Table) -> Iterator[List[Any]]:
    """Rows of values as JSON and CSV represent them, with the fewest digits that give
    the same float32."""
    columns: List[List[Any]] = []
    for name, kind in COLUMNS.items():
        values = table[name]
        if kind == "float32":
            values = [float(str(value)) for value in values]
        elif kind == "bool":
            values = [bool(value) for value in values]
        columns.append(values)
    yield from map(list, zip(*columns))


def _csv_writer(file: TextIO) -> Any:
    # Words may contain a carriage return, which only newer Python versions quote.
    return csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)


def _write_csv(path: Path, table: Table) -> None:
    with path.open("w", encoding="utf8", newline="") as file:
        _csv_writer(file).writerows(_rows(table))


def _join_csv(path: Path, parts: Sequence[Path]) -> None:
    with path.open("w", encoding="utf8", newline="") as file:
        _csv_writer(file).writerow(COLUMNS)
    _append(path, parts)


def _write_json_lines(path: Path, table: Table) -> None:
    with path.open("w", encoding="utf8", newline="") as file:
        for row in _rows(table):
            record = dict(zip(COLUMNS, row))
            file.write(json.dumps(record, ensure_ascii=False) + "\n")


def _append(path: Path, parts: Sequence[Path]) -> None:
    with path.open("ab") as output:
        for part in parts:
            with part.open("rb") as file:
                shutil.copyfileobj(file, output)


def _write_parquet(path: Path, table: Table) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrays = [pa.array(table[name], kind) for name, kind in COLUMNS.items()]
    pq.write_table(pa.table(arrays, schema=_schema()), path)


def _join_parquet(path: Path, parts: Sequence[Path]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with ExitStack() as stack:
        writer = stack.enter_context(pq.ParquetWriter(path, _schema()))
        tables: List[Any] = []
        for number, part in enumerate(parts, start=1):
            tables.append(pq.read_table(part))
            n_rows = sum(table.num_rows for table in tables)
            if n_rows >= _ROWS_PER_GROUP or number == len(parts):
                writer.write_table(pa.concat_tables(tables), row_group_size=n_rows)
                tables = []


def _schema() -> Any:
    import pyarrow as pa

    return pa.schema(list(COLUMNS.items()))


FORMATS = {
    ".csv": Format(_write_csv, _join_csv),
    ".jsonl": Format(_write_json_lines, _append),
    ".parquet": Format(_write_parquet, _join_parquet),
}
"""Formats by extension."""
