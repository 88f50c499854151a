"""HDF5 files of vectors, in the layout of AllenNLP's `elmo` command."""

import json
from pathlib import Path
from typing import Dict, Iterable, List, NamedTuple, Tuple, Union

import numpy as np

from ..files import replace_file
from ..formats.hdf5 import import_h5py
from .encoding import select_layer

SUFFIXES = (".hdf5", ".h5")
INDEX = "sentence_to_index"
WORDS = "words"


class Written(NamedTuple):
    """The size of a file of vectors."""

    n_sentences: int
    n_words: int


def check_target(path: Path, force: bool) -> None:
    """Check the path of a file to write.

    RAISES: ValueError if its ending is not that of HDF5, FileExistsError if it exists
        and `force` is not set, or if it is a folder.
    """
    if path.suffix not in SUFFIXES:
        raise ValueError(
            f"{path}: expected a file name ending in {' or '.join(SUFFIXES)}, found "
            f"{path.suffix or 'no ending'!r}. Vectors are written as HDF5."
        )
    if path.is_dir():
        raise FileExistsError(f"{path}: expected a file, found a folder. Rename one.")
    if path.exists() and not force:
        raise FileExistsError(
            f"{path}: expected a path that does not exist, found one that does. Choose "
            "another, or overwrite it with --force."
        )


def write_vectors(
    path: Union[str, Path],
    encoded: Iterable[Tuple[List[str], np.ndarray]],
    *,
    layer: str,
    dtype: str = "float32",
    index: bool = True,
) -> Written:
    """Write the vectors of a stream of sentences. The file appears when it is complete.

    Each sentence is a dataset ("0", "1", ...) of shape (n_layers + 1, n_words, width),
    or (n_words, width) for a single layer. In addition to AllenNLP's layout, it has the
    attribute "words", a JSON list.

    path (Union[str, Path]): The file to create or replace.
    encoded (Iterable[Tuple[List[str], ndarray]]): Sentences with all their layers.
    layer (str): The layer to write. See `encoding.select_layer`.
    dtype (str): "float32" or "float16".
    index (bool): Also write the dataset "sentence_to_index": a string, JSON that maps
        each sentence, its words joined by spaces, to its number, or to the last one if
        it is repeated. It is held in memory until the end.
    RETURNS (Written): The number of sentences and words.
    RAISES: ValueError if a value is too large for float16, ImportError if h5py is not
        installed.
    """
    h5py = import_h5py()
    sentence_to_index: Dict[str, str] = {}
    n_sentences = n_words = 0
    with replace_file(path) as part, h5py.File(part, "w") as file:
        for words, layers in encoded:
            key = str(n_sentences)
            with np.errstate(over="ignore"):  # reported below
                array = select_layer(layers, layer).astype(dtype)
            if not np.isfinite(array).all():
                raise ValueError(
                    f"sentence {key}: expected values within the range of {dtype}, "
                    f"found {np.abs(layers).max():g}. Write float32 instead."
                )
            dataset = file.create_dataset(key, data=array)
            dataset.attrs[WORDS] = json.dumps(words, ensure_ascii=False)
            n_sentences += 1
            n_words += len(words)
            if index:
                sentence_to_index[" ".join(words)] = key
        if index:
            strings = file.create_dataset(INDEX, (1,), dtype=h5py.string_dtype())
            strings[0] = json.dumps(sentence_to_index)
    return Written(n_sentences, n_words)
