"""Text in columns, one word per line -> sentences."""

import json
import re
from typing import (
    Dict,
    Iterator,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
    Union,
)

from .entity_tags import is_tag

TEXT, TAG, NER, IGNORED = "TEXT", "TAG", "NER", "_"

Columns = Union[Sequence[str], Mapping[str, int]]
"""Names of the columns, from the left, or the number of each named column, from 1."""

LAYOUTS: Dict[int, Tuple[str, ...]] = {
    2: (TEXT, NER),
    3: (TEXT, TAG, NER),
    4: (TEXT, TAG, IGNORED, NER),
    5: (TEXT, IGNORED, TAG, IGNORED, NER),
}
"""Columns by their number: WNUT-17, CoNLL-2002, English and German CoNLL-2003."""

DOCUMENT_START = "-DOCSTART-"

EXAMPLES = 'columns = ["_", "TEXT", "NER"] or columns = {"TEXT": 2, "NER": -1}'

_INDEX = re.compile(r"\d+([-.]\d+)?")
"""Index of a word: a number, or in treebanks a range or a decimal number."""


class ColumnsError(ValueError):
    """A file that does not consist of columns, or whose tags are inconsistent."""


class Sentence(NamedTuple):
    """A sentence of a file.

    lines (List[int]): Line number of each word, from 1.
    words (List[str]): The words. A blank word to be skipped is an empty string.
    tags (List[str]): Part-of-speech tags, or an empty list if the file has none.
    entities (List[str]): Entity tags, unconverted.
    """

    lines: List[int]
    words: List[str]
    tags: List[str]
    entities: List[str]


class Layout(NamedTuple):
    """The rows of a file.

    n_columns (int): Number of columns.
    has_tabs (bool): Whether tabs separate the columns, not spaces.
    indices (Dict[str, int]): Index of each column that is read, by its name.
    """

    n_columns: int
    has_tabs: bool
    indices: Dict[str, int]


class ColumnFormat(NamedTuple):
    """Settings for reading the rows of a file.

    indices (Optional[Dict[str, int]]): Index of each named column. If None, it follows
        from the number of columns.
    comment_prefix (Optional[str]): Start of a comment, or "" if there are no comments.
        If None, a comment starts with # and a space or tab, and has no entity tag in
        the NER column.
    skip_blank_words (bool): Whether words may be blank.
    """

    indices: Optional[Dict[str, int]] = None
    comment_prefix: Optional[str] = None
    skip_blank_words: bool = False


def column_indices(columns: Columns) -> Dict[str, int]:
    """Get the index of each named column.

    columns (Columns): Names of the columns, or the number of each named column.
    RETURNS (Dict[str, int]): Indices by name; negative indices count from the right.
    RAISES: ValueError if a name is unknown or occurs twice, if TEXT or NER is missing,
        or if a number is not a column number.
    """
    if isinstance(columns, Mapping):
        numbers = list(columns.items())
    else:
        numbers = [(name, i) for i, name in enumerate(columns, 1) if name != IGNORED]
    indices = {name: n - 1 if n > 0 else n for name, n in numbers}
    if (
        not {TEXT, NER} <= indices.keys() <= {TEXT, TAG, NER}
        or len(set(indices.values())) < len(numbers)
        or any(number == 0 for _, number in numbers)
    ):
        raise ValueError(
            f"columns: expected {TEXT}, {NER} and optionally {TAG}, once each, and "
            f"{IGNORED} for any other column, or the number of each, from 1 (-1: the "
            f"last), found {json.dumps(columns)}. For example, set {EXAMPLES}."
        )
    return indices


def read_sentences(
    lines: Sequence[str], format: Optional[ColumnFormat] = None
) -> List[Sentence]:
    """Read the sentences of a file. Blank lines, comments and lines that start with
    -DOCSTART- end a sentence.

    lines (Sequence[str]): The lines of the file.
    format (Optional[ColumnFormat]): Settings. If None, they are the defaults.
    RETURNS (List[Sentence]): The sentences. There is at least one.
    RAISES: ColumnsError, with the line number, if the number of columns is unsupported
        or changes, or if a word or an entity tag is empty. Also if there are no words,
        only numbers in place of words, or two columns of entities, none of which is
        named.
    """
    format = format or ColumnFormat()
    layout = _find_layout(lines, format)
    if layout is None:
        raise ColumnsError("expected words in columns, found none.")
    sentences = list(_group(lines, layout, format))
    _check_words(sentences)
    if format.indices is None and layout.n_columns == 3:
        _check_tags(sentences)
    return sentences


def split_line(line: str) -> List[str]:
    """Split a line into columns. A no-break space never separates columns, and neither
    does a space if the line has tabs."""
    if not line.strip():
        return []
    if "\t" in line:
        return [field.strip(" \r\n") for field in line.strip("\r\n").split("\t")]
    return [field for field in line.strip("\r\n").split(" ") if field]


def _find_layout(lines: Sequence[str], format: ColumnFormat) -> Optional[Layout]:
    """Get the layout of the first row that cannot be a comment (or of the first row, if
    all could be)."""
    first = None
    for number, line in enumerate(lines, 1):
        if line.strip() and split_line(line)[0] != DOCUMENT_START:
            if not _may_be_comment(line, format):
                return _make_layout(number, line, format)
            first = first or (number, line)
    return _make_layout(*first, format) if first else None


