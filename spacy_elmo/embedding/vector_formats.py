"""Files of vectors: Parquet, HDF5 in the layout of AllenNLP's `elmo` command, NumPy."""

import json
import zipfile
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Sequence

import numpy as np

from ..files import check_pyarrow
from ..formats.hdf5 import import_h5py
from ..formats.hdf5_writer import write_hdf5

HDF5_SUFFIXES = (".hdf5", ".h5")
NUMPY_SUFFIX = ".npz"
PARQUET_SUFFIX = ".parquet"
INDEX = "sentence_to_index"
WORDS = "words"


class Block(NamedTuple):
    """Consecutive sentences with their vectors.

    documents (List[int]): Number of each sentence's document.
    sentences (List[int]): Number of each sentence in its document.
    words (List[List[str]]): The words of each sentence.
    columns (Dict[str, ndarray]): Vectors of all words, each of shape (n_words, width).
    """

    documents: List[int]
    sentences: List[int]
    words: List[List[str]]
    columns: Dict[str, np.ndarray]


def is_dataset(output: Path) -> bool:
    """Check whether vectors are written as a folder of Parquet files or as one file.

    RAISES: ValueError if the extension of the output is unknown, or the package that
        writes it is not installed.
    """
    suffix = output.suffix.lower()
    if suffix in HDF5_SUFFIXES:
        try:
            import_h5py()
        except ImportError as error:
            raise ValueError(str(error)) from error
    elif suffix in ("", PARQUET_SUFFIX):
        check_pyarrow(output)
        return True
    elif suffix != NUMPY_SUFFIX:
        raise ValueError(
            f"{output}: expected a folder for Parquet files, without an extension or "
            f"ending in {PARQUET_SUFFIX}, or a file ending in .hdf5 or .h5 (HDF5) or "
            f"{NUMPY_SUFFIX} (NumPy), found {suffix!r}."
        )
    return False


def write_parquet(path: Path, block: Block, *, compress: bool) -> None:
    """Write a Parquet file of a single block. See `ParquetBlocks`."""
    with ParquetBlocks(path, compress=compress) as file:
        file.write(block)


class ParquetBlocks:
    """Writes a Parquet file with one row per sentence, a block at a time. Vectors are
    lists of fixed-size lists, one per word.

    path (Path): The file.
    compress (bool): Whether to compress with Zstandard.
    """

    def __init__(self, path: Path, *, compress: bool) -> None:
        self._path = path
        self._compress = compress
        self._writer: Any = None

    def write(self, block: Block) -> None:
        """Write the rows of a block, at least one in all. The first one determines the
        columns."""
        table = _make_table(block)
        if self._writer is None:
            import pyarrow.parquet as pq

            self._writer = pq.ParquetWriter(
                self._path,
                table.schema,
                compression="zstd" if self._compress else "none",
                use_dictionary=[f"{WORDS}.list.element"],
                use_byte_stream_split=self._compress,
                write_statistics=["document", "sentence"],
            )
        self._writer.write_table(table)

    def __enter__(self) -> "ParquetBlocks":
        return self

    def __exit__(self, *exception: object) -> None:
        if self._writer is not None:
            self._writer.close()


def _make_table(block: Block) -> Any:
    import pyarrow as pa

    lengths = [len(words) for words in block.words]
    offsets = pa.array(np.cumsum([0, *lengths]).astype(np.int32))

    def list_array(values: Any, item: Any) -> Any:
        # Values that cannot be null are written several times as fast.
        kind = pa.list_(pa.field("element", item, nullable=False))
        return pa.ListArray.from_arrays(offsets, values, type=kind)

    words = [word for sentence in block.words for word in sentence]
    arrays = {
        "document": pa.array(block.documents, pa.int64()),
        "sentence": pa.array(block.sentences, pa.int64()),
        WORDS: list_array(pa.array(words, pa.string()), pa.string()),
    }
    for name, matrix in block.columns.items():
        number = pa.field("element", pa.from_numpy_dtype(matrix.dtype), nullable=False)
        vector = pa.list_(number, matrix.shape[1])
        flat = pa.array(matrix.reshape(-1))
        vectors = pa.FixedSizeListArray.from_arrays(flat, type=vector)
        arrays[name] = list_array(vectors, vector)
    fields = [
        pa.field(name, array.type, nullable=False) for name, array in arrays.items()
    ]
    return pa.table(list(arrays.values()), schema=pa.schema(fields))


