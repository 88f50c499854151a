"""spacy_elmo.Conll2003Corpus.v1: a reader of entities in columns, the file format of
CoNLL-2003 (Tjong Kim Sang and De Meulder 2003), WNUT-17 and many others."""

import codecs
import io
from pathlib import Path
from typing import Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional, Tuple

from spacy.language import Language
from spacy.tokens import Doc, Span
from spacy.training import Example
from spacy.vocab import Vocab

from .entity_tags import (
    IOB1,
    IOB2,
    PREFIXES,
    MixedTagsError,
    TagError,
    find_scheme,
    read_entities,
)

TEXT, TAG, NER, IGNORED = "TEXT", "TAG", "NER", "_"

LAYOUTS: Dict[int, Tuple[str, ...]] = {
    2: (TEXT, NER),
    3: (TEXT, TAG, NER),
    4: (TEXT, TAG, IGNORED, NER),
    5: (TEXT, IGNORED, TAG, IGNORED, NER),
}
"""Default columns by their number: WNUT-17, Dutch CoNLL-2002, English CoNLL-2003 and
German CoNLL-2003."""

DOCUMENT_START = "-DOCSTART-"


class ColumnsError(ValueError):
    """A file that does not consist of columns, or whose tags are inconsistent."""


class Sentence(NamedTuple):
    """A sentence of a file.

    lines (List[int]): Line number of each word, from 1.
    words (List[str]): The words.
    tags (List[str]): Part-of-speech tags, or an empty list if the file has none.
    entities (List[str]): Entity tags, unconverted.
    """

    lines: List[int]
    words: List[str]
    tags: List[str]
    entities: List[str]


def conll2003_corpus_v1(
    path: Optional[Path],
    scheme: Optional[str] = None,
    limit: int = 0,
    columns: Optional[List[str]] = None,
    encoding: str = "utf8",
    blank_words: str = "error",
) -> Callable[[Language], Iterator[Example]]:
    """Create a reader that yields one Example per sentence, with the words of the file.

    path (Optional[Path]): A file with a word and its annotations on each line,
        separated by tabs or spaces. Blank lines separate sentences. Lines that start
        with -DOCSTART-, and comments (#) before a sentence, are skipped.
    scheme (Optional[str]): Scheme of the entity tags: "IOB1", "IOB2", "BIOES" or
        "BILUO". If None, it is detected.
    limit (int): Maximum number of sentences, or 0 for no limit.
    columns (Optional[List[str]]): The columns: "TEXT", "TAG", "NER", or "_" for one to
        ignore, e.g. ["_", "TEXT", "NER"]. By default, the first column is the word, the
        last one the entity, and the tag the second (of 3 or 4 columns) or third (of 5).
    encoding (str): Encoding of the file.
    blank_words (str): "error", or "skip" to leave out lines without a word.
    RETURNS (Callable[[Language], Iterator[Example]]): The reader. Its examples have
        entities, and token.tag_ if the file has tags. It raises ColumnsError, with the
        line number, for invalid lines and tags.
    RAISES: ValueError if a setting is invalid.
    """
    if scheme is not None and scheme not in PREFIXES:
        raise ValueError(
            f"scheme: expected null or one of {', '.join(PREFIXES)}, found {scheme!r}."
        )
    if limit < 0:
        raise ValueError(
            f"limit: expected a number of sentences, or 0 for no limit, found {limit}."
        )
    if blank_words not in ("error", "skip"):
        raise ValueError(f"blank_words: expected error or skip, found {blank_words!r}.")
    if columns is not None and (
        set(columns) - {TEXT, TAG, NER, IGNORED}
        or [columns.count(name) for name in (TEXT, NER)] != [1, 1]
        or columns.count(TAG) > 1
    ):
        raise ValueError(
            f"columns: expected {TEXT} and {NER} once, {TAG} at most once, and _ for "
            f"the others, found {columns}."
        )
    try:
        codecs.lookup(encoding)
    except LookupError as error:
        raise ValueError(
            f"encoding: expected one that Python knows, such as utf8 or latin1, found "
            f"{encoding!r}."
        ) from error
    columns_file = ColumnsFile(
        path, scheme, limit, tuple(columns) if columns else None, encoding, blank_words
    )
    return columns_file.read_examples


