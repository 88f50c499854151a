"""ShardWriter and Shards: round trips of any text, and errors for damaged files."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any, Callable, Sequence

import numpy as np
import pytest
from helpers.corpora import (
    Documents,
    corpus_refused,
    documents_of,
    read_back,
    read_sentences,
    write,
)
from hypothesis import example, given, settings
from hypothesis import strategies as st

from spacy_elmo.files import hash_files
from spacy_elmo.pretraining.data import shards, stored_files
from spacy_elmo.pretraining.data.lanes import Lanes
from spacy_elmo.pretraining.data.shards import Shards, ShardWriter
from spacy_elmo.text.files import CorpusError, read_chunks
from spacy_elmo.text.tokenizers import tokenize_whitespace

# Surrogates have no UTF-8 form, and a byte order mark is not part of the text.
CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\ufeff")
BREAKS = st.sampled_from(["\n", "\n\n", "\r\n", "\n \n\n", " ", "\u2028", "\x85"])
TEXTS = st.lists(st.one_of(st.sampled_from("aab"), BREAKS, CHARACTERS), max_size=30)


def make_shards(
    folder: Path, texts: Sequence[str], chunk_chars: int, shard_tokens: int
) -> Shards:
    files = [write(folder / f"{i}.txt", text) for i, text in enumerate(texts)]
    (folder / "shards").mkdir()
    writer = ShardWriter(folder / "shards", shard_tokens)
    for chunk in read_chunks(files, chunk_chars):
        writer.add(tokenize_whitespace(chunk.lines))
    writer.close({"a": "note"})
    return Shards(folder / "shards")


def assert_holds(shards: Shards, documents: Documents) -> None:
    """Check the documents and all counts."""
    assert read_back(shards) == documents
    sentences = [sentence for document in documents for sentence in document]
    words = Counter(word for sentence in sentences for word in sentence)
    types = shards.types()
    assert len(types) == len(set(types))
    assert dict(zip(types, shards.counts.tolist())) == words
    assert shards.n_ids == sum(words.values()) + len(sentences)
    meta = shards.meta
    assert meta["n_types"] == len(words)
    assert meta["n_tokens"] == sum(words.values())
    assert meta["n_sentences"] == len(sentences)
    assert meta["n_documents"] == len(documents)
    for shard, tokens, ends in zip(meta["shards"], shards.tokens, shards.documents):
        assert shard["n_ids"] == len(tokens) > 0
        assert shard["n_sentences"] == (tokens == 0).sum()
        assert shard["n_documents"] == len(ends)
        assert tokens[-1] == 0, "a shard ends with a sentence"
        assert (np.diff(ends) > 0).all()


@settings(deadline=None, max_examples=50)
@given(
    texts=st.lists(TEXTS.map("".join), min_size=1, max_size=3),
    chunk_chars=st.sampled_from([1, 2, 5, 13, 1000]),
    shard_tokens=st.sampled_from([1, 2, 5, 13, 1000]),
)
@example(texts=["a b\nc\n\nd\n", "", "a"], chunk_chars=1, shard_tokens=1000)
@example(texts=["a b\nc\n\nd\n", "\n\n\n", "\na"], chunk_chars=1, shard_tokens=1)
def test_round_trip_of_any_text(
    texts: list[str], chunk_chars: int, shard_tokens: int
) -> None:
    documents = documents_of(*texts)
    with tempfile.TemporaryDirectory() as folder:
        if documents:
            shards = make_shards(Path(folder), texts, chunk_chars, shard_tokens)
            assert_holds(shards, documents)
        else:
            with corpus_refused("no words"):
                make_shards(Path(folder), texts, chunk_chars, shard_tokens)


def test_the_last_document_ends_after_a_full_shard(tmp_path: Path) -> None:
    """The last sentence fills a chunk and a shard. The end of the file comes next."""
    shards = make_shards(tmp_path, ["a b\n\nc d"], 4, 3)
    assert_holds(shards, [[["a", "b"]], [["c", "d"]]])


def test_counts_grow_with_the_types(tmp_path: Path) -> None:
    text = "\n".join(f"w{i} w{i} w{i % 7}" for i in range(3000))
    assert_holds(make_shards(tmp_path, [text], 30_000, 5000), documents_of(text))
    assert_holds(make_shards(tmp_path / "b", [text], 50, 500), documents_of(text))


def test_size_of_shards(tmp_path: Path) -> None:
    shards = make_shards(tmp_path, ["a b c\n" * 1000], 60, 400)
    assert all(400 <= len(tokens) < 460 for tokens in shards.tokens[:-1])
    assert len(shards.tokens) == 10


def test_types_are_numbered_in_order_of_appearance(tmp_path: Path) -> None:
    shards = make_shards(tmp_path, ["b a b\nc a\n"], 1000, 1000)
    assert shards.types() == ["b", "a", "c"]
    assert shards.tokens[0].tolist() == [1, 2, 1, 0, 3, 2, 0]
    assert shards.documents[0].tolist() == [7]


def test_file_layout(tmp_path: Path) -> None:
    """As documented by the module, because other programs may read it."""
    make_shards(tmp_path, ["é b é\n\n", "c"], 5, 4)
    folder = tmp_path / "shards"
    assert sorted(path.name for path in folder.iterdir()) == [
        "counts.npy",
        "documents-00000.npy",
        "documents-00001.npy",
        "meta.json",
        "tokens-00000.npy",
        "tokens-00001.npy",
        "types.txt",
    ]
    assert (folder / "types.txt").read_bytes() == "é\nb\nc\n".encode()
    arrays = {path.name: np.load(path) for path in folder.glob("*.npy")}
    assert {name: array.dtype.str[1:] for name, array in arrays.items()} == {
        "counts.npy": "i8",
        "documents-00000.npy": "i8",
        "documents-00001.npy": "i8",
        "tokens-00000.npy": "u4",
        "tokens-00001.npy": "u4",
    }
    assert json.loads((folder / "meta.json").read_text(encoding="utf8"))["a"] == "note"


def test_tokens_are_memory_mapped(tmp_path: Path) -> None:
    shards = make_shards(tmp_path, ["a b\n\nc d\ne"], 1, 3)
    assert len(shards.tokens) == 3
    for tokens in shards.tokens:
        assert isinstance(tokens, np.memmap)
        assert tokens.mode == "r"
        assert not tokens.flags.writeable
    assert not isinstance(shards.counts, np.memmap)


def test_words_with_unusual_characters(tmp_path: Path) -> None:
    """A spaCy tokenizer may return such words."""
    words = [
        "a\u2028b",
        "a\x85b",
        "a\xa0b",
        "a\rb",
        "\r",
        "a\tb",
        "\ufeff",
        "\0",
        "é",
        "e\u0301",
    ]
    chunk = tokenize_whitespace(["x"] * len(words))
    ids = np.arange(1, len(words) + 1, dtype=np.uint32)
    writer = ShardWriter(tmp_path, 1000)
    writer.add(chunk._replace(types=words, ids=np.append(ids, np.uint32(0))))
    writer.close({})
    shards = Shards(tmp_path)
    assert shards.types() == words
    assert read_sentences(shards, shards.tokens[0]) == [words]


# Errors


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_shards(tmp_path, ["a b\n\nc d\ne"], 4, 3)
    return tmp_path / "shards"


def test_a_folder_of_something_else(tmp_path: Path, folder: Path) -> None:
    with corpus_refused(
        f"{tmp_path / 'missing'}:", "meta.json", "prepare the corpus again"
    ):
        Shards(tmp_path / "missing")
    (folder / "meta.json").unlink()
    with corpus_refused(f"{folder}:", "meta.json", "not finished"):
        Shards(folder)


def test_meta_is_written_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupted writer leaves nothing that looks complete."""
    save = stored_files.save_array

    def fail_at_counts(path: Path, *array: Any) -> None:
        if path.name == "counts.npy":
            raise OSError("No space left on device")
        save(path, *array)

    monkeypatch.setattr(shards, "save_array", fail_at_counts)
    with pytest.raises(OSError, match="No space left"):
        make_shards(tmp_path, ["a b"], 1, 1)
    assert (tmp_path / "shards" / "tokens-00000.npy").is_file()
    with corpus_refused("not finished"):
        Shards(tmp_path / "shards")


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"vectors": 3}', '"é'])
def test_meta_of_another_tool(folder: Path, text: str) -> None:
    (folder / "meta.json").write_bytes(text.encode("latin1"))
    with corpus_refused(folder):
        Shards(folder)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "missing": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-3]),
    "another format": lambda path: path.write_bytes(b"\xff" + path.read_bytes()),
    "longer": lambda path: lengthen(path),
}