def write_block(path: Path, block: Block) -> None:
    """Write a block as a NumPy archive, the part of a joined file.

    RAISES: ValueError if a word contains a line break, which separates the words.
    """
    for document, words in zip(block.documents, block.words):
        for word in words:
            if "\n" in word:
                raise ValueError(
                    f"document {document}: expected words without line breaks, found "
                    f"{word!r}, which only Parquet can store. Write Parquet, or change "
                    "the tokenization."
                )
    lines = "\n".join(word for sentence in block.words for word in sentence)
    arrays: Dict[str, Any] = {
        "documents": np.asarray(block.documents, dtype=np.int64),
        "sentences": np.asarray(block.sentences, dtype=np.int64),
        "lengths": np.asarray([len(words) for words in block.words], dtype=np.int64),
        WORDS: np.frombuffer(lines.encode("utf8", "surrogatepass"), dtype=np.uint8),
        **block.columns,
    }
    with path.open("wb") as file:
        np.savez(file, **arrays)


def read_block(path: Path) -> Block:
    """Read what `write_block` wrote."""
    with np.load(path) as arrays:
        columns = dict(arrays)
    ends = np.cumsum(columns.pop("lengths")).tolist()
    lines = columns.pop(WORDS).tobytes().decode("utf8", "surrogatepass").split("\n")
    return Block(
        columns.pop("documents").tolist(),
        columns.pop("sentences").tolist(),
        [lines[start:end] for start, end in zip([0, *ends], ends)],
        columns,
    )


@contextmanager
def open_hdf5(
    path: Path, *, compress: bool, index: bool
) -> Iterator[Callable[[Block], None]]:
    """Create an HDF5 file.

    Each sentence is a dataset ("0", "1", ...) of shape (n_columns, n_words, width), or
    (n_words, width) for a single layer. In addition to AllenNLP's layout, it has the
    attribute "words", a JSON list.

    path (Path): The file.
    compress (bool): Whether to compress with gzip.
    index (bool): Also write the dataset "sentence_to_index": a string, JSON that maps
        each sentence, its words joined by spaces, to its number, or to the last one if
        it is repeated. It is held in memory until the end.
    YIELDS (Callable): Adds the sentences of a block.
    """
    sentence_to_index: Dict[str, str] = {}
    compression = "gzip" if compress else None
    numbers = count()

    with write_hdf5(path) as file:

        def add(block: Block) -> None:
            end = 0
            for words in block.words:
                start, end = end, end + len(words)
                layers = [matrix[start:end] for matrix in block.columns.values()]
                array = layers[0] if len(layers) == 1 else np.stack(layers)
                text = json.dumps(words, ensure_ascii=False)
                number = str(next(numbers))
                file.add(number, array, compression, words=text)
                if index:
                    sentence_to_index[" ".join(words)] = number

        yield add
        if index:
            strings = np.asarray([json.dumps(sentence_to_index)], dtype=object)
            file.add(INDEX, strings)


def join_numpy(path: Path, parts: Sequence[Path], *, compress: bool) -> None:
    """Write a NumPy archive from its parts, one array at a time: those of all sentences
    ("documents", "sentences", "lengths"), "words" as UTF-8 with newlines in between,
    and the vectors of all words."""
    compression = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
    with np.load(parts[0]) as first:
        names = first.files
    with zipfile.ZipFile(path, "w", compression, allowZip64=True) as archive:
        for name in names:
            n_rows = sum(len(array) for array in _arrays(parts, name))
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                for number, array in enumerate(_arrays(parts, name)):
                    if number == 0:
                        header = {
                            "descr": np.lib.format.dtype_to_descr(array.dtype),
                            "fortran_order": False,
                            "shape": (n_rows, *array.shape[1:]),
                        }
                        np.lib.format.write_array_header_2_0(file, header)
                    file.write(np.ascontiguousarray(array).data.cast("B"))


def _arrays(parts: Sequence[Path], name: str) -> Iterator[np.ndarray]:
    for number, part in enumerate(parts):
        with np.load(part) as arrays:
            array = arrays[name]
        if name == WORDS and number < len(parts) - 1:
            array = np.append(array, np.uint8(ord("\n")))
        yield array
