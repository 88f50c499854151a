"""spacy_elmo.Conll2003Corpus.v1: a reader of entities in columns, the file format of
CoNLL-2003 (Tjong Kim Sang and De Meulder 2003) and WNUT-17."""

from functools import partial
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

LAYOUTS: Dict[int, Tuple[str, ...]] = {
    2: ("word", "entity"),
    4: ("word", "tag", "chunk", "entity"),
    5: ("word", "lemma", "tag", "chunk", "entity"),
}
"""Columns by their number: WNUT-17, English CoNLL-2003 and German CoNLL-2003."""

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
    path: Optional[Path], scheme: Optional[str] = None, limit: int = 0
) -> Callable[[Language], Iterator[Example]]:
    """Create a reader that yields one Example per sentence, with the words of the file.

    path (Optional[Path]): A UTF-8 file. Each line has a word and its columns, separated
        by tabs or spaces: word and entity; or word, tag, chunk and entity; or the same
        with a lemma after the word. Blank lines separate sentences. Lines that start
        with -DOCSTART- are skipped.
    scheme (Optional[str]): Scheme of the entity tags: "IOB1", "IOB2" or "BIOES". If
        None, it is detected.
    limit (int): Maximum number of sentences, or 0 for no limit.
    RETURNS (Callable[[Language], Iterator[Example]]): The reader. Its examples have
        entities, and token.tag_ if the file has tags. It raises ColumnsError, with the
        line number, for invalid lines and tags.
    RAISES: ValueError if `scheme` is unknown or `limit` is negative.
    """
    if scheme is not None and scheme not in PREFIXES:
        raise ValueError(
            f"scheme: expected null or one of {', '.join(PREFIXES)}, found {scheme!r}."
        )
    if limit < 0:
        raise ValueError(
            f"limit: expected a number of sentences, or 0 for no limit, found {limit}."
        )
    return partial(read_examples, path=path, scheme=scheme, limit=limit)


def read_examples(
    nlp: Language, path: Optional[Path], scheme: Optional[str] = None, limit: int = 0
) -> Iterator[Example]:
    """Read a file as Examples. See `conll2003_corpus_v1`."""
    for doc in read_docs(nlp.vocab, path, scheme, limit):
        yield Example(Doc(nlp.vocab, words=[token.text for token in doc]), doc)


def read_docs(
    vocab: Vocab, path: Optional[Path], scheme: Optional[str] = None, limit: int = 0
) -> Iterator[Doc]:
    """Read a file as annotated Docs, one per sentence. See `conll2003_corpus_v1`."""
    if path is None:
        raise ColumnsError(
            "Conll2003Corpus: expected the path of a file, found null. Set it in the "
            "config, or on the command line with --paths.train PATH."
        )
    try:
        # Some editors write a byte order mark.
        with Path(path).open(encoding="utf-8-sig") as file:
            sentences = list(read_sentences(file))
    except (ValueError, OSError) as error:
        raise ColumnsError(f"{path}: {error}") from error
    if not sentences:
        raise ColumnsError(f"{path}: expected words in columns, found none.")
    if scheme is None:
        scheme = _find_scheme(sentences, path)
    for sentence in sentences[: limit or None]:
        try:
            yield make_doc(vocab, sentence, scheme)
        except TagError as error:
            line = sentence.lines[error.index]
            raise ColumnsError(f"{path}, line {line}: {error}.") from error


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


def read_sentences(lines: Iterable[str]) -> Iterator[Sentence]:
    """Read the sentences of a file.

    lines (Iterable[str]): The lines of the file.
    YIELDS (Sentence): Each sentence.
    RAISES: ColumnsError, with the line number, if the number of columns is unsupported
        or changes, or if a word or an entity tag is empty.
    """
    rows: List[Tuple[int, List[str]]] = []
    n_columns = 0
    for number, line in enumerate(lines, 1):
        fields = split_line(line)
        if fields and fields[0] != DOCUMENT_START:
            n_columns = n_columns or len(fields)
            _check_columns(number, fields, n_columns)
            rows.append((number, fields))
        elif rows:
            yield _make_sentence(rows)
            rows = []
    if rows:
        yield _make_sentence(rows)


def split_line(line: str) -> List[str]:
    """Split a line into columns. A no-break space never separates columns, and neither
    does a space if the line has tabs."""
    if not line.strip():
        return []
    if "\t" in line:
        return [field.strip(" \r\n") for field in line.strip("\r\n").split("\t")]
    return [field for field in line.strip("\r\n").split(" ") if field]


def _check_columns(number: int, fields: List[str], n_expected: int) -> None:
    n_columns = len(fields)
    if n_columns not in LAYOUTS:
        layouts = "; ".join(", ".join(names) for names in LAYOUTS.values())
        raise ColumnsError(
            f"line {number}: expected 2, 4 or 5 columns ({layouts}), found {n_columns}."
        )
    if n_columns != n_expected:
        raise ColumnsError(
            f"line {number}: expected {n_expected} columns, as before, found "
            f"{n_columns}."
        )
    for name, field in zip(LAYOUTS[n_columns], fields):
        # The other columns may be empty.
        if name in ("word", "entity") and not field:
            raise ColumnsError(
                f"line {number}: expected a value in the column {name!r}, found an "
                f"empty one in {fields}. Fill it in, or remove the line."
            )


def _make_sentence(rows: List[Tuple[int, List[str]]]) -> Sentence:
    lines, fields = zip(*rows)
    columns = dict(zip(LAYOUTS[len(fields[0])], zip(*fields)))
    return Sentence(
        list(lines),
        list(columns["word"]),
        list(columns.get("tag", ())),
        list(columns["entity"]),
    )


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