def lengthen(path: Path) -> None:
    if path.suffix == ".npy":
        array = np.load(path)
        np.save(path, np.append(array, array.dtype.type(1)))
    else:
        path.write_bytes(path.read_bytes() + b"more\n")


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize(
    "name", ["tokens-00000.npy", "documents-00000.npy", "counts.npy", "types.txt"]
)
def test_damaged_files(folder: Path, name: str, damage: str) -> None:
    DAMAGES[damage](folder / name)
    with corpus_refused(folder / name, "prepare the corpus again"):
        Shards(folder).types()


def test_shards_in_the_wrong_order(folder: Path) -> None:
    (folder / "tokens-00001.npy").replace(folder / "tokens-00000.npy")
    with pytest.raises(CorpusError):
        Shards(folder)


def change(path: Path, how: str) -> None:
    """Write other contents of the same size, or of another type, and keep the time."""
    stat = path.stat()
    array = np.load(path)
    if how == "another id":
        array[0] = 2
    elif how == "zeros":
        array[:] = 0
    elif how == "another type":
        array = array.astype(np.int64)
    np.save(path, array)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))


@pytest.mark.parametrize("how", ["another id", "zeros", "another type"])
@pytest.mark.parametrize("version", ["0.1", "0.2"])
def test_changed_in_place(folder: Path, how: str, version: str) -> None:
    if version == "0.1":
        make_old(folder)
    change(folder / "tokens-00000.npy", how)
    with corpus_refused(folder, "prepare the corpus again"):
        Shards(folder)


