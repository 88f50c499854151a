"""Sentences of text files, numbered by document."""

from pathlib import Path
from typing import (
    Callable,
    Iterable,
    Iterator,
    List,
    NamedTuple,
    Optional,
    Sequence,
    Union,
)

from .files import CorpusError, find_files, is_json_lines, read_chunks
from .tokenization import CHUNK_CHARS, Tokenization
from .tokenizers import Tokenizer

MAX_WORDS = 1024
"""Maximum number of words of a sentence. A longer one is text whose boundaries were
missed, and is split, which bounds memory."""


class DocumentSentence(NamedTuple):
    """A sentence and its place in its document.

    document (int): Number of the document, from 0.
    sentence (int): Number of the sentence in its document, from 0.
    words (List[str]): Its words.
    indices (Sequence[int]): Index of each word in its document.
    """

    document: int
    sentence: int
    words: List[str]
    indices: Sequence[int]


def identify(sentence: DocumentSentence) -> bytes:
    """Return what identifies a sentence of the input: its place and its words."""
    place = f"{sentence.document} {sentence.sentence} {sentence.indices[0]}"
    return "\0".join([place, *sentence.words]).encode("utf8", "surrogatepass")


class SentenceCounter:
    """Numbers the sentences of consecutive documents.

    document (int): Number of the first document.
    """

    def __init__(self, document: int = 0) -> None:
        self.document = document
        self.n_sentences = self._n_words = 0

    def add(self, words: List[str]) -> DocumentSentence:
        """Number the next sentence of the document."""
        indices = range(self._n_words, self._n_words + len(words))
        numbered = DocumentSentence(self.document, self.n_sentences, words, indices)
        self.n_sentences += 1
        self._n_words += len(words)
        return numbered

    def end_document(self) -> None:
        self.document += 1
        self.n_sentences = self._n_words = 0


def read_documents(
    tokenization: Tokenization,
    paths: Sequence[Union[str, Path]],
    *,
    max_words: int,
    progress: Optional[Callable[[int, int], None]] = None,
) -> Iterator[DocumentSentence]:
    """Stream the sentences of text files.

    Each object of JSON lines is a document, even if it has no words. In plain text,
    empty lines separate documents.

    tokenization (Tokenization): How text becomes sentences.
    paths (Sequence[Union[str, Path]]): Files, folders and globs, as for `find_files`.
    max_words (int): Maximum length of a sentence. A longer one is split evenly.
    progress (Optional[Callable]): Called with the number of bytes read since the last
        call, and the total.
    YIELDS (DocumentSentence): The sentences, in order.
    RAISES: CorpusError if the text cannot be read or contains no words, ValueError if
        the tokenizer cannot be loaded.
    """
    files = find_files(paths)
    tokenize = tokenization.make_tokenizer()
    total = sum(path.stat().st_size for path in files)
    counter = SentenceCounter()
    is_empty = True
    for path in files:
        is_json = is_json_lines(path)
        is_ended = False  # by the last line
        for chunk in read_chunks([path], CHUNK_CHARS, tokenization.text_field):
            for lines in _split_at_empty_lines(chunk.lines):
                if is_ended and (is_json or counter.n_sentences):
                    counter.end_document()
                is_ended = not lines
                for sentence in tokenize(lines).sentences():
                    is_empty = False
                    for words in split_evenly(sentence, max_words):
                        yield counter.add(words)
            if progress is not None:
                progress(chunk.n_bytes, total)
        # `read_chunks` ends each file with an empty line of its own.
        if counter.n_sentences:
            counter.end_document()
    if is_empty:
        names = ", ".join(map(str, paths))
        raise CorpusError(f"{names}: expected text, found no words.")


def split_texts(
    tokenize: Tokenizer,
    texts: Iterable[str],
    *,
    max_words: int,
    first_document: int = 0,
) -> Iterator[DocumentSentence]:
    """Stream the sentences of texts, as `read_documents` does for those of JSON lines.

    tokenize (Tokenizer): From `Tokenization.make_tokenizer`.
    texts (Iterable[str]): The text of each document.
    max_words (int): Maximum length of a sentence. Longer ones are split evenly.
    first_document (int): Number of the first document.
    YIELDS (DocumentSentence): The sentences, in order.
    """
    counter = SentenceCounter(first_document)
    for text in texts:
        lines = [line.strip() for line in text.split("\n") if line.strip()]
        for sentence in tokenize(lines).sentences():
            for words in split_evenly(sentence, max_words):
                yield counter.add(words)
        counter.end_document()


def split_evenly(words: List[str], max_words: int) -> List[List[str]]:
    """Split a sentence into as few parts as possible, of about the same length, so that
    no word is left alone at the end.

    max_words (int): Maximum length of a part.
    """
    n_parts = -(-len(words) // max_words)
    cuts = [len(words) * i // n_parts for i in range(n_parts)]
    return [words[i:j] for i, j in zip(cuts, [*cuts[1:], len(words)])]


def _split_at_empty_lines(lines: Sequence[str]) -> Iterator[List[str]]:
    """Group lines that are not empty. Yields an empty list for each empty line."""
    group: List[str] = []
    for line in lines:
        if line:
            group.append(line)
            continue
        if group:
            yield group
        yield []
        group = []
    if group:
        yield group
