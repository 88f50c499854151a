"""The reader of CoNLL files: words, tags, entities and settings."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
import spacy
from spacy.tokens import Doc
from spacy.training import Example
from spacy.util import registry

from spacy_elmo.readers.columns import ColumnsError

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


make_reader = registry.readers.get("spacy_elmo.ConllCorpus.v1")


def read(path: Path, text: str, **settings: object) -> list[Example]:
    path.write_bytes(text.encode("utf8"))
    return list(make_reader(path, **settings)(spacy.blank("en")))


def entities(doc: Doc) -> list[tuple[str, str]]:
    return [(entity.text, entity.label_) for entity in doc.ents]


def test_words_tags_and_entities(tmp_path: Path) -> None:
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
        ((("I-PER\nLee", "B-PER\nLee"), ("Lee NNP I-NP I", "Lee NNP I-NP L"),
          ("Bo NNP I-NP B", "Bo NNP I-NP U"), ("New NNP I-NP I", "New NNP I-NP B"),
          ("York NNP I-NP I", "York NNP I-NP L")), "BILUO"),
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


def test_words_with_spaces(tmp_path: Path) -> None:
    (example,) = read(tmp_path / "text", "1 000\tO\na\u00a0b\tB-PER\n")
    assert [token.text for token in example.reference] == ["1 000", "a\u00a0b"]


def test_limit(tmp_path: Path) -> None:
    assert len(read(tmp_path / "text", ENGLISH, limit=1)) == 1


@pytest.mark.parametrize("newline", ["\r\n", "\r"])
def test_line_endings(tmp_path: Path, newline: str) -> None:
    first, _ = read(tmp_path / "eng.train", ENGLISH.replace("\n", newline))
    assert entities(first.reference) == PEOPLE


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected words in columns, found none"),
        ("-DOCSTART- -X- -X- O\n", "found none"),
        ("Ann\n", "line 1: expected 2 to 5 columns, .* found 1"),
        ("Ann B-PER\nLee NNP I-NP I-PER\n", "line 2: expected 2 columns, as before"),
        ("Ann B-PER\n\nBo PER\n", "text, line 3: expected O, B-TYPE, I-TYPE"),
        ("Ann\tO\n\tO\n", 'line 2: .* in the column TEXT.* blank_words = "skip"'),
        ("Ann\tO\n\nBo\t\n", "text: line 3: expected a value in the column NER"),
        ("Ann O\n#begin\n", 'line 2: .* found 1.*comment_prefix = "#"'),
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
    for part in ("text: expected", "I-X in line 3", "B-X in line 1", 'scheme = "IOB"'):
        assert part in str(error.value)
    first, second = read(tmp_path / "text", text, scheme="IOB")
    assert entities(first.reference) == [("a", "X"), ("c", "X")]
    assert entities(second.reference) == [("d", "Y")]
    for scheme, line in (("IOB2", 3), ("IOB1", 1)):
        with pytest.raises(ColumnsError, match=f"line {line}: "):
            read(tmp_path / "text", text, scheme=scheme)


def test_other_columns_may_be_empty(tmp_path: Path) -> None:
    (example,) = read(tmp_path / "text", "Ann\t\t\tB-PER\nsang\tVBD\t\tO\n")
    assert [token.tag_ for token in example.reference] == ["", "VBD"]


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_wrong_encoding(tmp_path: Path, newline: str) -> None:
    path = tmp_path / "text"
    path.write_bytes(f"Ann O{newline}{newline}Zoë B-PER{newline}".encode("latin1"))
    with pytest.raises(ColumnsError, match=r"line 3: .* utf-8, .*byte 0xeb.*encoding"):
        list(make_reader(path)(spacy.blank("en")))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "cp1252"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "text"
    path.write_bytes("Zoë B-PER\n".encode(encoding))
    (example,) = make_reader(path, encoding=encoding)(spacy.blank("en"))
    assert entities(example.reference) == [("Zoë", "PER")]


def test_compressed_files(tmp_path: Path) -> None:
    path = tmp_path / "eng.train.gz"
    path.write_bytes(gzip.compress(ENGLISH.encode("utf8")))
    first, _ = make_reader(path)(spacy.blank("en"))
    assert entities(first.reference) == PEOPLE
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ColumnsError, match="a file that can be read, found"):
        list(make_reader(path)(spacy.blank("en")))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scheme": "BMES"}, "scheme: .*IOB2.* found 'BMES'"),
        ({"limit": -1}, "limit: expected .* found -1"),
        ({"blank_words": "keep"}, "blank_words: .* found 'keep'"),
        ({"encoding": "latin-0"}, "encoding: .* found 'latin-0'"),
        ({"columns": ["TEXT", "TAG"]}, r'columns: .* found \["TEXT", "TAG"\]'),
        ({"columns": ["word", "NER"]}, "columns: .* found"),
        ({"columns": ["TEXT", "NER", "NER"]}, "columns: .* found"),
        ({"columns": {"TEXT": 0, "NER": 1}}, "columns: .* from 1 .* found"),
        ({"columns": {"TEXT": 1, "NER": 1}}, "columns: .* found"),
    ],
)
def test_invalid_settings(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_reader(None, **settings)


def test_path_is_null() -> None:
    with pytest.raises(ColumnsError, match=r"--paths\.train"):
        list(make_reader(None)(spacy.blank("en")))


def test_name_of_version_0_1() -> None:
    assert registry.readers.get("spacy_elmo.Conll2003Corpus.v1") is make_reader


def test_training_an_entity_recognizer(tmp_path: Path) -> None:
    examples = read(tmp_path / "text", ENGLISH)
    nlp = spacy.blank("en")
    nlp.add_pipe("ner")
    spacy.util.fix_random_seed(0)
    nlp.initialize(lambda: examples)
    for _ in range(30):
        nlp.update(examples, losses={})
    assert nlp.evaluate(examples)["ents_f"] == 1.0


def test_file_that_decompresses_to_an_absurd_size(tmp_path: Path) -> None:
    path = tmp_path / "a.conll.gz"
    path.write_bytes(gzip.compress(b"a O\n" * 1_000_000))
    reader = registry.readers.get("spacy_elmo.ConllCorpus.v1")(path)
    with pytest.raises(ColumnsError, match="more than 1048576 bytes") as caught:
        list(reader(spacy.blank("en")))
    assert str(path) in str(caught.value)
