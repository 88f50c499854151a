"""Noise in the words that the network reads."""

from __future__ import annotations

import unicodedata
from collections import Counter
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.language_models import Text, make_text, vocabulary_characters
from hypothesis import given
from hypothesis import strategies as st

from spacy_elmo.bilm.characters import Characters
from spacy_elmo.pretraining.data.batches import Batch, Batches
from spacy_elmo.pretraining.data.lanes import Lanes
from spacy_elmo.pretraining.data.noise import Noise, misspell
from spacy_elmo.pretraining.sections import NoiseSettings

N_LANES, UNROLL_STEPS = 6, 20
WORDS = ["river", "Ärger", "NATO", "of", "don't", "<s>", "čáhci", "3.5"]


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Text:
    return make_noisy_text(tmp_path_factory.mktemp("text"))


def make_noisy_text(folder: Path, characters: Characters | None = None) -> Text:
    random = np.random.default_rng(0)
    sentences = [random.choice(WORDS, 6).tolist() for _ in range(60)]
    return make_text(folder, sentences, characters=characters)


def make_batches(
    text: Text, own: slice = slice(0, N_LANES), n_parts: int = 1, **rates: Any
) -> Batches:
    noise = None
    if rates:
        noise = Noise(
            NoiseSettings(**rates),
            text.shards.types(),
            text.shards.counts,
            text.characters,
        )
    lanes = Lanes(text.shards, N_LANES, UNROLL_STEPS, seed=1)
    return Batches(
        lanes, own, text.table, text.vocabulary, noise=noise, seed=5, n_parts=n_parts
    )


def read(batch: Batch, text: Text) -> list[list[list[str]]]:
    """Decode a batch's input words, by direction and lane. Misspelled words are left as
    character ids."""
    words = {*text.shards.types(), *text.characters.boundaries}
    for change in (str.lower, str.upper, lambda word: word[:1].upper() + word[1:]):
        words |= {change(word) for word in text.shards.types()} - {"<S>"}
    names = {
        tuple(row): word for word, row in zip(words, text.characters([*words]).tolist())
    }
    rows = [names.get(tuple(row), str(row)) for row in batch.char_ids.tolist()]
    return [
        [[rows[i] for i in lane] for lane in direction.T.tolist()]
        for direction in batch.inputs.numpy()
    ]


@pytest.mark.parametrize(
    ("rates", "change"),
    [
        ({"lower_case": 1.0}, str.lower),
        ({"upper_case": 1.0}, str.upper),
        ({"title_case": 1.0}, lambda word: word[:1].upper() + word[1:]),
        ({"misspelled": 0.0}, str),
    ],
)
def test_letter_case(text: Text, rates: Any, change: Any) -> None:
    """Boundaries are unchanged, and no word becomes one."""
    (batch,) = make_batches(text, **rates)[3]
    (plain,) = make_batches(text)[3]
    kept = {*text.characters.boundaries, "<s>"}
    expected = [
        [[word if word in kept else change(word) for word in lane] for lane in lanes]
        for lanes in read(plain, text)
    ]
    assert read(batch, text) == expected
    assert torch.equal(batch.targets, plain.targets)
    assert (np.diff(batch.lengths) >= 0).all()
    assert len({tuple(row) for row in batch.char_ids.tolist()}) == len(batch.char_ids)


def test_a_sentence_has_one_letter_case(text: Text) -> None:
    batches = make_batches(text, upper_case=0.5)
    shouted = []
    for step in range(batches.lanes.steps_per_epoch):
        (batch,) = batches[step]
        for lane in chain(*read(batch, text)):
            sentence: set[bool] = set()
            for word in [*lane, "</S>"]:
                if word in text.characters.boundaries:
                    assert len(sentence) < 2
                    shouted += sentence
                    sentence = set()
                elif word.upper() in ("RIVER", "ČÁHCI", "OF"):
                    sentence.add(word.isupper())
    assert np.mean(shouted) == pytest.approx(0.5, abs=0.15)


