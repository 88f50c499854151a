"""The reader of CoNLL-2003-style files."""

from __future__ import annotations

from pathlib import Path

import pytest
import spacy
from spacy.tokens import Doc
from spacy.training import Example
from spacy.util import registry

from spacy_elmo.readers.conll2003 import ColumnsError

# IOB1, with the header of most copies of CoNLL-2003.
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


make_reader = registry.readers.get("spacy_elmo.Conll2003Corpus.v1")


def read(path: Path, text: str, **settings: object) -> list[Example]:
    path.write_bytes(text.encode("utf8"))
    return list(make_reader(path, **settings)(spacy.blank("en")))


def entities(doc: Doc) -> list[tuple[str, str]]:
    return [(entity.text, entity.label_) for entity in doc.ents]


def test_words_tags_andentities(tmp_path: Path) -> None:
    first, second = read(tmp_path / "eng.train", ENGLISH)
    words = ["Ann", "Lee", "Bo", "sang", "."]
    assert [token.text for token in first.predicted] == words
    assert [token.text for token in first.reference] == words
    tags = [token.tag_ for token in first.reference]
    assert tags == ["NNP", "NNP", "NNP", "VBD", "."]
    assert entities(first.reference) == PEOPLE
    assert entities(second.reference) == PLACES
    assert not first.predicted.has_annotation("TAG")
    assert not first.predicted.ents
    assert len(list(first.reference.sents)) == 1


def test_byte_order_mark(tmp_path: Path) -> None:
    first, _ = read(tmp_path / "eng.train", "\ufeff" + ENGLISH)
    assert [token.text for token in first.predicted][:2] == ["Ann", "Lee"]


def test_words_outside_entities_are_annotated(tmp_path: Path) -> None:
    """Missing annotation would be ignored by training and scoring."""
    first, _ = read(tmp_path / "eng.train", ENGLISH)
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
        first, second = read(tmp_path / "text", text, **settings)
        assert entities(first.reference) == PEOPLE
        assert entities(second.reference) == PLACES


def test_two_columns_as_in_wnut17(tmp_path: Path) -> None:
    text = "Ann\tB-PER\nLee\tI-PER\n\t\nsang\tO\n\n\n"
    first, second = read(tmp_path / "text", text)
    assert entities(first.reference) == [("Ann Lee", "PER")]
    assert [token.text for token in second.reference] == ["sang"]
    assert not first.reference.has_annotation("TAG")


def test_five_columns_as_in_german_conll2003(tmp_path: Path) -> None:
    text = "Anns Ann NE I-NC I-PER\nHaus Haus NN I-NC O\n"
    (example,) = read(tmp_path / "deu.train", text)
    assert [token.tag_ for token in example.reference] == ["NE", "NN"]
    assert entities(example.reference) == [("Anns", "PER")]


# Files as their authors publish them


def check(path: Path, text: str, *expected: tuple[str, str], **settings: object) -> Doc:
    """Read a single sentence with these entities."""
    (example,) = read(path, text, **settings)
    assert entities(example.reference) == list(expected)
    return example.reference


def test_three_columns_as_in_dutch_conll2002(tmp_path: Path) -> None:
    text = "-DOCSTART- -DOCSTART- O\nDe Art O\nKöln N B-LOC\n"
    doc = check(tmp_path / "ned.train", text, ("Köln", "LOC"))
    assert [token.tag_ for token in doc] == ["Art", "N"]
    (tmp_path / "latin1").write_bytes(text.encode("latin1"))
    reader = make_reader(tmp_path / "latin1", encoding="latin1")
    (example,) = reader(spacy.blank("nl"))
    assert entities(example.reference) == [("Köln", "LOC")]


def test_comments_as_in_multiconer(tmp_path: Path) -> None:
    text = "# id 5 domain=train\n# _ _ O\nthe _ _ O\nHaag _ _ B-LOC\n\n# id 6\n"
    doc = check(tmp_path / "text", text, ("Haag", "LOC"))
    assert [token.text for token in doc] == ["#", "the", "Haag"]
    assert not doc.has_annotation("TAG")


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("0\tDen\tB-LOC\n1\tHaag\tI-LOC\n", ["_", "TEXT", "NER"]),  # WikiNEuRal
        (
            "#\tn-tv.de [2005-02-26]\n1\tDen\tB-LOC\tO\n2\tHaag\tI-LOC\tB-LOC\n",
            ["_", "TEXT", "NER", "_"],  # GermEval
        ),
        (
            "# sent_id = 1\n# text = Den Haag\n1\tDen\tB-LOC\t-\t-\n"
            "2\tHaag\tI-LOC\t-\t-\n",
            ["_", "TEXT", "NER", "_", "_"],  # Universal NER
        ),
    ],
)
def test_numbered_words(tmp_path: Path, text: str, columns: list[str]) -> None:
    """Numbers are never read as words."""
    check(tmp_path / "text", text, ("Den Haag", "LOC"), columns=columns)
    with pytest.raises(ColumnsError, match=r"found their numbers.*columns ="):
        read(tmp_path / "text", text.replace("B-LOC\t-", "O\t-"))


