"""The reader of CoNLL-2003-style files."""

from __future__ import annotations

from pathlib import Path

import pytest
import spacy
from spacy.tokens import Doc
from spacy.training import Example
from spacy.util import registry

from spacy_elmo.readers.conll2003 import ColumnsError

# IOB1, with the header that most copies of CoNLL-2003 have.
ENGLISH = """\
-DOCSTART- -X- -X- O

Ann NNP I-NP I-PER
Lee NNP I-NP I-PER
Bo NNP I-NP B-PER
sang VBD I-VP O
. . O O

-DOCSTART- -X- -X- O

In IN I-PP O
New NNP I-NP I-LOC
York NNP I-NP I-LOC
"""
PEOPLE = [("Ann Lee", "PER"), ("Bo", "PER")]
PLACES = [("New York", "LOC")]


def _read(path: Path, text: str, **settings: object) -> list[Example]:
    path.write_text(text, encoding="utf8")
    make_reader = registry.readers.get("spacy_elmo.Conll2003Corpus.v1")
    return list(make_reader(path, **settings)(spacy.blank("en")))


def _entities(doc: Doc) -> list[tuple[str, str]]:
    return [(entity.text, entity.label_) for entity in doc.ents]


def test_words_tags_and_entities(tmp_path: Path) -> None:
    first, second = _read(tmp_path / "eng.train", ENGLISH)
    words = ["Ann", "Lee", "Bo", "sang", "."]
    assert [token.text for token in first.predicted] == words
    assert [token.text for token in first.reference] == words
    tags = [token.tag_ for token in first.reference]
    assert tags == ["NNP", "NNP", "NNP", "VBD", "."]
    assert _entities(first.reference) == PEOPLE
    assert _entities(second.reference) == PLACES
    assert not first.predicted.has_annotation("TAG")
    assert not first.predicted.ents
    assert len(list(first.reference.sents)) == 1


def test_a_byte_order_mark_is_no_part_of_a_word(tmp_path: Path) -> None:
    first, _ = _read(tmp_path / "eng.train", "\ufeff" + ENGLISH)
    assert [token.text for token in first.predicted][:2] == ["Ann", "Lee"]


def test_words_outside_entities_are_annotated_so(tmp_path: Path) -> None:
    """Missing annotation would teach and score nothing."""
    first, _ = _read(tmp_path / "eng.train", ENGLISH)
    assert [token.ent_iob_ for token in first.reference] == ["B", "I", "B", "O", "O"]


@pytest.mark.parametrize(
    ("changes", "scheme"),
    [
        ((), "IOB1"),
        ((("I-NP I-PER\nLee", "I-NP B-PER\nLee"), ("New NNP I-NP I", "New NNP I-NP B")),
         "IOB2"),
        ((("I-PER\nLee", "B-PER\nLee"), ("Lee NNP I-NP I", "Lee NNP I-NP E"),
          ("Bo NNP I-NP B", "Bo NNP I-NP S"), ("New NNP I-NP I", "New NNP I-NP B"),
          ("York NNP I-NP I", "York NNP I-NP E")), "BIOES"),
    ],
)  # fmt: skip
def test_schemes(
    tmp_path: Path, changes: tuple[tuple[str, str], ...], scheme: str
) -> None:
    text = ENGLISH
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    for settings in ({}, {"scheme": scheme}):
        first, second = _read(tmp_path / "text", text, **settings)
        assert _entities(first.reference) == PEOPLE
        assert _entities(second.reference) == PLACES


def test_two_columns_with_lines_of_white_space(tmp_path: Path) -> None:
    """As WNUT-17."""
    text = "Ann\tB-PER\nLee\tI-PER\n\t\nsang\tO\n\n\n"
    first, second = _read(tmp_path / "text", text)
    assert _entities(first.reference) == [("Ann Lee", "PER")]
    assert [token.text for token in second.reference] == ["sang"]
    assert not first.reference.has_annotation("TAG")


