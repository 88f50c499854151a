"""The input of `embed` and `score`: text, or sentences that are tokenized already."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Callable, Iterator, List, Optional, Tuple

import typer

from ..text.files import TOKENIZED, extension, find_files
from ._util import TEXT_HELP, choose_tokenization

if TYPE_CHECKING:
    from spacy.tokens import Doc

    from ..text.documents import DocumentSentence

CONLLU, DOCS = TOKENIZED

InputArgument = Annotated[
    str,
    typer.Argument(
        metavar="IN", help=f"{TEXT_HELP}. Or .conllu files, or docs (.spacy)"
    ),
]


class Input:
    """The sentences of text files, CoNLL-U files or a .spacy file.

    text (str): A file, folder or glob.
    paths (List[str]): Paths of the weights, whose tokenization is the default.
    tokenizer (Optional[str]): The --tokenizer option.
    sentences (Optional[str]): The --sentences option.
    text_field (str): The --text-field option.
    RAISES: ValueError if one of these options is given for tokenized text, or docs are
        compressed.
    """

    def __init__(
        self,
        text: str,
        paths: List[str],
        tokenizer: Optional[str],
        sentences: Optional[str],
        text_field: str,
    ) -> None:
        self.text = text
        self.suffix = extension(Path(text))
        compression = Path(text).suffix
        if self.suffix == DOCS and compression.lower() != DOCS:
            raise ValueError(
                f"{text}: expected docs in a file ending in {DOCS}, found "
                f"{compression}. Unpack it first: docs are compressed already."
            )
        self.is_tokenized = self.suffix in (DOCS, CONLLU)
        if self.is_tokenized and (tokenizer or sentences):
            raise ValueError(
                f"{text}: expected no --tokenizer and no --sentences, because the text "
                "is tokenized already. Remove them."
            )
        self.tokenization = choose_tokenization(paths, tokenizer, sentences, text_field)
        self.unit = {DOCS: "docs", CONLLU: "files"}.get(self.suffix, "B")

    @property
    def tokenizer(self) -> Optional[str]:
        """The tokenizer, on which the sentences of a text depend."""
        return None if self.is_tokenized else self.tokenization.tokenizer

    def read(
        self, progress: Callable[[int, int], None]
    ) -> Iterator["DocumentSentence"]:
        """Stream the sentences.

        progress (Callable): Called with the number of units since the last call, and
            the total.
        RAISES: ValueError if the input has no words, or is not of its format; OSError
            if it cannot be read.
        """
        from ..text.conllu import read_conllu
        from ..text.documents import MAX_WORDS, read_documents

        if self.suffix == DOCS:
            return _read_docs(Path(self.text), progress)
        if self.suffix == CONLLU:
            return read_conllu(find_files([self.text]), progress)
        return read_documents(
            self.tokenization, [self.text], max_words=MAX_WORDS, progress=progress
        )


def _read_docs(
    path: Path, progress: Callable[[int, int], None]
) -> Iterator["DocumentSentence"]:
    import numpy as np

    from ..layers.doc_sentences import split_sentences
    from ..layers.elmo_model import DEFAULT_WINDOW
    from ..text.documents import DocumentSentence

    is_empty = True
    for document, (doc, n_docs) in enumerate(_load_docs(path)):
        batch = split_sentences([doc], DEFAULT_WINDOW)
        indices = np.flatnonzero(batch.is_word[0]).tolist()
        start = 0
        for number, words in enumerate(batch.sentences):
            is_empty = False
            end = start + len(words)
            yield DocumentSentence(document, number, words, indices[start:end])
            start = end
        progress(1, n_docs)
    if is_empty:
        raise ValueError(f"{path}: expected docs with words, found none.")


def _load_docs(path: Path) -> Iterator[Tuple["Doc", int]]:
    """Yields each doc, and the number of docs."""
    import spacy
    from spacy.tokens import DocBin

    try:
        docbin = DocBin().from_bytes(path.read_bytes())
        docbin.user_data = []  # often vectors, which would be loaded for nothing
        for doc in docbin.get_docs(spacy.blank("xx").vocab):
            yield doc, len(docbin)
    except (ValueError, KeyError, TypeError, IndexError, AssertionError) as error:
        raise ValueError(
            f"{path}: expected docs that DocBin.to_disk wrote, found a file that cannot"
            f" be read ({error!r}). It is damaged, or of another format."
        ) from error
