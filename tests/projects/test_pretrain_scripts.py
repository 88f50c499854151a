"""Scripts of the project pretrain, from a text to shards and a vocabulary."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from helpers import runs
from helpers.corpora import documents_of, read_back
from helpers.pretrain_project import PROJECT
from helpers.project_copies import copy_project, refused, script

from spacy_elmo.pretraining.data.prepare import prepare
from spacy_elmo.pretraining.data.shards import Shards
from spacy_elmo.text.vocabulary import Vocabulary


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return copy_project(PROJECT, tmp_path)


# wikitext.py

WIKITEXT = """
 = Title =

 The first sentence . The second one ! And a third ? rest of it
 = = Part = =
 .
 A line without an end
"""


def test_wikitext_is_split_into_sentences(project: Path) -> None:
    assets = project / "assets"
    assets.mkdir()
    (assets / "wikitext-2.test.tokens").write_text(WIKITEXT, encoding="utf8")
    lines = [f" line {n} . of <unk>\n" for n in range(3005)]
    (assets / "wikitext-2.valid.tokens").write_text("".join(lines), encoding="utf8")
    shown = script(project, "wikitext", "assets", "corpus/text")
    text = {
        name: (project / "corpus" / "text" / f"{name}.txt").read_text(encoding="utf8")
        for name in ("train", "dev")
    }
    expected = [
        "",
        "The first sentence .",
        "The second one !",
        "And a third ?",
        "rest of it",
        "",
        "A line without an end",
        "line 0 .",
        "of <unk>",
    ]
    assert text["train"].split("\n")[:9] == expected
    assert text["train"].endswith("line 2999 .\nof <unk>\n")
    assert text["dev"].startswith("line 3000 .\nof <unk>\nline 3001 .\n")
    assert f"{len(text['train'].split()):,} words" in shown
    assert f"{len(text['dev'].split()):,} words" in shown


def test_wikitext_has_the_documented_length(project: Path, shared: Path) -> None:
    script(project, "local_assets", shared / "data" / "eval" / "lm")
    shown = script(project, "wikitext", "assets", "corpus/text")
    train, dev = (int(n.replace(",", "")) for n in re.findall(r"([\d,]+) words", shown))
    assert train == pytest.approx(403_000, rel=0.01)
    assert dev == pytest.approx(42_000, rel=0.02)


# shard.py, vocabulary.py


def test_shards_of_a_text(project: Path) -> None:
    text = "a b\nc\n\nb b\n"
    (project / "one.txt").write_text(text, encoding="utf8")
    shown = script(project, "shard", "corpus/train", "one.txt")
    shards = Shards(project / "corpus" / "train")
    assert read_back(shards) == documents_of(text)
    assert "5 words, 3 sentences, 2 documents, 3 types" in shown
    same = prepare([project / "one.txt"], project / "cache")
    assert shards.identity == same.identity
    # Another text replaces the shards.
    (project / "two.txt").write_text("d\n", encoding="utf8")
    script(project, "shard", "corpus/train", "two.txt")
    assert read_back(Shards(project / "corpus" / "train")) == [[["d"]]]


def test_shards_of_shards_and_of_a_folder(project: Path) -> None:
    runs.write_text(project / "text" / "a.txt", 3)
    runs.write_text(project / "text" / "b.txt", 3, seed=1)
    script(project, "shard", "corpus/first", "text")
    script(project, "shard", "corpus/second", "corpus/first")
    first, second = (Shards(project / "corpus" / n) for n in ("first", "second"))
    assert first.identity == second.identity
    assert first.meta["n_sentences"] == 6


def test_shards_with_the_tokenizer_of_a_language(project: Path) -> None:
    (project / "one.txt").write_text("It's here. Isn't it?\n", encoding="utf8")
    options = ("--tokenizer", "en", "--sentences", "split")
    script(project, "shard", "corpus/train", "one.txt", *options)
    (document,) = read_back(Shards(project / "corpus" / "train"))
    assert document == [["It", "'s", "here", "."], ["Is", "n't", "it", "?"]]


def test_invalid_texts_are_refused(project: Path) -> None:
    assert "none.txt" in refused(project, "shard", "corpus/train", "none.txt")
    (project / "one.txt").write_text("a\n", encoding="utf8")
    shown = refused(
        project, "shard", "corpus/train", "one.txt", "--sentences", "paragraphs"
    )
    assert "sentences" in shown
    assert not (project / "corpus" / "train").exists()


def test_vocabulary_is_cut(project: Path) -> None:
    (project / "train.txt").write_text("a a a b b c\n", encoding="utf8")
    (project / "dev.txt").write_text("a b c d\n", encoding="utf8")
    for name in ("train", "dev"):
        script(project, "shard", f"corpus/{name}", f"{name}.txt")
    folders = ("corpus/train", "corpus/dev")
    for options, words, unknown in (
        ((), {"a", "b", "c"}, 1),
        (("--min-count", 2), {"a", "b"}, 2),
        (("--max-size", 4), {"a"}, 3),
    ):
        shown = script(project, "vocabulary", *folders, "words.txt", *options)
        found = Vocabulary.read(project / "words.txt")
        assert set(found.words) == {"<S>", "</S>", "<UNK>"} | words
        assert f"{len(found)} words" in shown
        assert f"corpus/dev: {unknown / 4:.2%} of 4 words unknown" in shown
    shown = refused(project, "vocabulary", *folders, "no.txt", "--max-size", 2)
    assert "max_size" in shown
    assert "corpus/none" in refused(
        project, "vocabulary", "corpus/none", "corpus/dev", "no.txt"
    )
    assert not (project / "no.txt").exists()
