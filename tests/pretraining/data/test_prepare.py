"""prepare: complete shards, cached, that do not depend on how they were made."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import spacy
from helpers.corpora import (
    COMPRESSIONS,
    compress,
    contents,
    corpus_refused,
    documents_of,
    read_back,
    write,
)
from hypothesis import example, given, settings
from hypothesis import strategies as st

from spacy_elmo.pretraining.data.prepare import prepare
from spacy_elmo.text.tokenization import Tokenization

TEXT = "The dog sees a cat .\nIt runs .\n\nNobody knows\u2028why .\n"


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    write(tmp_path / "corpus" / "a.txt", TEXT)
    write(
        tmp_path / "corpus" / "b" / "c.txt.gz", "Ünïcode wörds\r\n\r\n\r\nthe end\r\n"
    )
    return tmp_path / "corpus"


# The corpus


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_file_types_and_compressions(tmp_path: Path, compression: str) -> None:
    lines = [json.dumps({"text": part}) for part in TEXT.split("\n\n")]
    write(tmp_path / "in" / f"a.txt{compression}", TEXT)
    write(tmp_path / "in" / f"b.jsonl{compression}", "\n".join(lines))
    shards = prepare([tmp_path / "in"], tmp_path / "cache")
    assert read_back(shards) == documents_of(TEXT) * 2
    assert shards.meta["files"] == [f"a.txt{compression}", f"b.jsonl{compression}"]


def test_files_folders_and_globs(corpus: Path, tmp_path: Path) -> None:
    first, second = corpus / "a.txt", corpus / "b" / "c.txt.gz"
    whole = contents(prepare([corpus], tmp_path / "1").folder)
    for paths in ([first, second], [f"{corpus}/**/*.*"], [first, corpus, corpus]):
        cache = tmp_path / "2"
        assert contents(prepare(paths, cache).folder) == whole
        shutil.rmtree(cache)
    turned = prepare([second, first], tmp_path / "1")
    assert read_back(turned) == [
        [["Ünïcode", "wörds"]],
        [["the", "end"]],
        *documents_of(TEXT),
    ]


WORDS = st.sampled_from(["a", "bb", "é", " ", "\n", "\n", "\n\n", "\r\n", "\n \n"])
TEXTS = st.lists(WORDS, max_size=25).map(lambda parts: "".join(["w", *parts]))


@settings(deadline=None, max_examples=50)
@given(
    texts=st.lists(TEXTS, min_size=1, max_size=2),
    chunk_chars=st.integers(1, 30),
    shard_tokens=st.integers(1, 30),
)
@example(texts=["w\n\nw\nw", "w"], chunk_chars=1, shard_tokens=1)
def test_chunk_and_shard_sizes_do_not_matter(
    tmp_path_factory: pytest.TempPathFactory,
    texts: list[str],
    chunk_chars: int,
    shard_tokens: int,
) -> None:
    folder = tmp_path_factory.mktemp("any")
    for i, text in enumerate(texts):
        write(folder / "in" / f"{i}.txt", text)
    shards = prepare(
        [folder / "in"],
        folder / "cache",
        shard_tokens=shard_tokens,
        chunk_chars=chunk_chars,
    )
    expected = documents_of(*texts)
    assert read_back(shards) == expected
    assert shards.meta["n_documents"] == len(expected)
    assert shards.meta["n_sentences"] == sum(map(len, expected))
    words = [word for document in expected for line in document for word in line]
    assert shards.meta["n_tokens"] == len(words)
    whole = prepare([folder / "in"], folder / "whole")
    assert whole.folder != shards.folder
    ours, theirs = (dict(zip(s.types(), s.counts)) for s in (shards, whole))
    assert ours == theirs


def test_settings_reach_the_tokenizer(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "Don't stop. Go on.\n\nThe end.\n")
    split = Tokenization("en", "split")
    shards = prepare([path], tmp_path / "cache", split)
    assert read_back(shards) == [
        [["Do", "n't", "stop", "."], ["Go", "on", "."]],
        [["The", "end", "."]],
    ]
    assert shards.meta["settings"] == {
        "tokenizer": "en",
        "sentences": "split",
        "shard_tokens": 1 << 24,
    }


def test_progress(corpus: Path, tmp_path: Path) -> None:
    total = sum(
        path.stat().st_size for path in (corpus / "a.txt", corpus / "b/c.txt.gz")
    )
    calls: list[tuple[int, int]] = []
    prepare(
        [corpus],
        tmp_path / "cache",
        chunk_chars=8,
        progress=lambda *call: calls.append(call),
    )
    assert len(calls) > 4
    assert sum(read for read, _ in calls) == total
    assert {in_all for _, in_all in calls} == {total}


# Once


@pytest.mark.parametrize("tokenizer", ["whitespace", "en"])
def test_shards_are_cached(corpus: Path, tmp_path: Path, tokenizer: str) -> None:
    chosen = Tokenization(tokenizer)
    first = prepare([corpus], tmp_path / "cache", chosen)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "cache").rglob("*")}
    second = prepare(
        [str(corpus)],
        str(tmp_path / "cache"),
        chosen,
        n_process=2,
        progress=lambda *_: pytest.fail("the corpus was read again"),
    )
    assert second.folder == first.folder
    assert read_back(second) == read_back(first)
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "cache").rglob("*")} == before
    os.utime(corpus / "a.txt", (1, 1))  # neither age nor place of the text matters
    corpus.rename(tmp_path / "moved")
    assert prepare([tmp_path / "moved"], tmp_path / "cache", chosen).meta == first.meta


def test_texts_and_settings_have_folders_of_their_own(
    corpus: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    folders = [
        prepare([corpus], cache, chosen).folder
        for chosen in (
            Tokenization(),
            Tokenization("en"),
            Tokenization("de"),
            Tokenization("en", "split"),
        )
    ]
    folders.append(prepare([corpus], cache, shard_tokens=5).folder)
    write(corpus / "a.txt", TEXT.replace("dog", "dot"))
    changed = prepare([corpus], cache)
    assert "dot" in changed.types()
    folders.append(changed.folder)
    write(corpus / "d.txt", "more")
    folders.append(prepare([corpus], cache).folder)
    assert len(set(folders)) == 7
    assert sorted(folders) == sorted(cache.iterdir())


def test_file_names_are_part_of_the_cache_key(tmp_path: Path) -> None:
    """They determine how the same bytes are read."""
    text = '{"text": "a b"}\n'
    plain, objects = write(tmp_path / "a.txt", text), write(tmp_path / "a.jsonl", text)
    cache = tmp_path / "cache"
    assert prepare([plain], cache).types() == ['{"text":', '"a', 'b"}']
    assert prepare([objects], cache).types() == ["a", "b"]
    other = write(tmp_path / "wiki_00", text)
    assert prepare([other], cache).types() == ["a", "b"]


def test_text_field(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"text": "a b", "content": "c"}\n')
    for field, types in (("text", ["a", "b"]), ("content", ["c"])):
        shards = prepare([path], tmp_path / "cache", Tokenization(text_field=field))
        assert shards.types() == types
        assert shards.tokenization == Tokenization()


def test_contents_of_a_pipeline_are_part_of_the_cache_key(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "gimme that")
    nlp = spacy.blank("en")
    nlp.to_disk(tmp_path / "nlp")
    chosen = Tokenization(str(tmp_path / "nlp"))
    assert "gimme" in prepare([path], tmp_path / "cache", chosen).types()
    nlp.tokenizer.add_special_case("gimme", [{"ORTH": "gim"}, {"ORTH": "me"}])
    nlp.to_disk(tmp_path / "nlp")
    types = prepare([path], tmp_path / "cache", chosen).types()
    assert sorted(types) == ["gim", "me", "that"]


# Complete or absent


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_interrupting_leaves_nothing(
    corpus: Path, tmp_path: Path, error: type[BaseException]
) -> None:
    calls: list[int] = []

    def stop(*_: int) -> None:
        calls.append(len(list((tmp_path / "cache").rglob("tokens-*.npy"))))
        if len(calls) == 4:
            raise error

    with pytest.raises(error):
        prepare(
            [corpus], tmp_path / "cache", shard_tokens=2, chunk_chars=4, progress=stop
        )
    assert calls[-1] > 0, "interrupted before anything was written"
    assert not list((tmp_path / "cache").iterdir())
    whole = prepare([corpus], tmp_path / "cache", shard_tokens=2)
    assert len(read_back(whole)) == 4


def test_bad_text_in_the_middle(tmp_path: Path) -> None:
    path = tmp_path / "a.txt.gz"
    path.write_bytes(compress(TEXT.encode() + b"caf\xe9\n", ".gz"))
    with corpus_refused(f"{path}, line 5:", "UTF-8"):
        prepare([path], tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


@pytest.mark.parametrize("text", ["", "\n \n\n\t\n"])
def test_no_words(tmp_path: Path, text: str) -> None:
    path = write(tmp_path / "a.txt", text)
    with corpus_refused("corpus:", "no words"):
        prepare([path], tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_wrong_settings_fail_before_any_work(corpus: Path, tmp_path: Path) -> None:
    for chosen, found in (
        (Tokenization("klingon"), "'klingon'"),
        (Tokenization(sentences="words"), "'words'"),
        (Tokenization(sentences="split"), "split"),
    ):
        with corpus_refused(found, kind=ValueError):
            prepare([corpus], tmp_path / "cache", chosen, n_process=2)
    assert not (tmp_path / "cache").exists()


def test_no_files(tmp_path: Path) -> None:
    with corpus_refused(f"{tmp_path / 'gone'}:"):
        prepare([tmp_path / "gone"], tmp_path / "cache")