def test_biluo_tags(tmp_path: Path) -> None:
    text = "New B-LOC\nYork L-LOC\nin O\nOslo U-LOC\n"
    for settings in ({}, {"scheme": "BILUO"}):
        expected = ("New York", "LOC"), ("Oslo", "LOC")
        check(tmp_path / "text", text, *expected, **settings)


def test_blank_words(tmp_path: Path) -> None:
    text = "Ann\tB-PER\n\tO\nsang\tO\n"
    doc = check(tmp_path / "text", text, ("Ann", "PER"), blank_words="skip")
    assert [token.text for token in doc] == ["Ann", "sang"]


def test_words_with_spaces(tmp_path: Path) -> None:
    (example,) = read(tmp_path / "text", "1 000\tO\na\u00a0b\tB-PER\n")
    assert [token.text for token in example.reference] == ["1 000", "a\u00a0b"]


def test_limit(tmp_path: Path) -> None:
    assert len(read(tmp_path / "text", ENGLISH, limit=1)) == 1


@pytest.mark.parametrize(
    ("newline", "encoding"), [("\r\n", "utf8"), ("\r", "utf8"), ("\n", "utf16")]
)
def test_line_endings_and_encodings(
    tmp_path: Path, newline: str, encoding: str
) -> None:
    path = tmp_path / "text"
    path.write_bytes(ENGLISH.replace("\n", newline).encode(encoding))
    first, _ = make_reader(path, encoding=encoding)(spacy.blank("en"))
    assert entities(first.reference) == PEOPLE


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected words in columns, found none"),
        ("-DOCSTART- -X- -X- O\n", "found none"),
        ("a b c d e O\n", "line 1: expected 2 to 5 columns, found 6.*columns ="),
        (
            "Ann B-PER\nLee NNP I-NP I-PER\n",
            r"line 2: expected 2 columns .* found 4",
        ),
        ("Ann B-PER\n\nBo PER\n", "text, line 3: expected O, B-TYPE, I-TYPE"),
        ("Ann\tO\n\tO\n", "text: line 2: expected a value in the column TEXT"),
        ("Ann\tO\n\nBo\t\n", "text: line 3: expected a value in the column NER"),
    ],
)
def test_invalid_files(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ColumnsError, match=message):
        read(tmp_path / "text", text)


def test_tags_of_another_scheme(tmp_path: Path) -> None:
    with pytest.raises(ColumnsError, match=r"line 3: .*at the start of one"):
        read(tmp_path / "text", ENGLISH, scheme="IOB2")


def test_tags_of_two_schemes(tmp_path: Path) -> None:
    """The message names both lines, because either may be wrong."""
    text = "a B-X\nb O\nc I-X\n\nd B-Y\n"
    with pytest.raises(ColumnsError) as error:
        read(tmp_path / "text", text)
    for part in ("text: expected", "I-X in line 3", "B-X in line 1", 'scheme = "IOB2"'):
        assert part in str(error.value)
    for scheme, line in (("IOB2", 3), ("IOB1", 1)):
        with pytest.raises(ColumnsError, match=f"line {line}: "):
            read(tmp_path / "text", text, scheme=scheme)


def test_other_columns_may_be_empty(tmp_path: Path) -> None:
    (example,) = read(tmp_path / "text", "Ann\t\t\tB-PER\nsang\tVBD\t\tO\n")
    assert [token.tag_ for token in example.reference] == ["", "VBD"]


def test_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes("Zoë B-PER\n".encode("latin1"))
    with pytest.raises(ColumnsError, match=r"line 1: expected utf8, .* encoding ="):
        list(make_reader(path)(spacy.blank("en")))


def test_invalid_settings() -> None:
    with pytest.raises(ValueError, match="found 'BIO'"):
        make_reader(None, scheme="BIO")
    for columns in (["TEXT"], ["TEXT", "NER", "NER"], ["TEXT", "NER", "LEMMA"]):
        with pytest.raises(ValueError, match="columns: expected TEXT and NER once"):
            make_reader(None, columns=columns)
    with pytest.raises(ValueError, match=r"encoding: expected .* found 'none'"):
        make_reader(None, encoding="none")
    with pytest.raises(ValueError, match="blank_words: expected error or skip"):
        make_reader(None, blank_words="keep")
    with pytest.raises(ValueError, match=r"limit: expected .* found -1"):
        make_reader(None, limit=-1)
    with pytest.raises(ColumnsError, match=r"--paths\.train"):
        list(make_reader(None)(spacy.blank("en")))


def test_training_an_entity_recognizer(tmp_path: Path) -> None:
    examples = read(tmp_path / "text", ENGLISH)
    nlp = spacy.blank("en")
    nlp.add_pipe("ner")
    spacy.util.fix_random_seed(0)
    nlp.initialize(lambda: examples)
    for _ in range(30):
        nlp.update(examples, losses={})
    assert nlp.evaluate(examples)["ents_f"] == 1.0