class ColumnsFile(NamedTuple):
    """A file and how to read it. See `conll2003_corpus_v1`."""

    path: Optional[Path]
    scheme: Optional[str] = None
    limit: int = 0
    columns: Optional[Tuple[str, ...]] = None
    encoding: str = "utf8"
    blank_words: str = "error"

    def read_examples(self, nlp: Language) -> Iterator[Example]:
        """Read Examples, one per sentence."""
        for doc in self.read_docs(nlp.vocab):
            yield Example(Doc(nlp.vocab, words=[token.text for token in doc]), doc)

    def read_docs(self, vocab: Vocab) -> Iterator[Doc]:
        """Read annotated Docs, one per sentence."""
        if self.path is None:
            raise ColumnsError(
                "Conll2003Corpus: expected the path of a file, found null. Set it in "
                "the config, or on the command line with --paths.train PATH."
            )
        try:
            sentences = list(self.read_sentences())
        except (ValueError, OSError) as error:
            raise ColumnsError(f"{self.path}: {error}") from error
        if not sentences:
            raise ColumnsError(f"{self.path}: expected words in columns, found none.")
        if all(_is_numbering(sentence.words) for sentence in sentences):
            raise ColumnsError(
                f"{self.path}: expected words, found their numbers, from line "
                f"{sentences[0].lines[0]} on. Name the columns, e.g. "
                'columns = ["_", "TEXT", "NER"].'
            )
        scheme = self.scheme or _find_scheme(sentences, self.path)
        for sentence in sentences[: self.limit or None]:
            try:
                yield make_doc(vocab, sentence, scheme)
            except TagError as error:
                line = sentence.lines[error.index]
                raise ColumnsError(f"{self.path}, line {line}: {error}.") from error

    def read_sentences(self) -> Iterator[Sentence]:
        """Read the sentences of the file.

        YIELDS (Sentence): Each sentence.
        RAISES: ColumnsError, with the line number, if the columns are not as expected,
            or if a word or an entity tag is empty.
        """
        columns = self.columns
        rows: List[Tuple[int, List[str]]] = []
        for number, line in enumerate(self._lines(), 1):
            fields = split_line(line)
            if not fields or fields[0] == DOCUMENT_START:
                if rows:
                    yield _make_sentence(rows, columns or ())
                rows = []
                continue
            if not rows and _is_comment(fields, columns):
                continue
            columns = columns or LAYOUTS.get(len(fields))
            _check_columns(number, fields, columns)
            row = dict(zip(columns or (), fields))
            if not row[TEXT] and self.blank_words == "skip":
                continue
            for name in (TEXT, NER):
                if not row[name]:
                    raise ColumnsError(
                        f"line {number}: expected a value in the column {name}, found "
                        f"an empty one in {fields}. Fill it in, or remove the line; "
                        'blank_words = "skip" leaves out lines without a word.'
                    )
            rows.append((number, fields))
        if rows:
            yield _make_sentence(rows, columns or ())

    def _lines(self) -> Iterable[str]:
        assert self.path is not None
        data = Path(self.path).read_bytes()
        try:
            text = data.decode(self.encoding)
        except UnicodeDecodeError as error:
            number = data.count(b"\n", 0, error.start) + 1
            raise ColumnsError(
                f"line {number}: expected {self.encoding}, found {error}. Set the "
                'encoding of the file, e.g. encoding = "latin1".'
            ) from error
        return io.StringIO(text.lstrip("\ufeff"), newline=None)


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
            f'allows. Correct the wrong line. With scheme = "{IOB2}" (or "{IOB1}") in '
            "the config, errors name the lines that do not follow that scheme."
        ) from error


def split_line(line: str) -> List[str]:
    """Split a line into columns. A no-break space never separates columns, and neither
    does a space if the line has tabs."""
    if not line.strip():
        return []
    if "\t" in line:
        return [field.strip(" \r\n") for field in line.strip("\r\n").split("\t")]
    return [field for field in line.strip("\r\n").split(" ") if field]


def _is_comment(fields: List[str], columns: Optional[Tuple[str, ...]]) -> bool:
    """Check whether a line before a sentence is a comment, and not the word "#"."""
    if not fields[0].startswith("#"):
        return False
    columns = columns or LAYOUTS.get(len(fields))
    if columns is None or len(columns) != len(fields):
        return True
    tag = fields[columns.index(NER)]
    return tag != "O" and (tag[1:2] != "-" or tag[0] not in "BIESLU")


def _check_columns(
    number: int, fields: List[str], columns: Optional[Tuple[str, ...]]
) -> None:
    if columns is None:
        raise ColumnsError(
            f"line {number}: expected 2 to 5 columns, found {len(fields)}. Name them, "
            'e.g. columns = ["_", "TEXT", "NER"].'
        )
    if len(fields) != len(columns):
        raise ColumnsError(
            f"line {number}: expected {len(columns)} columns ({', '.join(columns)}), "
            f"found {len(fields)}."
        )


def _make_sentence(
    rows: List[Tuple[int, List[str]]], columns: Tuple[str, ...]
) -> Sentence:
    lines, fields = zip(*rows)
    values = dict(zip(columns, zip(*fields)))
    tags = ["" if tag == "_" else tag for tag in values.get(TAG, ())]
    return Sentence(list(lines), list(values[TEXT]), tags, list(values[NER]))


def _is_numbering(words: List[str]) -> bool:
    """Check for 0, 1, 2 ... or 1, 2, 3 ... in place of words."""
    return words in ([str(first + i) for i in range(len(words))] for first in (0, 1))


def make_doc(vocab: Vocab, sentence: Sentence, scheme: str) -> Doc:
    """Create an annotated Doc. RAISES: TagError if a tag does not follow the scheme."""
    entities = read_entities(sentence.entities, scheme)
    doc = Doc(
        vocab,
        words=sentence.words,
        tags=sentence.tags or None,
        sent_starts=[i == 0 for i in range(len(sentence.words))],
    )
    doc.set_ents([Span(doc, *entity) for entity in entities], default="outside")
    return doc
