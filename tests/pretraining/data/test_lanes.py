"""Lanes: in each epoch both LMs read the whole text, window by window."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from helpers.language_models import Sentences, make_shards
from hypothesis import example, given, settings
from hypothesis import strategies as st

from spacy_elmo.pretraining.data.lanes import Lanes, Window

# Number of words in each sentence of a text.
LENGTHS = st.lists(st.integers(1, 6), min_size=1, max_size=25)


def numbered(lengths: list[int]) -> Sentences:
    """Sentences without repeated words."""
    words = iter(range(1, sum(lengths) + 1))
    return [[f"w{next(words)}" for _ in range(length)] for length in lengths]


def make_lanes(
    folder: Path, lengths: list[int], shard_tokens: int = 1000, **sizes: int | None
) -> Lanes:
    return Lanes(make_shards(folder, numbered(lengths), shard_tokens), **sizes)  # type: ignore[arg-type]


def ids_of(lanes: Lanes) -> np.ndarray:
    return np.concatenate(lanes.shards.tokens).astype(np.int64)[: lanes.n_ids]


def read_epoch(lanes: Lanes, epoch: int) -> list[Window]:
    n = lanes.steps_per_epoch
    return [lanes.window(step) for step in range(epoch * n, (epoch + 1) * n)]


def joined(windows: list[Window], direction: int) -> np.ndarray:
    """Ids read by each lane, from the first input to the last target, of shape
    (n_lanes, n + 1)."""
    parts = [window.tokens[direction] for window in windows]
    return np.concatenate([parts[0], *(part[:, 1:] for part in parts[1:])], axis=1)


@settings(deadline=None, max_examples=50)
@given(
    lengths=LENGTHS,
    batch_size=st.integers(1, 12),
    unroll_steps=st.integers(1, 9),
    seed=st.none() | st.integers(0, 3),
    epoch=st.integers(0, 3),
    shard_tokens=st.sampled_from([1, 5, 1000]),
)
@example(lengths=[1], batch_size=12, unroll_steps=9, seed=1, epoch=1, shard_tokens=1)
@example(lengths=[6] * 6, batch_size=6, unroll_steps=7, seed=0, epoch=0, shard_tokens=1)
@example(
    lengths=[6] * 6, batch_size=42, unroll_steps=1, seed=None, epoch=0, shard_tokens=9
)
def test_an_epoch_reads_the_whole_text(
    lengths: list[int],
    batch_size: int,
    unroll_steps: int,
    seed: int | None,
    epoch: int,
    shard_tokens: int,
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        lanes = make_lanes(
            Path(folder),
            lengths,
            shard_tokens,
            batch_size=batch_size,
            unroll_steps=unroll_steps,
            seed=seed,
        )
        windows = read_epoch(lanes, epoch)
        ids = ids_of(lanes)
    assert [(window.epoch, window.step) for window in windows] == [
        (epoch, step) for step in range(lanes.steps_per_epoch)
    ]
    for window in windows:
        assert window.tokens.shape == (2, batch_size, unroll_steps + 1)
        assert window.tokens.dtype == np.int64
    n_ids, length = len(ids), lanes.steps_per_epoch * unroll_steps
    starts = lanes.lane_starts(epoch)
    # Lengths of lanes differ by at most one id. Each reads little of the next one.
    own = np.diff([*starts, starts[0] + n_ids])
    assert own.max() - own.min() <= 1
    assert (length - own >= 0).all()
    assert (length - own <= unroll_steps).all()
    forward, backward = joined(windows, 0), joined(windows, 1)
    seen = np.zeros((2, n_ids), dtype=int)
    for lane, start in enumerate(starts):
        places = np.arange(start - 1, start + length) % n_ids
        np.testing.assert_array_equal(forward[lane], ids[places])
        np.testing.assert_array_equal(backward[lane], ids[places[::-1]])
        np.add.at(seen[0], places[1:], 1)
        np.add.at(seen[1], places[:-1], 1)
    # Each id is a target of both LMs.
    assert (seen >= 1).all()
    assert seen[0].sum() == seen[1].sum() == batch_size * length


@pytest.mark.parametrize(
    ("batch_size", "found"), [(6, None), (7, "7 x 4 = 28"), (600, "2,400")]
)
def test_warns_about_a_text_smaller_than_a_step(
    tmp_path: Path, batch_size: int, found: str | None
) -> None:
    """A text of 24 ids."""
    lanes = make_lanes(tmp_path, [5] * 4, batch_size=batch_size, unroll_steps=4)
    assert lanes.steps_per_epoch == 1
    notes = lanes.notes()
    assert len(notes) == (found is not None)
    for note in notes:
        assert str(found) in note
        assert "the text has only 24" in note
        assert f"reads them {batch_size * 4 / 24:,.1f} times" in note
        assert "Lower training.batch_size or unroll_steps." in note


def test_sentence_boundaries_in_both_directions(tmp_path: Path) -> None:
    """A sentence's boundary comes before it in reading order, in both directions."""
    shards = make_shards(tmp_path, [["a", "b"], ["c", "d"]])
    window = Lanes(shards, batch_size=1, unroll_steps=6).window(0)
    a, b, c, d = 1, 2, 3, 4
    assert window.tokens[0].tolist() == [[0, a, b, 0, c, d, 0]]
    assert window.tokens[1].tolist() == [[0, d, c, 0, b, a, 0]]
    assert window.starts.tolist() == [[5], [5]]


