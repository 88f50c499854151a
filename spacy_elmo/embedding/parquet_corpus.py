"""Row groups of a Parquet corpus -> Parquet files of vectors, in any order and by any
number of processes.

A row group is written to a file of its own, whose name follows from the row group's
place in the corpus and which appears when it is complete. Embedding one again replaces
its file, so a process that is killed loses no sentence and doubles none.
"""

import hashlib
import json
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Sequence

import numpy as np

from ..bilm import BiLM
from ..files import remove_parts, replace_file, write_json
from ..lock import lock_folder
from ..resumable_output import DATASET_STATE, list_changes
from ..text.documents import MAX_WORDS, split_texts
from ..text.tokenization import Tokenization
from .columns import Columns
from .corpus import EncodedGroup, Written, encode_groups
from .threads import write_behind
from .vector_formats import PARQUET_SUFFIX, Block, ParquetBlocks

READ_ROWS = 256
"""Documents to read at a time."""


class RowGroup(NamedTuple):
    """A row group of a corpus. Each row is a document.

    number (int): Its number in the corpus, which names its output.
    path (str): Its file.
    group (int): Its number in the file.
    first_document (int): Number of its first document in the corpus.
    n_documents (int): Number of documents.
    n_bytes (int): Size of its data, before compression.
    """

    number: int
    path: str
    group: int
    first_document: int
    n_documents: int
    n_bytes: int

    def output(self, folder: Path) -> Path:
        """The file of its vectors."""
        return folder / f"part-{self.number:06d}{PARQUET_SUFFIX}"


def list_row_groups(corpus: Path, column: str) -> List[RowGroup]:
    """List the row groups of a corpus. Reads the files' metadata only.

    corpus (Path): A Parquet file, or a folder that is searched recursively for .parquet
        files, which are sorted by path.
    column (str): The column of the text.
    RETURNS (List[RowGroup]): The row groups, in order.
    RAISES: ValueError if there are no rows, if a file is not Parquet, or if its column
        of text is missing or not of strings.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    files = [corpus]
    if not corpus.is_file():
        found = corpus.rglob(f"*{PARQUET_SUFFIX}")
        files = sorted(path for path in found if path.is_file())
    groups: List[RowGroup] = []
    n_documents = 0
    for path in files:
        try:
            with pq.ParquetFile(path) as file:
                schema, metadata = file.schema_arrow, file.metadata
        except pa.ArrowInvalid as error:
            raise ValueError(
                f"{path}: expected a Parquet file, found {error}. It is damaged, or of "
                "another format."
            ) from error
        kind = schema.field(column).type if column in schema.names else None
        if kind not in (pa.string(), pa.large_string()):
            raise ValueError(
                f"{path}: expected a column {column!r} of strings, found "
                f"{', '.join(f'{field.name} ({field.type})' for field in schema)}. "
                "Name the column of the text."
            )
        for index in range(metadata.num_row_groups):
            rows = metadata.row_group(index)
            groups.append(
                RowGroup(
                    len(groups),
                    str(path),
                    index,
                    n_documents,
                    rows.num_rows,
                    rows.total_byte_size,
                )
            )
            n_documents += rows.num_rows
    if not n_documents:
        raise ValueError(f"{corpus}: expected Parquet files with rows, found none.")
    return groups


@contextmanager
def open_output(
    folder: Path, groups: Sequence[RowGroup], settings: Dict[str, Any]
) -> Iterator[List[RowGroup]]:
    """Lock the folder of the output, and list the row groups that it lacks.

    folder (Path): The output.
    groups (Sequence[RowGroup]): All row groups.
    settings (Dict[str, Any]): What the output depends on besides the corpus, as JSON
        can represent it.
    YIELDS (List[RowGroup]): The row groups that no earlier run has written.
    RAISES: OSError if another process writes the folder; ValueError if it has other
        files, or if an earlier run had other settings or another corpus.
    """
    sizes = [[Path(group.path).name, *group[2:]] for group in groups]
    corpus = hashlib.blake2b(json.dumps(sizes).encode(), digest_size=16).hexdigest()
    ours = json.loads(json.dumps({"corpus": corpus, **settings}))
    path = folder / DATASET_STATE
    advice = f"Choose another folder, or remove {folder} to start over."
    with lock_folder(folder):
        if path.is_file():
            try:
                found = dict(json.loads(path.read_text(encoding="utf8")))
            except (ValueError, TypeError, RecursionError) as error:
                raise ValueError(
                    f"{path}: expected the JSON that an earlier run wrote, found "
                    f"{error!r}. {advice}"
                ) from error
            changes = list_changes(found, ours)
            if changes:
                raise ValueError(
                    f"{folder}: expected the output of a run with the same settings, "
                    f"found {changes}. {advice}"
                )
        elif any(not p.name.startswith((".", path.name)) for p in folder.iterdir()):
            raise ValueError(
                f"{folder}: expected an empty folder or none, found other files in it. "
                f"{advice}"
            )
        else:
            write_json(path, ours)
        remove_parts(folder)
        yield [group for group in groups if not group.output(folder).is_file()]


class RowGroupEmbedder:
    """Embeds row groups.

    folder (Path): The output.
    bilm (BiLM): The network.
    tokenization (Tokenization): How text becomes sentences; its `text_field` is the
        column of the text.
    columns (Columns): What to write.
    dtype (str): "float32" or "float16".
    compress (bool): Whether to compress the files.
    settings: For `encode_stream`.
    """

    def __init__(
        self,
        folder: Path,
        bilm: BiLM,
        tokenization: Tokenization,
        columns: Columns,
        *,
        dtype: str = "float32",
        compress: bool = False,
        **settings: Any,
    ) -> None:
        self.folder = folder
        self.bilm = bilm
        self.tokenize = tokenization.make_tokenizer()
        self.text_field = tokenization.text_field
        self.columns = columns
        self.dtype = dtype
        self.compress = compress
        self.settings = settings

    def __call__(self, row_group: RowGroup) -> Written:
        """Write the vectors of a row group to its file.

        RETURNS (Written): What was written.
        RAISES: ValueError if a value is too large for float16.
        """
        n_sentences = n_words = 0
        sentences = split_texts(
            self.tokenize,
            self._read(row_group),
            max_words=MAX_WORDS,
            first_document=row_group.first_document,
        )
        groups = encode_groups(
            self.bilm, sentences, self.columns, dtype=self.dtype, **self.settings
        )
        with (
            replace_file(row_group.output(self.folder)) as path,
            ParquetBlocks(path, compress=self.compress) as file,
        ):

            def write(group: EncodedGroup) -> None:
                nonlocal n_sentences, n_words
                block = group.to_block()
                file.write(block)
                n_sentences += len(block.words)
                n_words += sum(map(len, block.words))

            write_behind(groups, write)
            if not n_sentences:
                file.write(self._empty_block())
        return Written(n_sentences, n_words)

    def _read(self, group: RowGroup) -> Iterator[str]:
        import pyarrow.parquet as pq

        with pq.ParquetFile(group.path) as file:
            for batch in file.iter_batches(
                READ_ROWS, row_groups=[group.group], columns=[self.text_field]
            ):
                for text in batch.column(0).to_pylist():
                    yield text or ""  # a null is a document without words

    def _empty_block(self) -> Block:
        empty = np.zeros((0, self.bilm.config.width), dtype=self.dtype)
        return Block([], [], [], dict.fromkeys(self.columns, empty))
