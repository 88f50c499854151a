"""Tokenizers: the same words and sentences as in spaCy's Docs."""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
from helpers.corpora import corpus_refused, documents_of, sentences_of
from hypothesis import example, given
from hypothesis import strategies as st
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example

from spacy_elmo.text.tokenizers import SpacyTokenizer, Tokenized, make_tokenizer

# Without lone surrogates, and without byte order marks, which files may start with.
CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\ufeff\n")
SPACES = st.sampled_from([" ", "  ", "\t", "\r", "\xa0", "\x85", "\u2028", "\x1c"])
PIECES = st.sampled_from(["a", "b", ".", "?!", "don't", "U.S.", "é", "。"])
LINES = st.lists(st.one_of(PIECES, SPACES, CHARACTERS), max_size=12).map(
    lambda pieces: "".join(pieces).strip()
)

TEXT = ["One line.", "And  another\u2028one\xa0here.", "", "", "Three. Or four?", ""]


def words_of(doc: Any) -> list[str]:
    return [token.text for token in doc if not token.is_space]


# Whitespace


@given(lines=st.lists(LINES, max_size=8))
@example(lines=["", "", "a a", "", "b a", "", ""])
def test_whitespace(lines: list[str]) -> None:
    chunk = make_tokenizer("whitespace", "lines")(lines)
    expected = [line.split() for line in lines if line]
    assert sentences_of(chunk) == expected
    words = [word for words in expected for word in words]
    assert chunk.types == list(dict.fromkeys(words))
    assert chunk.ids.dtype == np.uint32
    assert chunk.documents.dtype == np.int64
    assert_documents(chunk, lines)


def assert_documents(chunk: Tokenized, lines: list[str]) -> None:
    """Documents end at empty lines."""
    ends = [0, *chunk.documents.tolist(), len(chunk.ids)]
    assert ends == sorted(ends)
    assert len(set(chunk.documents.tolist())) == len(chunk.documents)
    sizes = [int((chunk.ids[i:j] == 0).sum()) for i, j in pairwise(ends)]
    expected = documents_of("\n".join(lines))
    assert [size for size in sizes if size] == [len(document) for document in expected]
    assert (chunk.documents[:1] == 0).any() == (lines[:1] == [""])


# spaCy


@given(lines=st.lists(LINES, max_size=5))
@example(lines=["a", "", "b c.", "", "", "a"])
@example(lines=["a \xa0 b\u2028c\x85 d"])
def test_words_of_a_blank_pipeline(lines: list[str]) -> None:
    chunk = ENGLISH(lines)
    assert sentences_of(chunk) == [words_of(PLAIN(line)) for line in lines if line]
    assert len(set(chunk.types)) == len(chunk.types)
    assert set(chunk.ids.tolist()) <= set(range(len(chunk.types) + 1))
    assert chunk.ids.dtype == np.uint32
    assert_documents(chunk, lines)


@given(line=LINES)
@example(line="Hello there. How are you? Fine!")
@example(line="Hello there.  How are you?")
@example(line="One.\u2028Two.")
def test_sentences_of_the_sentencizer(line: str) -> None:
    sents = [words_of(sent) for sent in SENTENCES(line).sents]
    assert sentences_of(SPLIT([line])) == [words for words in sents if words]


PLAIN = spacy.blank("en")
SENTENCES = spacy.blank("en")
SENTENCES.add_pipe("sentencizer")
ENGLISH = make_tokenizer("en", "lines")
SPLIT = make_tokenizer("en", "split")


def test_lines_stay_whole_unless_split() -> None:
    lines = ["One. Two.", "Three."]
    assert [len(words) for words in sentences_of(ENGLISH(lines))] == [4, 2]
    assert [len(words) for words in sentences_of(SPLIT(lines))] == [2, 2, 2]


@pytest.mark.parametrize("spaces", ["  ", " \t", "\xa0", " \u2028 "])
def test_whitespace_between_sentences(spaces: str) -> None:
    """spaCy's sentencizer assigns it to the sentence that follows."""
    chunk = SPLIT([f"Hello there.{spaces}How are you?"])
    assert sentences_of(chunk) == [
        ["Hello", "there", "."],
        ["How", "are", "you", "?"],
    ]


def test_another_language() -> None:
    assert sentences_of(make_tokenizer("de", "lines")(["z.B. heute"])) == [
        words_of(spacy.blank("de")("z.B. heute"))
    ]
    assert sentences_of(make_tokenizer("xx", "split")(["Один. 二。 ३।"])) == [
        ["Один", "."],
        ["二", "。"],
        ["३", "।"],
    ]


@Language.component("cut_at_bars", assigns=["token.is_sent_start"])
def cut_at_bars(doc: Doc) -> Doc:
    for token in doc[1:]:
        token.is_sent_start = doc[token.i - 1].text == "|"
    return doc


@Language.component("never_run")
def never_run(doc: Doc) -> Doc:
    raise AssertionError("only components up to the sentence splitter should run")


def test_a_pipeline_from_a_path(tmp_path: Path) -> None:
    nlp = spacy.blank("en")
    nlp.add_pipe("never_run")
    nlp.tokenizer.add_special_case("gimme", [{"ORTH": "gim"}, {"ORTH": "me"}])
    nlp.to_disk(tmp_path)
    line = "gimme that. Now"
    words = ["gim", "me", "that", ".", "Now"]
    assert sentences_of(make_tokenizer(str(tmp_path), "lines")([line])) == [words]
    # The pipeline has no sentence splitter, so the sentencizer is used.
    split = make_tokenizer(str(tmp_path), "split")
    assert sentences_of(split([line])) == [words[:4], words[4:]]