def make_old(folder: Path) -> None:
    """Make meta.json as version 0.1 wrote it."""
    meta = json.loads((folder / "meta.json").read_text(encoding="utf8"))
    del meta["stored"]
    (folder / "meta.json").write_text(json.dumps(meta), encoding="utf8")


@pytest.mark.parametrize("version", ["0.1", "0.2"])
def test_shards_removed_from_meta(folder: Path, version: str) -> None:
    if version == "0.1":
        make_old(folder)
    meta = json.loads((folder / "meta.json").read_text(encoding="utf8"))
    meta["shards"] = []
    (folder / "meta.json").write_text(json.dumps(meta), encoding="utf8")
    with corpus_refused(folder, "prepare the corpus again"):
        Shards(folder)


def test_unchanged_files_are_not_read_and_copies_are(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[str] = []

    def spy(paths: Sequence[Path]) -> str:
        hashed.extend(path.name for path in paths)
        return hash_files(paths)

    monkeypatch.setattr(stored_files, "hash_files", spy)
    Shards(folder)
    Shards(shutil.copytree(folder, tmp_path / "same times"))
    Shards(folder.rename(tmp_path / "moved"))
    assert hashed == []
    copy = tmp_path / "other times"
    shutil.copytree(tmp_path / "moved", copy)
    for path in copy.iterdir():
        os.utime(path, ns=(1, 1 if path.suffix == ".json" else 2))
    Shards(copy)
    assert sorted(hashed) == sorted(
        p.name for p in copy.iterdir() if p.suffix != ".json"
    )


def test_folder_of_version_0_1(folder: Path) -> None:
    tokens = [array.tolist() for array in Shards(folder).tokens]
    make_old(folder)
    assert [array.tolist() for array in Shards(folder).tokens] == tokens


@pytest.mark.parametrize("how", ["cut", "changed", "removed"])
def test_changes_while_in_use(folder: Path, how: str) -> None:
    """Reading beyond the end of a mapped file would be a bus error."""
    shards = Shards(folder)
    lanes = Lanes(shards, 1, 2)
    lanes.window(0)
    path = folder / "tokens-00001.npy"
    if how == "cut":
        os.truncate(path, 128)
    elif how == "removed":
        path.unlink()
    else:
        change(path, "zeros")
    with corpus_refused(path, "prepare the corpus again"):
        for step in range(lanes.steps_per_epoch):
            lanes.window(step)


def test_ids_of_unknown_types(folder: Path) -> None:
    shards = Shards(folder)
    shards.counts = shards.counts[:2]
    with corpus_refused(folder, "expected ids up to 2"):
        Lanes(shards, 1, 8).window(0)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"shards": 3}', "[[[]]]"])
def test_meta_that_is_something_else(folder: Path, text: str) -> None:
    (folder / "meta.json").write_text(text)
    with corpus_refused(folder / "meta.json", "prepare the corpus again"):
        Shards(folder)
