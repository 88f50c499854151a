"""Batches: the tensors of a training step."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.language_models import (
    Text,
    make_text,
    random_sentences,
    vocabulary_characters,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_elmo.bilm.softmax import SampledSoftmax
from spacy_elmo.pretraining.data.batches import Batch, Batches
from spacy_elmo.pretraining.data.lanes import Lanes
from spacy_elmo.pretraining.data.random_streams import NEGATIVES, make_generator
from spacy_elmo.text.vocabulary import BEGIN, END, UNKNOWN

N_LANES, UNROLL_STEPS = 6, 5


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Text:
    """A text with unknown words, and with words spelled like boundaries."""
    sentences = [*random_sentences(50, n_types=25), [BEGIN, "x", UNKNOWN, END]]
    return make_text(
        tmp_path_factory.mktemp("text"), sentences, shard_tokens=60, max_size=15
    )


def make_batches(
    text: Text,
    own: slice = slice(0, N_LANES),
    *,
    n_samples: int = 0,
    seed: int = 0,
    n_parts: int = 1,
) -> Batches:
    lanes = Lanes(text.shards, N_LANES, UNROLL_STEPS, seed=1)
    n_words = len(text.vocabulary)
    softmax = SampledSoftmax(n_words, 2, n_samples) if n_samples else None
    return Batches(
        lanes, own, text.table, text.vocabulary, softmax, seed=seed, n_parts=n_parts
    )


def spelled(batch: Batch, place: tuple[int, int, int]) -> list[int]:
    """Character ids of the input word at a place, without padding."""
    number = int(batch.inputs[place])
    return batch.char_ids[number, : int(batch.lengths[number])].tolist()


def assert_holds(batch: Batch, text: Text, first_lane: int = 0) -> None:
    """Check each word against the type ids of the window."""
    types, index = text.shards.types(), text.vocabulary.index
    characters = text.characters
    n_directions, unroll_steps, n_lanes = batch.inputs.shape
    assert n_directions == 2
    assert batch.inputs.shape == batch.targets.shape
    for direction in range(2):
        begin = characters.boundaries[direction]
        end = (END, BEGIN)[direction]
        for lane in range(n_lanes):
            ids = batch.window.tokens[direction, first_lane + lane].tolist()
            for step in range(unroll_steps):
                place = (direction, step, lane)
                word = types[ids[step] - 1] if ids[step] else begin
                row = characters([word])[0]
                assert spelled(batch, place) == row[row != characters.padding].tolist()
                number = int(batch.inputs[place])
                assert batch.word_ids[number] == characters.word_ids([word])[0]
                target = types[ids[step + 1] - 1] if ids[step + 1] else end
                expected = index.get(target, index[UNKNOWN])
                assert batch.targets[place] == expected


def test_inputs_and_targets_of_each_window(text: Text) -> None:
    batches = make_batches(text)
    for step in range(batches.lanes.steps_per_epoch + 1):
        (batch,) = batches[step]
        expected = batches.lanes.window(step)
        np.testing.assert_array_equal(batch.window.tokens, expected.tokens)
        assert batch.inputs.shape == (2, UNROLL_STEPS, N_LANES)
        assert_holds(batch, text)


def test_character_vocabulary_of_manylangs(tmp_path: Path) -> None:
    sentences = random_sentences(20)
    characters = vocabulary_characters(sorted({w for s in sentences for w in s}))
    text = make_text(tmp_path, sentences, characters=characters)
    (batch,) = make_batches(text)[0]
    assert len(set(batch.word_ids.tolist())) > 3
    assert_holds(batch, text)


def test_distinct_words_are_sorted_by_length(text: Text) -> None:
    (batch,) = make_batches(text)[2]
    rows = batch.char_ids.tolist()
    assert len({tuple(row) for row in rows}) == len(rows)
    assert batch.char_ids.dtype == batch.inputs.dtype == torch.int64
    assert (np.diff(batch.lengths) >= 0).all()
    assert len(set(batch.lengths.tolist())) > 2
    assert set(batch.inputs.flatten().tolist()) == set(range(len(rows)))


def test_each_direction_has_its_own_boundary(tmp_path: Path) -> None:
    text = make_text(tmp_path, [["a"]] * 30)
    (batch,) = make_batches(text)[0]
    assert len(batch.lengths) == 3
    assert_holds(batch, text)


@settings(deadline=None, max_examples=30)
@given(
    n_parts=st.sampled_from([1, 2, 3, 6]),
    n_samples=st.sampled_from([0, 1, 8, 15]),
    step=st.integers(0, 40),
)
def test_parts_add_up_to_the_whole_batch(
    text: Text, n_parts: int, n_samples: int, step: int
) -> None:
    (whole,) = make_batches(text, n_samples=n_samples)[step]
    parts = make_batches(text, n_samples=n_samples, n_parts=n_parts)[step]
    assert [part.inputs.shape[2] for part in parts] == [N_LANES // n_parts] * n_parts
    targets = torch.cat([part.targets for part in parts], dim=2)
    assert torch.equal(targets, whole.targets)
    for number, part in enumerate(parts):
        first = number * N_LANES // n_parts
        assert_holds(part, text, first)
        assert (part.sample is None) == (n_samples == 0)
        if part.sample is not None and whole.sample is not None:
            for name in ("rows", "correction", "drawn"):
                found, expected = (
                    getattr(part.sample, name),
                    getattr(whole.sample, name),
                )
                assert torch.equal(found, expected)
            of_part = slice(first, first + N_LANES // n_parts)
            assert torch.equal(part.sample.true, whole.sample.true[:, :, of_part])
            columns = whole.sample.columns[:, :, of_part]
            assert torch.equal(part.sample.columns, columns)


@pytest.mark.parametrize("n_samples", [1, 4, 15])
def test_a_sample_covers_all_targets_and_negatives(text: Text, n_samples: int) -> None:
    batches = make_batches(text, n_samples=n_samples, seed=3)
    assert batches.softmax is not None
    hits = set()
    for step in range(10):
        (batch,) = batches[step]
        sample = batch.sample
        assert sample is not None
        draw = batches.softmax.sample(make_generator(3, NEGATIVES, step))
        rows = sample.rows.tolist()
        assert rows == sorted({*batch.targets.flatten().tolist(), *draw.words.tolist()})
        assert torch.equal(sample.rows[sample.true], batch.targets)
        assert torch.equal(sample.rows[sample.drawn], draw.words)
        assert len(sample.drawn) == n_samples
        drawn = draw.words.tolist()
        columns = [
            1 + drawn.index(target) if target in drawn else 0
            for target in batch.targets.flatten().tolist()
        ]
        assert sample.columns.flatten().tolist() == columns
        assert sample.columns.shape == batch.targets.shape
        hits |= {column > 0 for column in columns}
        chances = [
            math.log((row + 2) / (row + 1)) / math.log(len(text.vocabulary) + 1)
            for row in rows
        ]
        expected = [math.log(1 - (1 - chance) ** draw.n_tries) for chance in chances]
        if n_samples == 15:  # all words, each certain to be drawn
            expected = [0.0] * len(rows)
        np.testing.assert_allclose(sample.correction, expected, rtol=1e-5, atol=1e-6)
    assert hits == ({True} if n_samples == 15 else {True, False})


def test_each_process_draws_the_same_sample(text: Text) -> None:
    (whole,) = make_batches(text, n_samples=5)[7]
    both = [
        make_batches(text, own, n_samples=5)[7][0]
        for own in (slice(0, 3), slice(3, N_LANES))
    ]
    targets = torch.cat([batch.targets for batch in both], dim=2)
    assert torch.equal(targets, whole.targets)
    assert_holds(both[1], text, first_lane=3)
    assert whole.sample is not None
    for batch in both:
        assert batch.sample is not None
        for name in ("rows", "correction", "drawn"):
            found, expected = getattr(batch.sample, name), getattr(whole.sample, name)
            assert torch.equal(found, expected)
        assert torch.equal(batch.sample.rows[batch.sample.true], batch.targets)


def test_a_step_does_not_depend_on_earlier_ones(text: Text) -> None:
    batches = make_batches(text, n_samples=5)
    expected = [batches[step][0] for step in range(4)]
    torch.manual_seed(99)
    for step in reversed(range(4)):
        (batch,) = make_batches(text, n_samples=5)[step]
        for name in ("char_ids", "word_ids", "inputs", "targets"):
            assert torch.equal(getattr(batch, name), getattr(expected[step], name))
        first = expected[step].sample
        assert batch.sample is not None
        assert first is not None
        for found, wanted in zip(batch.sample, first):
            assert torch.equal(found, wanted)


def test_generators_depend_on_all_numbers() -> None:
    def numbers(*seed: int) -> list[float]:
        return torch.rand(3, generator=make_generator(*seed)).tolist()

    assert numbers(3, 4) == numbers(3, 4)
    seeds = [(3, 4), (4, 3), (3, 5), (34,), (3, 4, 1), (0, 3, 4), (2**40, 1)]
    assert len({tuple(numbers(*seed)) for seed in seeds}) == len(seeds)
