"""Text files -> sentences of words, one by one."""

import json
from pathlib import Path
from typing import Callable, Iterator, List, NamedTuple, Optional, Sequence, Union

import numpy as np

from ..files import write_json
from ..formats.checks import WeightsError
from ..pretraining.output.model_folder import META
from ..text.files import CorpusError, find_files, read_chunks
from ..text.tokenizers import (
    END_OF_SENTENCE,
    LINES,
    WHITESPACE,
    Tokenized,
    make_tokenizer,
)

_CHUNK_CHARS = 1 << 16
"""Small enough that a progress bar moves."""


class Tokenization(NamedTuple):
    """How text becomes sentences of words, as pretraining's [corpus] has it.

    tokenizer: "whitespace", a language code, or a spaCy pipeline's name or path.
    sentences: "lines" or "split".
    """

    tokenizer: str = WHITESPACE
    sentences: str = LINES


def folder_of(weights: Union[str, Path]) -> Path:
    """The folder that a biLM's path names: a .safetensors file stands for its own."""
    path = Path(weights)
    return path.parent if path.suffix == ".safetensors" and path.is_file() else path


def training_tokenization(weights: Union[str, Path]) -> Optional[Tokenization]:
    """That of the text that a biLM was trained on; None where its folder does not say,
    as published weights do not.

    weights: the folder, or the .safetensors file in it.

    Raises WeightsError for a damaged file.
    """
    path = folder_of(weights) / META
    if not path.is_file():
        return None
    try:
        meta = json.loads(path.read_text(encoding="utf8"))
        return Tokenization(meta["tokenizer"], meta["sentences"])
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(
            f"{path}: expected the JSON that pretraining wrote, found {error!r}. Copy "
            "the folder anew, or delete the file and name a tokenizer."
        ) from error


def write_tokenization(folder: Path, tokenization: Optional[Tokenization]) -> None:
    """Let `training_tokenization` find this in a folder; None: let it find nothing.

    What a model's own pretraining wrote there is replaced: it told of other weights.
    """
    path = folder / META
    if tokenization is None:
        path.unlink(missing_ok=True)
    else:
        write_json(path, tokenization._asdict())


def read_sentences(
    paths: Sequence[Union[str, Path]],
    tokenization: Tokenization,
    progress: Optional[Callable[[int, int], None]] = None,
) -> Iterator[List[str]]:
    """The sentences of files, folders and globs, in their order; empty lines are none.

    progress: called with the bytes read since the last call and the bytes in all.

    Raises CorpusError for text that cannot be read or has not a single word, ValueError
    for an unknown tokenization.
    """
    files = find_files(paths)
    tokenize = make_tokenizer(*tokenization)
    total = sum(path.stat().st_size for path in files)
    found = False
    for chunk in read_chunks(files, _CHUNK_CHARS):
        for sentence in split_sentences(tokenize(chunk.lines)):
            found = True
            yield sentence
        if progress is not None:
            progress(chunk.n_bytes, total)
    if not found:
        names = ", ".join(map(str, paths))
        raise CorpusError(f"{names}: expected text, found not a single word.")


def split_line(line: str, tokenization: Tokenization) -> List[List[str]]:
    """The sentences of one line of text."""
    lines = [part.strip() for part in line.splitlines()]
    return list(split_sentences(make_tokenizer(*tokenization)(lines)))


def split_sentences(tokenized: Tokenized) -> Iterator[List[str]]:
    """Numbers -> words."""
    start = 0
    ids = tokenized.ids
    for end in np.flatnonzero(ids == END_OF_SENTENCE).tolist():
        yield [tokenized.types[i - 1] for i in ids[start:end].tolist()]
        start = end + 1