def test_a_pipeline_splits_by_its_own_component(tmp_path: Path) -> None:
    nlp = spacy.blank("en")
    nlp.add_pipe("cut_at_bars")
    nlp.to_disk(tmp_path)
    split = make_tokenizer(str(tmp_path), "split")
    assert sentences_of(split(["a . b | c d |", "e"])) == [
        ["a", ".", "b", "|"],
        ["c", "d", "|"],
        ["e"],
    ]
    whole = make_tokenizer(str(tmp_path), "lines")
    assert len(sentences_of(whole(["a | b"]))) == 1


def test_a_splitter_that_listens_to_a_shared_tok2vec(tmp_path: Path) -> None:
    """As in the pipelines that spaCy publishes. Without its tok2vec, the splitter would
    read zeros."""
    nlp = spacy.blank("en")
    nlp.add_pipe("tok2vec")
    listener = {"@architectures": "spacy.Tok2VecListener.v1", "width": 96}
    nlp.add_pipe("senter", config={"model": {"tok2vec": listener}})
    line = "we go now we stay now they go now"
    starts = [word in ("we", "they") for word in line.split()]
    reference = Doc(nlp.vocab, words=line.split(), sent_starts=starts)
    examples = [Example(nlp.make_doc(line), reference)]
    optimizer = nlp.initialize(lambda: examples)
    for _ in range(15):
        nlp.update(examples, sgd=optimizer)
    expected = [words_of(sent) for sent in nlp(line).sents]
    assert len(expected) == 3
    nlp.to_disk(tmp_path)
    split = make_tokenizer(str(tmp_path), "split")
    assert sentences_of(split([line])) == expected


@pytest.mark.parametrize("sentences", ["lines", "split"])
def test_reloading_a_pipeline_changes_nothing(sentences: str) -> None:
    chunks = [TEXT, ["Another. Chunk."], TEXT[::-1], ["ünïcode wörds"]]
    tokenize = make_tokenizer("en", sentences)
    reloading = SpacyTokenizer("en", split=sentences == "split", max_lexemes=5)
    pipelines = set()
    for chunk in chunks:
        expected, found = tokenize(chunk), reloading(chunk)
        pipelines.add(reloading.nlp)
        assert found.types == expected.types
        np.testing.assert_array_equal(found.ids, expected.ids)
        np.testing.assert_array_equal(found.documents, expected.documents)
    assert len(pipelines) > 2


# Settings


@pytest.mark.parametrize("name", ["whitespace", "en"])
def test_no_text(name: str) -> None:
    for lines in ([], [""], ["", ""]):
        chunk = make_tokenizer(name, "lines")(lines)
        assert (chunk.types, chunk.ids.tolist()) == ([], [])
        assert chunk.documents.tolist() == [0] * bool(lines)


@pytest.mark.parametrize("name", ["whitespace", "en"])
def test_unknown_sentences(name: str) -> None:
    with corpus_refused("sentences:", "lines or split", "'words'", kind=ValueError):
        make_tokenizer(name, "words")


def test_whitespace_cannot_split() -> None:
    with corpus_refused("sentences:", "whitespace", "split", kind=ValueError):
        make_tokenizer("whitespace", "split")


@pytest.mark.parametrize("sentences", ["lines", "split"])
@pytest.mark.parametrize("name", ["klingon", "en_core_web_none", "not/a/path"])
def test_unknown_tokenizer(name: str, sentences: str) -> None:
    known = ("tokenizer:", "'whitespace'", "language code", "name or path")
    with corpus_refused(*known, repr(name), kind=ValueError):
        make_tokenizer(name, sentences)


@pytest.mark.parametrize("sentences", ["lines", "split"])
@pytest.mark.parametrize("name", ["spacy", "numpy", "spacy_elmo", "spacy-elmo"])
def test_a_package_that_is_not_a_pipeline(name: str, sentences: str) -> None:
    known = ("tokenizer:", "'whitespace'", "language code", "name or path")
    found = (repr(name), "an installed package that is not a pipeline")
    with corpus_refused(*known, *found, kind=ValueError):
        make_tokenizer(name, sentences)


@pytest.mark.parametrize(
    ("name", "package", "hint"),
    [("ja", "sudachipy", "pip install spacy[ja]"), ("th", "pythainlp", "PyThaiNLP")],
)
def test_a_language_that_needs_a_missing_package(
    monkeypatch: pytest.MonkeyPatch, name: str, package: str, hint: str
) -> None:
    """The message includes spaCy's, which says what to install."""
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setitem(sys.modules, f"{package}.tokenize", None)
    with corpus_refused("tokenizer:", repr(name), hint, kind=ValueError):
        make_tokenizer(name, "lines")


def test_a_folder_that_is_not_a_pipeline(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("a")
    with corpus_refused("tokenizer:", tmp_path, kind=ValueError):
        make_tokenizer(str(tmp_path), "lines")


def test_a_language_wins_over_a_folder_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Corpora are often in folders named by their language."""
    (tmp_path / "en").mkdir()
    monkeypatch.chdir(tmp_path)
    chunk = make_tokenizer("en", "lines")(["don't"])
    assert sentences_of(chunk) == [["do", "n't"]]
