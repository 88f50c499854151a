"""The HDF5 files that AllenNLP's `elmo` command wrote: a dataset a sentence."""

import json
from pathlib import Path
from typing import Dict, Iterable, List, NamedTuple, Tuple, Union

import h5py
import numpy as np

from ..files import replace_file
from .encoding import select_layer

SUFFIXES = (".hdf5", ".h5")
INDEX = "sentence_to_index"
WORDS = "words"


class Written(NamedTuple):
    """What a file holds."""

    n_sentences: int
    n_words: int


def check_target(path: Path, force: bool) -> None:
    """Raises ValueError for a file of another format, FileExistsError where the path
    is not free and not `force`d."""
    if path.suffix not in SUFFIXES:
        raise ValueError(
            f"{path}: expected a name that ends in {' or '.join(SUFFIXES)}, found "
            f"{path.suffix or 'no ending'!r}. The vectors are written as HDF5."
        )
    if path.is_dir() or (path.exists() and not force):
        advice = "" if path.is_dir() else ", or write over it with --force"
        raise FileExistsError(
            f"{path}: expected a path that is free, found something there. Name "
            f"another{advice}."
        )


def write_vectors(
    path: Union[str, Path],
    encoded: Iterable[Tuple[List[str], np.ndarray]],
    *,
    layer: str,
    dtype: str = "float32",
    index: bool = True,
) -> Written:
    """Write the vectors of sentences as they come; the file is there when all are.

    The datasets "0", "1", ... are the sentences, (n_layers + 1, n_words, width), or
    (n_words, width) for a single layer. Beside what AllenNLP wrote, the attribute
    "words" of each is its words as JSON.

    path: the file, in whose place an earlier one is put.
    encoded: sentences with all of their layers.
    layer: what is written of them, see `encoding.select_layer`.
    dtype: "float32" or "float16".
    index: with the dataset "sentence_to_index": one string, JSON of each sentence (its
        words with blanks between) and its number; of sentences that are the same, the
        last one's. The one thing that is in memory until the end.

    Raises ValueError where a number is too large for float16.
    """
    sentence_to_index: Dict[str, str] = {}
    number = n_words = 0
    with replace_file(path) as beside, h5py.File(beside, "w") as file:
        for number, (words, layers) in enumerate(encoded, start=1):
            key = str(number - 1)
            with np.errstate(over="ignore"):  # said below
                array = select_layer(layers, layer).astype(dtype)
            if not np.isfinite(array).all():
                raise ValueError(
                    f"sentence {key}: expected numbers that {dtype} can hold, found "
                    f"up to {np.abs(layers).max():g}. Write float32."
                )
            dataset = file.create_dataset(key, data=array)
            dataset.attrs[WORDS] = json.dumps(words, ensure_ascii=False)
            n_words += len(words)
            if index:
                sentence_to_index[" ".join(words)] = key
        if index:
            strings = file.create_dataset(INDEX, (1,), dtype=h5py.string_dtype())
            strings[0] = json.dumps(sentence_to_index)
    return Written(number, n_words)
