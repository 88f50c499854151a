"""Docs of a .spacy file -> sentences."""

from pathlib import Path
from typing import TYPE_CHECKING, Callable, Iterator

if TYPE_CHECKING:
    from ..text.documents import DocumentSentence

WINDOW = 128
"""Maximum sentence length for docs without sentence boundaries, as in the component."""


def read_docs(
    path: Path, progress: Callable[[int, int], None]
) -> Iterator["DocumentSentence"]:
    """Read the sentences of a .spacy file.

    RAISES: ValueError if it is damaged, or has no words; OSError if it cannot be read.
    """
    import numpy as np
    import spacy
    from spacy.tokens import DocBin

    from ..layers.sentences import split_sentences
    from ..text.documents import DocumentSentence

    vocab = spacy.blank("xx").vocab
    try:
        docbin = DocBin().from_bytes(path.read_bytes())
    except (ValueError, KeyError, TypeError, AssertionError) as error:
        raise ValueError(
            f"{path}: expected docs that DocBin.to_disk wrote, found a file that cannot"
            f" be read ({error!r}). It is damaged, or of another format."
        ) from error
    docbin.user_data = []  # often vectors, which would be loaded for nothing
    is_empty = True
    for document, doc in enumerate(docbin.get_docs(vocab)):
        batch = split_sentences([doc], WINDOW)
        indices = np.flatnonzero(batch.is_word[0]).tolist()
        start = 0
        for number, words in enumerate(batch.sentences):
            is_empty = False
            end = start + len(words)
            yield DocumentSentence(document, number, words, indices[start:end])
            start = end
        progress(1, len(docbin))
    if is_empty:
        raise ValueError(f"{path}: expected docs with words, found none.")
