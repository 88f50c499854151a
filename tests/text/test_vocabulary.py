"""Vocabulary: order, size, ids, coverage, and its file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.corpora import corpus_refused, write
from hypothesis import example, given
from hypothesis import strategies as st

from spacy_elmo.pretraining.data.corpus import load_vocabulary
from spacy_elmo.pretraining.data.prepare import prepare
from spacy_elmo.pretraining.sections import VocabularySettings
from spacy_elmo.text.vocabulary import SPECIALS, Coverage, Vocabulary

TYPES = ["cat", "dog", "sees", "ant", "bee"]
COUNTS = np.array([2, 5, 9, 2, 1])


def entries(vocabulary: Vocabulary) -> list[tuple[str, int]]:
    return list(zip(vocabulary.words, vocabulary.counts.tolist()))


def test_sorted_by_frequency_with_the_specials() -> None:
    vocabulary = Vocabulary.from_counts(TYPES, COUNTS, 4)
    assert entries(vocabulary) == [
        ("sees", 9),
        ("dog", 5),
        ("<S>", 4),
        ("</S>", 4),
        ("cat", 2),
        ("ant", 2),
        ("bee", 1),
        ("<UNK>", 0),
    ]
    assert len(vocabulary) == 8
    assert vocabulary.counts.dtype == np.int64
    assert vocabulary.index == {word: i for i, word in enumerate(vocabulary.words)}


def test_min_count() -> None:
    vocabulary = Vocabulary.from_counts(TYPES, COUNTS, 4, min_count=2)
    assert "bee" not in vocabulary.index
    assert {"cat", "ant"} <= set(vocabulary.words)
    assert entries(vocabulary)[-1] == ("<UNK>", 1)
    assert len(Vocabulary.from_counts(TYPES, COUNTS, 4, min_count=3)) == 5


def test_max_size_counts_the_specials() -> None:
    vocabulary = Vocabulary.from_counts(TYPES, COUNTS, 1, max_size=6)
    assert entries(vocabulary) == [
        ("sees", 9),
        ("dog", 5),
        ("<UNK>", 3),
        ("cat", 2),
        ("<S>", 1),
        ("</S>", 1),
    ]
    for size in (8, 9, 1000):
        assert len(Vocabulary.from_counts(TYPES, COUNTS, 1, max_size=size)) == 8
    both = Vocabulary.from_counts(TYPES, COUNTS, 1, min_count=5, max_size=7)
    assert len(both) == 5


def test_only_special_words() -> None:
    vocabulary = Vocabulary.from_counts(TYPES, COUNTS, 4, min_count=100)
    assert entries(vocabulary) == [("<UNK>", 19), ("<S>", 4), ("</S>", 4)]


@pytest.mark.parametrize("size", [-1, 0, 3])
def test_max_size_without_room_for_words(size: int) -> None:
    with corpus_refused("max_size:", "more than the 3", size):
        Vocabulary.from_counts(TYPES, COUNTS, 4, max_size=size)


def test_ties_keep_the_order_of_the_types() -> None:
    rng = np.random.default_rng(1)
    counts = rng.integers(1, 4, 500)
    types = [f"w{n}" for n in rng.permutation(500)]
    vocabulary = Vocabulary.from_counts(types, counts, 0)
    by_hand = sorted(range(500), key=lambda i: (-counts[i], i))
    assert [w for w in vocabulary.words if w not in SPECIALS] == [
        types[i] for i in by_hand
    ]
    cut = Vocabulary.from_counts(types, counts, 0, max_size=103)
    assert [w for w in cut.words if w not in SPECIALS] == [
        types[i] for i in by_hand[:100]
    ]


# Ids


def test_lookup() -> None:
    vocabulary = Vocabulary.from_counts(TYPES, COUNTS, 4, min_count=2)
    ids = vocabulary.lookup(TYPES)
    assert ids.dtype == np.int64
    words = [vocabulary.words[i] for i in ids]
    assert words == ["</S>", "cat", "dog", "sees", "ant", "<UNK>"]
    others = vocabulary.lookup(["new", "dog"])  # of another corpus
    assert [vocabulary.words[i] for i in others] == ["</S>", "<UNK>", "dog"]
    assert vocabulary.lookup([]).tolist() == [vocabulary.index["</S>"]]


def test_output_ids_of_shards(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "b a b\na c\n")
    shards = prepare([path], tmp_path / "cache")
    vocabulary = Vocabulary.from_counts(
        shards.types(), shards.counts, shards.meta["n_sentences"], min_count=2
    )
    ids = vocabulary.lookup(shards.types())[shards.tokens[0]]
    expected = ["b", "a", "b", "</S>", "a", "<UNK>", "</S>"]
    assert [vocabulary.words[i] for i in ids] == expected


WORDS = st.sampled_from([*SPECIALS, *"abcdefgh", "<s>", "UNK"])
CORPORA = st.dictionaries(WORDS, st.integers(1, 50), min_size=1)


@given(
    corpus=CORPORA,
    n_sentences=st.integers(1, 60),
    min_count=st.integers(1, 20),
    max_size=st.one_of(st.none(), st.integers(4, 10)),
)
def test_counts_are_numbers_of_targets(
    corpus: dict[str, int], n_sentences: int, min_count: int, max_size: int | None
) -> None:
    """This includes words spelled like the special words."""
    types, counts = list(corpus), np.array(list(corpus.values()))
    vocabulary = Vocabulary.from_counts(
        types, counts, n_sentences, min_count=min_count, max_size=max_size
    )
    assert set(SPECIALS) <= set(vocabulary.words)
    assert len(vocabulary) <= (max_size or 1000)
    assert (np.diff(vocabulary.counts) <= 0).all()
    targets = np.zeros(len(vocabulary), dtype=np.int64)
    # </S> is id 0 of a shard; <S> is a target as often, of the backward direction.
    np.add.at(targets, vocabulary.lookup(types), [n_sentences, *counts])
    targets[vocabulary.index["<S>"]] += n_sentences
    assert vocabulary.counts.tolist() == targets.tolist()
    coverage = vocabulary.coverage(types, counts)
    assert coverage.n_words == counts.sum()
    assert coverage.n_unknown == targets[vocabulary.index["<UNK>"]]


# Coverage


def test_coverage() -> None:
    vocabulary = Vocabulary.from_counts(TYPES, COUNTS, 4, min_count=2)
    coverage = vocabulary.coverage(TYPES, COUNTS)
    assert coverage == Coverage(n_words=19, n_unknown=1)
    assert coverage.oov_rate == pytest.approx(1 / 19)
    held_out = vocabulary.coverage(["dog", "new", "bee"], np.array([3, 4, 1]))
    assert held_out == (8, 5)
    assert vocabulary.coverage(["new"], np.array([2])).oov_rate == 1.0
    assert vocabulary.coverage(["dog"], np.array([2])).oov_rate == 0.0
    assert vocabulary.coverage([], np.zeros(0, dtype=np.int64)).oov_rate == 0.0


def test_the_word_unk_is_unknown() -> None:
    vocabulary = Vocabulary.from_counts(["<UNK>", "a"], np.array([3, 1]), 1)
    assert entries(vocabulary)[0] == ("<UNK>", 3)
    assert vocabulary.words.count("<UNK>") == 1
    assert vocabulary.coverage(["<UNK>", "a"], np.array([3, 1])) == (4, 3)


# File


def test_the_file(tmp_path: Path) -> None:
    Vocabulary.from_counts(["é", "b"], np.array([5, 2]), 3).write(tmp_path / "v.txt")
    assert (tmp_path / "v.txt").read_bytes() == (
        "é\t5\n<S>\t3\n</S>\t3\nb\t2\n<UNK>\t0\n".encode()
    )
    assert [path.name for path in tmp_path.iterdir()] == ["v.txt"]


ODD = ["a\u2028b", "a\u2029b", "a\x85b", "a\xa0b", "\x0b", "a\x1cb", "\r", "a\r", "\t"]
ODD += [
    "a\tb",
    "a\t7",
    " a ",
    " ",
    "\0",
    "\ufeff",
    "\ufeffa",
    "😀",
    "e\u0301",
    "é",
    "1",
]


def assert_round_trip(vocabulary: Vocabulary, path: Path) -> None:
    vocabulary.write(path)
    again = Vocabulary.read(str(path))
    assert entries(again) == entries(vocabulary)
    assert again.index == vocabulary.index
    assert again.counts.dtype == np.int64


@given(
    words=st.lists(
        st.text(
            st.characters(exclude_categories=["Cs"], exclude_characters="\n"),
            min_size=1,
        ),
        unique=True,
    )
)
@example(words=ODD)
def test_round_trip_of_any_words(
    tmp_path_factory: pytest.TempPathFactory, words: list[str]
) -> None:
    path = tmp_path_factory.getbasetemp() / "any-words.txt"
    vocabulary = Vocabulary.from_counts(words, np.ones(len(words), dtype=np.int64), 2)
    assert_round_trip(vocabulary, path)


GOOD = "a\t5\n<S>\t3\n</S>\t3\n<UNK>\t0\n"


@pytest.mark.parametrize(
    "line",
    ["word", "word 3", "\t3", "word\t", "word\t-1", "word\t1.5", ""],
)
def test_malformed_line(tmp_path: Path, line: str) -> None:
    path = write(tmp_path / "v.txt", f"a\t5\n{line}\n<S>\t3\n</S>\t3\n<UNK>\t0\n")
    with corpus_refused(f"{path}, line 2:", "word<TAB>count", repr(line)):
        Vocabulary.read(path)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (GOOD.replace("<S>\t3\n", ""), "no <S>"),
        (GOOD.replace("<UNK>", "<unk>"), "no <UNK>"),
        ("", "no <S>, </S>, <UNK>"),
        (GOOD + "a\t0\n", "a word twice"),
        ("<UNK>\t0\na\t5\n<S>\t3\n</S>\t3\n", "a larger count at 'a'"),
        (GOOD + "b\t1\n", "a larger count at 'b'"),
    ],
)
def test_malformed_file(tmp_path: Path, text: str, found: str) -> None:
    path = write(tmp_path / "v.txt", text)
    with corpus_refused(path, "vocabulary", found):
        Vocabulary.read(path)


def test_file_that_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "v.txt"
    path.write_bytes(GOOD.encode() + "é\t0\n".encode("latin1"))
    with corpus_refused(path, "UTF-8"):
        Vocabulary.read(path)


@pytest.mark.parametrize(
    "text", [GOOD.rstrip("\n"), "\ufeff" + GOOD.replace("\n", "\r\n")]
)
def test_files_of_other_editors(tmp_path: Path, text: str) -> None:
    """Without a newline at the end, with a byte order mark, with other line ends."""
    expected = Vocabulary.read(write(tmp_path / "good.txt", GOOD))
    found = Vocabulary.read(write(tmp_path / "v.txt", text))
    assert entries(found) == entries(expected)


@pytest.mark.parametrize("text", ["{}", "\ufeff{}", "{}\n\n", "{}\r\n"])
def test_word_lists_of_other_programs(tmp_path: Path, text: str) -> None:
    """Their counts come from the training text."""
    words = ["<S>", "</S>", "<UNK>", "the", "rare", "cat", "missing"]
    newline = "\r\n" if "\r" in text else "\n"
    path = write(tmp_path / "v.txt", text.format(newline.join(words)))
    settings = VocabularySettings.from_dict({"path": str(path)})
    corpus = write(tmp_path / "a.txt", "the cat\nthe dog the\ncat rare cow\n")
    shards = prepare([corpus], tmp_path / "cache")
    assert sorted(entries(load_vocabulary(shards, settings))) == [
        ("</S>", 3),
        ("<S>", 3),
        ("<UNK>", 2),
        ("cat", 2),
        ("missing", 0),
        ("rare", 1),
        ("the", 3),
    ]
    write(path, "the\ncat\nthe\n")
    with corpus_refused(path, "line 3", "'the'", "line 1"):
        load_vocabulary(shards, settings)


# Constructor


@pytest.mark.parametrize(
    ("words", "counts", "found"),
    [
        (["a", *SPECIALS], [1, 2, 1, 0], "a larger count at '<S>'"),
        (["a", *SPECIALS], [3, 2, 1], "found"),
        (["a", *SPECIALS], [3, 2, 1, 1, 0], "found"),
        (["a", "a", *SPECIALS], [3, 2, 1, 1, 0], "a word twice"),
        (["a", "<S>", "<UNK>"], [3, 2, 1], "no </S>"),
    ],
)
def test_inconsistent_words_and_counts(
    words: list[str], counts: list[int], found: str
) -> None:
    with corpus_refused("vocabulary:", found):
        Vocabulary(words, counts)
