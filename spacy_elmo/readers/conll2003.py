"""spacy_elmo.Conll2003Corpus.v1: examples of named entities out of columns of text, as
of CoNLL-2003 (Tjong Kim Sang and De Meulder 2003) and WNUT-17."""

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
"""The columns, by their number: WNUT-17's, the English and the German CoNLL-2003's."""

DOCUMENT_START = "-DOCSTART-"


class ColumnsError(ValueError):
    """A file that is not in columns, or whose tags make no entities."""


class Sentence(NamedTuple):
    """One sentence of a file.

    lines: the words' numbers in the file, from 1.
    tags: of the parts of speech; empty where the file has none.
    entities: the words' tags, as they stand there.
    """

    lines: List[int]
    words: List[str]
    tags: List[str]
    entities: List[str]


def conll2003_corpus_v1(
    path: Optional[Path], scheme: Optional[str] = None, limit: int = 0
) -> Callable[[Language], Iterator[Example]]:
    """A reader for [corpora]: one Example a sentence, with the file's own words.

    path: a file, in UTF-8. A line is a word with its columns, which stand between
        tabs or blanks: word and entity; or word, tag, chunk and entity; or these with
        the lemma behind the word. Lines of nothing but white space stand between
        sentences. Those that begin with -DOCSTART- are no words.
    scheme: of the entities' tags, "IOB1", "IOB2" or "BIOES". None: found from the file.
    limit: sentences at most; 0: all.
    RETURNS: nlp -> examples, with entities, and with token.tag_ where there are tags.

    Raises ValueError for an unknown scheme or a limit under 0. Reading raises
    ColumnsError, with the number of the line, for a line or a tag that is not as it
    should be.
    """
    if scheme is not None and scheme not in PREFIXES:
        raise ValueError(
            f"scheme: expected null or one of {', '.join(PREFIXES)}, found {scheme!r}."
        )
    if limit < 0:
        raise ValueError(
            f"limit: expected a number of sentences, or 0 for all, found {limit}."
        )
    return partial(read_examples, path=path, scheme=scheme, limit=limit)


def read_examples(
    nlp: Language, path: Optional[Path], scheme: Optional[str] = None, limit: int = 0
) -> Iterator[Example]:
    for doc in read_docs(nlp.vocab, path, scheme, limit):
        yield Example(Doc(nlp.vocab, words=[token.text for token in doc]), doc)


def read_docs(
    vocab: Vocab, path: Optional[Path], scheme: Optional[str] = None, limit: int = 0
) -> Iterator[Doc]:
    """The sentences of a file as annotated Docs. See `conll2003_corpus_v1`."""
    if path is None:
        raise ColumnsError(
            "Conll2003Corpus: expected the path of a file, found null. Set it in the "
            "config, or on the command line: --paths.train PATH."
        )
    try:
        # Some editors begin a file with a byte order mark.
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
    """That of a file's tags. Raises ColumnsError, with the numbers of two lines, where
    it is in none."""
    try:
        return find_scheme(sentence.entities for sentence in sentences)
    except MixedTagsError as error:
        first, second = (
            f"{sentences[number].entities[index]} in line "
            f"{sentences[number].lines[index]}"
            for number, index in (error.iob1, error.iob2)
        )
        raise ColumnsError(
            f"{path}: expected tags of one scheme, found {first} at an entity's start, "
            f"as only {IOB1} has it, and {second}, as only {IOB2} has it. Mend the "
            f'line that is wrong; with scheme = "{IOB2}" (or "{IOB1}") in the config, '
            "the lines that are not in that scheme are named."
        ) from error


def read_sentences(lines: Iterable[str]) -> Iterator[Sentence]:
    """The sentences of a file. Raises ColumnsError, with the number of the line, for a
    number of columns that is unknown or not that of the lines before, and for a word or
    an entity's tag that is empty."""
    rows: List[Tuple[int, List[str]]] = []
    n_columns = 0
    for number, line in enumerate(lines, 1):
        fields = split_line(line)
        if fields and fields[0] != DOCUMENT_START:
            n_columns = n_columns or len(fields)
            _check_columns(number, fields, n_columns)
            rows.append((number, fields))
        elif rows:
            yield _sentence(rows)
            rows = []
    if rows:
        yield _sentence(rows)


def split_line(line: str) -> List[str]:
    """The columns of a line: none where there is only white space. Neither a no-break
    space nor, where there are tabs, a blank separates columns."""
    if not line.strip():
        return []
    if "\t" in line:
        return [field.strip(" \r\n") for field in line.strip("\r\n").split("\t")]
    return [field for field in line.strip("\r\n").split(" ") if field]


def _check_columns(number: int, fields: List[str], expected: int) -> None:
    found = len(fields)
    if found not in LAYOUTS:
        layouts = "; ".join(", ".join(names) for names in LAYOUTS.values())
        raise ColumnsError(
            f"line {number}: expected 2, 4 or 5 columns ({layouts}), found {found}."
        )
    if found != expected:
        raise ColumnsError(
            f"line {number}: expected {expected} columns, as before, found {found}."
        )
    for name, field in zip(LAYOUTS[found], fields):
        # The other columns may have nothing to tell of a word.
        if name in ("word", "entity") and not field:
            raise ColumnsError(
                f"line {number}: expected the column {name!r} filled, found it empty "
                f"in {fields}. Fill it, or remove the line."
            )


def _sentence(rows: List[Tuple[int, List[str]]]) -> Sentence:
    lines, fields = zip(*rows)
    columns = dict(zip(LAYOUTS[len(fields[0])], zip(*fields)))
    return Sentence(
        list(lines),
        list(columns["word"]),
        list(columns.get("tag", ())),
        list(columns["entity"]),
    )


def make_doc(vocab: Vocab, sentence: Sentence, scheme: str) -> Doc:
    """An annotated Doc. Raises TagError for tags that are not in the scheme."""
    entities = read_entities(sentence.entities, scheme)
    doc = Doc(
        vocab,
        words=sentence.words,
        tags=sentence.tags or None,
        sent_starts=[i == 0 for i in range(len(sentence.words))],
    )
    doc.set_ents([Span(doc, *entity) for entity in entities], default="outside")
    return doc