def test_share_of_misspelled_words(text: Text) -> None:
    batches = make_batches(text, misspelled=0.3)
    n_changed = n_words = 0
    for step in range(batches.lanes.steps_per_epoch):
        (batch,), (plain,) = batches[step], make_batches(text)[step]
        assert torch.equal(batch.targets, plain.targets)
        pairs = zip(np.ravel(read(batch, text)), np.ravel(read(plain, text)))
        for found, word in pairs:
            if word in ("river", "Ärger", "čáhci", "NATO", "don't"):
                n_words += 1
                n_changed += found != word
            else:
                assert found == word
    assert n_changed / n_words == pytest.approx(0.3, abs=0.05)


def test_noise_depends_on_the_step_alone(text: Text) -> None:
    rates = {"misspelled": 0.5, "title_case": 0.3}
    batches = make_batches(text, **rates)
    first = [read(batches[step][0], text) for step in range(3)]
    again = make_batches(text, **rates)
    assert [read(again[step][0], text) for step in (2, 1, 0)] == first[::-1]
    n_steps = batches.lanes.steps_per_epoch
    epochs = [batches.noise.plan(np.ones((2, 9, 4)), 5, n) for n in (0, n_steps)]  # type: ignore[union-attr]
    assert (epochs[0].misspelled != epochs[1].misspelled).any()


@pytest.mark.parametrize("n_parts", [1, 3])
def test_does_not_depend_on_the_number_of_processes(text: Text, n_parts: int) -> None:
    rates = {"misspelled": 0.5, "upper_case": 0.3}
    (whole,) = make_batches(text, **rates)[4]
    parts = [
        part
        for own in (slice(0, 3), slice(3, N_LANES))
        for part in make_batches(text, own, n_parts, **rates)[4]
    ]
    of_parts = [read(part, text) for part in parts]
    joined = [[*chain(*lanes)] for lanes in zip(*of_parts)]
    assert joined == read(whole, text)


def test_character_vocabulary_of_manylangs(tmp_path: Path) -> None:
    """Changed words are looked up in both of its vocabularies."""
    characters = vocabulary_characters([*WORDS, *map(str.upper, WORDS)])
    text = make_noisy_text(tmp_path, characters)
    (batch,) = make_batches(text, upper_case=1.0)[0]
    spelled = {
        (tuple(row), number)
        for row, number in zip(batch.char_ids.tolist(), batch.word_ids.tolist())
    }
    shouted = ["RIVER", "ÄRGER", "OF", "ČÁHCI"]
    rows, numbers = characters(shouted).tolist(), characters.word_ids(shouted).tolist()
    assert {(tuple(row), number) for row, number in zip(rows, numbers)} <= spelled


@given(st.text(max_size=12), st.integers(0, (1 << 62) - 1))
def test_misspelling_changes_one_letter(word: str, draw: int) -> None:
    changed = misspell(word, draw, "eeaß")
    lost, new = Counter(word) - Counter(changed), Counter(changed) - Counter(word)
    assert lost.total() <= 1
    assert new.total() <= 2 if lost else new.total() <= 1
    assert all(letter.isalpha() for letter in [*lost, *new])
    if sum(map(str.isalpha, word)) < 3:
        assert changed == word
    # Other characters keep their order.
    others = [letter for letter in word if not letter.isalpha()]
    assert [letter for letter in changed if not letter.isalpha()] == others


@pytest.mark.parametrize("word", ["straße", "Čáhci", "中文字"])
def test_four_kinds_of_misspelling(word: str) -> None:
    lengths = Counter(len(misspell(word, draw, "xyz")) for draw in range(4000))
    assert set(lengths) == {len(word) - 1, len(word), len(word) + 1}
    assert lengths[len(word) - 1] == lengths[len(word) + 1] == 1000
    swapped = word[1] + word[0] + word[2:]
    found = {misspell(word, draw, "xyz") for draw in range(4000)}
    assert swapped in found
    assert any(word[:-1] + letter in found for letter in "xyz")
    assert all(unicodedata.is_normalized("NFC", other) for other in found)