def _make_layout(number: int, line: str, format: ColumnFormat) -> Layout:
    fields = split_line(line)
    n_columns, indices = len(fields), format.indices
    if indices is None:
        if n_columns not in LAYOUTS:
            raise ColumnsError(
                f"line {number}: expected 2 to 5 columns, separated by tabs or spaces, "
                f"found {n_columns}: {fields}. Name those of the words and of the "
                f"entities: {EXAMPLES}.{_comment_hint(line)}"
            )
        names = LAYOUTS[n_columns]
        indices = {name: names.index(name) for name in names if name != IGNORED}
    elif not all(-n_columns <= index < n_columns for index in indices.values()):
        n_expected = max(i + 1 if i >= 0 else -i for i in indices.values())
        raise ColumnsError(
            f"line {number}: expected {n_expected} columns or more, for the setting "
            f"`columns`, found {n_columns}: {fields}. Correct the setting."
            f"{_comment_hint(line)}"
        )
    positive = [index % n_columns for index in indices.values()]
    if len(set(positive)) < len(positive):
        raise ColumnsError(
            f"line {number}: expected a different column for each name in the setting "
            f"`columns`, found one named twice in {n_columns} columns: {fields}. "
            "Correct the setting."
        )
    return Layout(n_columns, "\t" in line, indices)


def _group(
    lines: Sequence[str], layout: Layout, format: ColumnFormat
) -> Iterator[Sentence]:
    """Group the rows of a file into sentences."""
    rows: List[Tuple[int, List[str]]] = []
    for number, line in enumerate(lines, 1):
        fields = [] if _is_comment(line, layout, format) else split_line(line)
        if fields and fields[0] != DOCUMENT_START:
            _check_row(number, fields, layout, format)
            rows.append((number, fields))
        elif rows:
            yield _make_sentence(rows, layout, format)
            rows = []
    if rows:
        yield _make_sentence(rows, layout, format)


def _may_be_comment(line: str, format: ColumnFormat) -> bool:
    if format.comment_prefix is None:
        return line.startswith(("# ", "#\t"))
    return bool(format.comment_prefix) and line.startswith(format.comment_prefix)


def _is_comment(line: str, layout: Layout, format: ColumnFormat) -> bool:
    """Distinguish a comment from a row whose word is #, by the entity tag of a row."""
    if not _may_be_comment(line, format):
        return False
    if format.comment_prefix is not None:
        return True
    fields = split_line(line)
    has_separator = ("\t" in line) == layout.has_tabs
    if len(fields) != layout.n_columns:
        # A row with a missing or extra column, which _check_row reports.
        return not (has_separator and is_tag(fields[-1]))
    tag = fields[layout.indices[NER]]
    return not (is_tag(tag) or (has_separator and not tag))


def _comment_hint(line: str) -> str:
    if not line.startswith("#"):
        return ""
    return ' If lines that start with # are comments, set comment_prefix = "#".'


def _check_row(
    number: int, fields: List[str], layout: Layout, format: ColumnFormat
) -> None:
    if len(fields) != layout.n_columns:
        raise ColumnsError(
            f"line {number}: expected {layout.n_columns} columns, as before, found "
            f"{len(fields)}: {fields}.{_comment_hint(fields[0])}"
        )
    for name, advice in (
        (TEXT, 'Fill it in, remove the line, or set blank_words = "skip".'),
        (NER, "Fill it in, or remove the line."),
    ):
        # The other columns may be empty.
        may_be_empty = name == TEXT and format.skip_blank_words
        if not fields[layout.indices[name]] and not may_be_empty:
            raise ColumnsError(
                f"line {number}: expected a value in the column {name}, found an empty "
                f"one in {fields}. {advice}"
            )


def _make_sentence(
    rows: List[Tuple[int, List[str]]], layout: Layout, format: ColumnFormat
) -> Sentence:
    lines, fields = zip(*rows)
    columns = list(zip(*fields))
    indices = layout.indices
    words = list(columns[indices[TEXT]])
    if format.skip_blank_words:
        words = [word if word.strip() else "" for word in words]
    return Sentence(
        list(lines),
        words,
        list(columns[indices[TAG]]) if TAG in indices else [],
        list(columns[indices[NER]]),
    )


def _check_words(sentences: List[Sentence]) -> None:
    """Check that the words are not the indices of words, nor all blank."""
    words = [word for sentence in sentences for word in sentence.words]
    if not any(words):
        raise ColumnsError("expected words in columns, found none.")
    if len(words) > 1 and all(map(_INDEX.fullmatch, words)):
        raise ColumnsError(
            f"expected words, found only numbers ({', '.join(words[:3])} ...), as in a "
            "column of word indices. Name the columns of the words and of the "
            f"entities: {EXAMPLES}."
        )


def _check_tags(sentences: List[Sentence]) -> None:
    """Check that part-of-speech tags are not the tags of nested entities."""
    tags = [tag for sentence in sentences for tag in sentence.tags]
    if all(map(is_tag, tags)):
        raise ColumnsError(
            "expected a word, a part-of-speech tag and an entity tag in three columns, "
            f"found entity tags ({', '.join(sorted(set(tags))[:3])}) in the second, "
            f'too. Name the one to read: columns = ["{TEXT}", "{NER}"] or '
            f'["{TEXT}", "{IGNORED}", "{NER}"].'
        )
