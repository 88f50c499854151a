"""spacy_elmo.ConllCorpus.v1: a reader of entities in columns, the file format of the
CoNLL shared tasks (Tjong Kim Sang and De Meulder 2003) and of most corpora since."""

from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Optional, Union

from spacy.language import Language
from spacy.tokens import Doc, Span
from spacy.training import Example
from spacy.vocab import Vocab

from .columns import (
    EXAMPLES,
    IGNORED,
    ColumnFormat,
    ColumnsError,
    Sentence,
    column_indices,
    read_sentences,
)
from .decoded_lines import read_lines
from .entity_tags import (
    ALIASES,
    IOB,
    IOB1,
    IOB2,
    PREFIXES,
    MixedTagsError,
    TagError,
    find_scheme,
    is_tag,
    read_entities,
)


def conll_corpus_v1(
    path: Optional[Path],
    scheme: Optional[str] = None,
    limit: int = 0,
    columns: Union[List[str], Dict[str, int], None] = None,
    encoding: str = "utf-8",
    blank_words: str = "error",
    comment_prefix: Optional[str] = None,
) -> Callable[[Language], Iterator[Example]]:
    """Create a reader that yields one Example per sentence, with the words of the file.

    path (Optional[Path]): A file, compressed (.gz, .xz, .bz2, .zst) or not. Each line
        has a word and its columns, separated by tabs or spaces. Blank lines, comments,
        and lines that start with -DOCSTART- separate sentences.
    scheme (Optional[str]): Scheme of the entity tags: "IOB1", "IOB2" (or "BIO"),
        "BIOES" (or "IOBES"), "BILUO" (or "BIOUL"), or "IOB" for a mixture of IOB1 and
        IOB2, read as conlleval does. If None, it is detected.
    limit (int): Maximum number of sentences, or 0 for no limit.
    columns (Union[List[str], Dict[str, int], None]): Names of the columns, from the
        left: TEXT for the words, NER for the entity tags, TAG for part-of-speech tags,
        and _ for any other. Columns to the right of the last name are ignored.
        Alternatively, the number of each named column, from 1, where -1 is the last. If
        None, files have the columns TEXT NER, TEXT TAG NER, TEXT TAG _ NER or
        TEXT _ TAG _ NER.
    encoding (str): Encoding of the file.
    blank_words (str): "error" to refuse empty words, or "skip" to leave out words that
        are empty or whitespace.
    comment_prefix (Optional[str]): Start of a comment line, or "" for no comments. If
        None, a comment starts with # and a space or tab, and has no entity tag in the
        NER column.
    RETURNS (Callable[[Language], Iterator[Example]]): The reader. Its examples have
        entities, and token.tag_ if the file has tags. It raises ColumnsError, with the
        line number, for invalid lines and tags.
    RAISES: ValueError if a setting has an unknown value.
    """
    scheme = ALIASES.get(scheme, scheme) if scheme else scheme
    if scheme is not None and scheme not in PREFIXES:
        raise ValueError(
            f"scheme: expected null or one of {', '.join([*PREFIXES, *ALIASES])}, "
            f"found {scheme!r}."
        )
    if limit < 0:
        raise ValueError(
            f"limit: expected a number of sentences, or 0 for no limit, found {limit}."
        )
    if blank_words not in ("error", "skip"):
        raise ValueError(
            f'blank_words: expected "error" or "skip", found {blank_words!r}.'
        )
    try:
        "".encode(encoding)
    except LookupError as error:
        raise ValueError(
            'encoding: expected one that Python knows, such as "utf-8" or "latin-1", '
            f"found {encoding!r}."
        ) from error
    indices = None if columns is None else column_indices(columns)
    format = ColumnFormat(indices, comment_prefix, blank_words == "skip")
    return ConllCorpus(path, scheme, limit, format, encoding)


@dataclass(frozen=True)
class ConllCorpus:
    """A corpus reader. See `conll_corpus_v1` for its settings."""

    path: Optional[Path]
    scheme: Optional[str]
    limit: int
    format: ColumnFormat
    encoding: str

    def __call__(self, nlp: Language) -> Iterator[Example]:
        """Read the file as Examples.

        nlp (Language): The pipeline, for its vocab.
        YIELDS (Example): One example per sentence.
        RAISES: ColumnsError, with the line number, for invalid lines and tags.
        """
        if self.path is None:
            raise ColumnsError(
                "ConllCorpus: expected the path of a file, found null. Set it in the "
                "config, or on the command line with --paths.train PATH."
            )
        try:
            lines = read_lines(Path(self.path), self.encoding)
            sentences = read_sentences(lines, self.format)
        except ValueError as error:
            raise ColumnsError(f"{self.path}: {error}") from error
        scheme = self.scheme or _find_scheme(sentences, self.path)
        has_tags = any(tag != IGNORED for s in sentences for tag in s.tags)
        for sentence in sentences[: self.limit or None]:
            try:
                example = make_example(nlp.vocab, sentence, scheme, has_tags)
            except TagError as error:
                raise self._tag_error(sentence, error) from error
            if len(example.reference):
                yield example

    def _tag_error(self, sentence: Sentence, error: TagError) -> ColumnsError:
        message = f"{self.path}, line {sentence.lines[error.index]}: {error}."
        if not is_tag(sentence.entities[error.index]):
            message += f" If another column has the entity tags, set {EXAMPLES}."
        return ColumnsError(message)


def _find_scheme(sentences: List[Sentence], path: Path) -> str:
    """Detect the scheme of a file. RAISES: ColumnsError, with two line numbers, if its
    tags belong to two schemes."""
    try:
        return find_scheme(sentence.entities for sentence in sentences)
    except MixedTagsError as error:
        first, second = (
            f"{sentences[number].entities[index]} in line "
            f"{sentences[number].lines[index]}"
            for number, index in (error.iob1, error.iob2)
        )
        raise ColumnsError(
            f"{path}: expected tags of one scheme, found entities that start with "
            f"{first}, which only {IOB1} allows, and with {second}, which only {IOB2} "
            f'allows. Set scheme = "{IOB}" to read both, as conlleval does, or '
            f'"{IOB2}" (or "{IOB1}") to find the lines that do not follow it.'
        ) from error


def make_example(
    vocab: Vocab, sentence: Sentence, scheme: str, has_tags: bool
) -> Example:
    """Create an Example of a sentence, without the blank words. RAISES: TagError if a
    tag does not follow the scheme."""
    entities = read_entities(sentence.entities, scheme)
    words = [word for word in sentence.words if word]
    tags = [tag for tag, word in zip(sentence.tags, sentence.words) if word]
    doc = Doc(
        vocab,
        words=words,
        tags=tags if has_tags else None,
        sent_starts=[i == 0 for i in range(len(words))],
    )
    # For each word, the number of words before it that are not blank.
    position = [0, *accumulate(map(bool, sentence.words))]
    spans = [Span(doc, position[e.start], position[e.end], e.label) for e in entities]
    doc.set_ents([span for span in spans if len(span)], default="outside")
    return Example(Doc(vocab, words=words), doc)