def test_five_columns_have_a_lemma(tmp_path: Path) -> None:
    """As the German CoNLL-2003."""
    text = "Anns Ann NE I-NC I-PER\nHaus Haus NN I-NC O\n"
    (example,) = _read(tmp_path / "deu.train", text)
    assert [token.tag_ for token in example.reference] == ["NE", "NN"]
    assert _entities(example.reference) == [("Anns", "PER")]


def test_blanks_stay_in_words_between_tabs(tmp_path: Path) -> None:
    (example,) = _read(tmp_path / "text", "1 000\tO\na\u00a0b\tB-PER\n")
    assert [token.text for token in example.reference] == ["1 000", "a\u00a0b"]


def test_limit(tmp_path: Path) -> None:
    assert len(_read(tmp_path / "text", ENGLISH, limit=1)) == 1


def test_lines_of_windows(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes(ENGLISH.replace("\n", "\r\n").encode())
    make_reader = registry.readers.get("spacy_elmo.Conll2003Corpus.v1")
    first, _ = make_reader(path)(spacy.blank("en"))
    assert _entities(first.reference) == PEOPLE


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected words in columns, found none"),
        ("-DOCSTART- -X- -X- O\n", "found none"),
        ("Ann NNP B-PER\n", "line 1: expected 2, 4 or 5 columns .* found 3"),
        ("Ann B-PER\nLee NNP I-NP I-PER\n", "line 2: expected 2 columns, as before"),
        ("Ann B-PER\n\nBo PER\n", "text, line 3: expected O, B-TYPE, I-TYPE"),
        ("Ann\tO\n\tO\n", "text: line 2: expected the column 'word' filled"),
        ("Ann\tO\n\nBo\t\n", "text: line 3: expected the column 'entity' filled"),
    ],
)
def test_what_cannot_be_read_is_refused(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(ColumnsError, match=message):
        _read(tmp_path / "text", text)


def test_a_scheme_that_the_file_is_not_in_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ColumnsError, match=r"line 3: .*none has begun"):
        _read(tmp_path / "text", ENGLISH, scheme="IOB2")


def test_a_file_in_two_schemes_is_refused_by_both_lines(tmp_path: Path) -> None:
    """Either may be the wrong one."""
    text = "a B-X\nb O\nc I-X\n\nd B-Y\n"
    with pytest.raises(ColumnsError) as error:
        _read(tmp_path / "text", text)
    for part in ("text: expected", "I-X in line 3", "B-X in line 1", 'scheme = "IOB2"'):
        assert part in str(error.value)
    for scheme, line in (("IOB2", 3), ("IOB1", 1)):
        with pytest.raises(ColumnsError, match=f"line {line}: "):
            _read(tmp_path / "text", text, scheme=scheme)


def test_other_columns_may_be_empty(tmp_path: Path) -> None:
    (example,) = _read(tmp_path / "text", "Ann\t\t\tB-PER\nsang\tVBD\t\tO\n")
    assert [token.tag_ for token in example.reference] == ["", "VBD"]


def test_a_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes("Zoë B-PER\n".encode("latin1"))
    make_reader = registry.readers.get("spacy_elmo.Conll2003Corpus.v1")
    with pytest.raises(ColumnsError, match="text: 'utf-8' codec"):
        list(make_reader(path)(spacy.blank("en")))


def test_settings_are_checked() -> None:
    make_reader = registry.readers.get("spacy_elmo.Conll2003Corpus.v1")
    with pytest.raises(ValueError, match="found 'BIO'"):
        make_reader(None, scheme="BIO")
    with pytest.raises(ValueError, match=r"limit: expected .* found -1"):
        make_reader(None, limit=-1)
    with pytest.raises(ColumnsError, match=r"--paths\.train"):
        list(make_reader(None)(spacy.blank("en")))


def test_a_recognizer_learns_from_it(tmp_path: Path) -> None:
    examples = _read(tmp_path / "text", ENGLISH)
    nlp = spacy.blank("en")
    nlp.add_pipe("ner")
    spacy.util.fix_random_seed(0)
    nlp.initialize(lambda: examples)
    for _ in range(30):
        nlp.update(examples, losses={})
    assert nlp.evaluate(examples)["ents_f"] == 1.0