def test_windows_of_two_lanes(tmp_path: Path) -> None:
    """9 ids, lanes that start at 0 and 4, two windows of 3."""
    shards = make_shards(tmp_path, [["a", "b", "c"], ["d", "e", "f", "g"]])
    lanes = Lanes(shards, batch_size=2, unroll_steps=3)
    assert shards.tokens[0].tolist() == [1, 2, 3, 0, 4, 5, 6, 7, 0]
    assert lanes.steps_per_epoch == 2
    first, second = lanes.window(0), lanes.window(1)
    assert first.tokens.tolist() == [
        [[0, 1, 2, 3], [0, 4, 5, 6]],
        [[5, 4, 0, 3], [1, 0, 7, 6]],
    ]
    assert second.tokens.tolist() == [
        [[3, 0, 4, 5], [6, 7, 0, 1]],
        [[3, 2, 1, 0], [6, 5, 4, 0]],
    ]
    assert first.starts.tolist() == [[8, 3], [5, 0]]
    assert second.starts.tolist() == [[2, 6], [2, 6]]


def test_epochs_start_at_different_positions(tmp_path: Path) -> None:
    lanes = make_lanes(tmp_path, [9] * 50, batch_size=4, unroll_steps=5, seed=3)
    firsts = [int(lanes.lane_starts(epoch)[0]) for epoch in range(20)]
    assert len(set(firsts)) > 15
    assert min(firsts) < 125 < 375 < max(firsts) < 500
    other = Lanes(lanes.shards, 4, 5, seed=4)
    assert firsts != [int(other.lane_starts(epoch)[0]) for epoch in range(20)]
    unseeded = Lanes(lanes.shards, 4, 5)
    for epoch in range(3):
        assert unseeded.lane_starts(epoch).tolist() == [0, 125, 250, 375]
        assert unseeded.window(epoch * 25).epoch == epoch


def test_reading_the_first_ids_only(tmp_path: Path) -> None:
    """n_ids truncates the text."""
    lengths = [3, 5, 2, 4, 6, 1]
    sizes = {"batch_size": 2, "unroll_steps": 4, "seed": 1}
    part = make_lanes(tmp_path / "a", lengths, 5, n_ids=13, **sizes)
    whole = make_lanes(tmp_path / "b", lengths[:3], 5, **sizes)
    assert part.n_ids == whole.n_ids == 13
    assert part.steps_per_epoch == whole.steps_per_epoch
    for step in range(3 * part.steps_per_epoch):
        for found, expected in zip(part.window(step), whole.window(step)):
            np.testing.assert_array_equal(found, expected)


def test_description_of_a_position(tmp_path: Path) -> None:
    """It wraps around at the end of the corpus."""
    shards = make_shards(tmp_path, [["the", "cat"], ["it", "sat", "still"]], 3)
    assert [len(tokens) for tokens in shards.tokens] == [3, 4]
    lanes = Lanes(shards, 1, 1)
    assert lanes.describe(0, 2) == "token 0 of shard 0: the cat"
    assert lanes.describe(1, 3) == "token 1 of shard 0: cat | it"
    assert lanes.describe(3, 1) == "token 0 of shard 1: it"
    assert lanes.describe(5, 4) == "token 2 of shard 1: still | the cat"
