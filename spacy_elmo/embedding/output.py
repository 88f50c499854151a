"""The output of a corpus: a folder of Parquet files, or a file joined from parts."""

from contextlib import contextmanager
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator

from ..bilm import BiLM
from ..resumable_output import Parts, open_dataset, open_parts
from ..text.documents import DocumentSentence, identify
from .columns import Columns
from .corpus import Written, write_parts
from .vector_formats import (
    NUMPY_SUFFIX,
    PARQUET_SUFFIX,
    is_dataset,
    join_numpy,
    open_hdf5,
    read_block,
)


@contextmanager
def open_vectors(
    output: Path, settings: Dict[str, Any], *, force: bool = False
) -> Iterator["Parts[DocumentSentence]"]:
    """Lock an output, and take over the parts of an earlier run.

    output (Path): A folder or file, as for `is_dataset`.
    settings (Dict[str, Any]): What the output depends on besides the input.
    force (bool): Whether an existing output may be replaced.
    YIELDS (Parts): The parts.
    RAISES: OSError and ValueError, as `open_dataset` and `open_parts` do.
    """
    if is_dataset(output):
        with open_dataset(
            output, settings, identify, PARQUET_SUFFIX, force=force
        ) as parts:
            yield parts
    else:
        with open_parts(output, settings, identify, force=force) as parts:
            yield parts


def write_vectors(
    parts: "Parts[DocumentSentence]",
    output: Path,
    bilm: BiLM,
    sentences: Iterable[DocumentSentence],
    columns: Columns,
    *,
    compress: bool = False,
    index: bool = True,
    **settings: Any,
) -> Written:
    """Write the vectors of a corpus to an output from `open_vectors`.

    parts (Parts): The parts that are complete.
    output (Path): The output.
    bilm (BiLM): The network.
    sentences (Iterable[DocumentSentence]): All sentences of the input.
    columns (Columns): What to write.
    compress (bool): Whether to compress.
    index (bool): As for `open_hdf5`.
    settings: For `write_parts`.
    RETURNS (Written): What was written.
    RAISES: ValueError if a value is too large for float16.
    """
    arguments = (parts, bilm, sentences, columns)
    if is_dataset(output):
        written = write_parts(*arguments, compress=compress, **settings)
        parts.finish()
    elif output.suffix.lower() == NUMPY_SUFFIX:
        written = write_parts(*arguments, parquet=False, **settings)
        with parts.join(output) as path:
            join_numpy(path, parts.paths, compress=compress)
    else:
        with (
            parts.join(output) as path,
            open_hdf5(path, compress=compress, index=index) as add,
        ):
            for part in parts.paths:  # of earlier runs
                add(read_block(part))
            written = write_parts(*arguments, parquet=False, add=add, **settings)
    return written
