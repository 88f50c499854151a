"""Sentences of CoNLL-U files, the format of Universal Dependencies."""

import re
from pathlib import Path
from typing import Callable, Iterator, List, Optional, Sequence

from .documents import MAX_WORDS, DocumentSentence, SentenceCounter, split_evenly
from .files import CorpusError, read_lines

_N_COLUMNS = 10
_ID = re.compile(r"\d+([-.]\d+)?")
"""ID of a word (1), a multiword token (1-2) or an empty node (1.1)."""


def read_conllu(
    paths: Sequence[Path], progress: Optional[Callable[[int, int], None]] = None
) -> Iterator[DocumentSentence]:
    """Stream the syntactic words of CoNLL-U files. Multiword tokens (1-2) and empty
    nodes (1.1) are skipped. Documents start at "# newdoc" and with each file. Sentences
    of more than MAX_WORDS are split evenly.

    paths (Sequence[Path]): The files, compressed or not.
    progress (Optional[Callable]): Called with the number of files read since the last
        call, and the total.
    YIELDS (DocumentSentence): The sentences, in order.
    RAISES: CorpusError, with file and line, if a line is not a numbered word of ten
        columns, or if there are no words.
    """
    counter = SentenceCounter()
    is_empty = True
    for path in paths:
        for words in _read_file(path):
            if words is not None:
                is_empty = False
                for part in split_evenly(words, MAX_WORDS):
                    yield counter.add(part)
            elif counter.n_sentences:
                counter.end_document()
        if progress is not None:
            progress(1, len(paths))
    if is_empty:
        names = ", ".join(map(str, paths))
        raise CorpusError(f"{names}: expected words, found none.")


def _read_file(path: Path) -> Iterator[Optional[List[str]]]:
    """Yields the words of each sentence, and None between documents."""
    words: List[str] = []
    yield None
    for number, line in read_lines(path):
        fields = line.rstrip("\r\n").split("\t")
        if len(fields) == _N_COLUMNS and _ID.fullmatch(fields[0]):
            if fields[0].isdecimal():
                words.append(fields[1])
        elif line.strip() and not line.startswith("#"):
            raise CorpusError(
                f"{path}, line {number}: expected {_N_COLUMNS} columns separated by "
                "tabs, as in CoNLL-U, the first one a number, found "
                f"{line.strip()[:60]!r}."
            )
        if not line.strip() and words:
            yield words
            words = []
        elif line.startswith("# newdoc"):
            yield None
    if words:
        yield words
