"""Packing: rows of concatenated sequences <-> rows of time steps."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_elmo.bilm.lstm import Packing

CPU = torch.device("cpu")
lengths_of_sequences = st.lists(st.integers(1, 12), min_size=1, max_size=12)


def naive(lengths: list[int], *, backward: bool) -> list[int]:
    """The rows step by step, the longest sequence first, ties in the order given."""
    order = sorted(range(len(lengths)), key=lambda n: -lengths[n])
    starts = [sum(lengths[:n]) for n in range(len(lengths))]
    return [
        starts[n] + (lengths[n] - 1 - step if backward else step)
        for step in range(max(lengths))
        for n in order
        if step < lengths[n]
    ]


@settings(deadline=None)
@given(lengths_of_sequences)
def test_rows_lie_step_by_step(lengths: list[int]) -> None:
    packing = Packing.from_lengths(lengths, CPU)
    assert packing.forward.tolist() == naive(lengths, backward=False)
    assert packing.backward.tolist() == naive(lengths, backward=True)
    assert packing.batch_sizes == [
        sum(length > step for length in lengths) for step in range(max(lengths))
    ]
    assert packing.order.tolist() == sorted(
        range(len(lengths)), key=lambda n: -lengths[n]
    )


@settings(deadline=None)
@given(lengths_of_sequences)
def test_unpacking_is_the_inverse(lengths: list[int]) -> None:
    packing = Packing.from_lengths(lengths, CPU)
    rows = torch.arange(sum(lengths))
    for pack, unpack in (
        (packing.forward, packing.unpack_forward),
        (packing.backward, packing.unpack_backward),
    ):
        assert torch.equal(pack.sort().values, rows)
        assert torch.equal(rows[pack][unpack], rows)
        assert torch.equal(rows[unpack][pack], rows)


def test_agrees_with_torch() -> None:
    lengths = [3, 5, 1, 5]
    rows = torch.arange(sum(lengths))
    theirs = torch.nn.utils.rnn.pack_sequence(rows.split(lengths), enforce_sorted=False)
    packing = Packing.from_lengths(lengths, CPU)
    assert packing.batch_sizes == theirs.batch_sizes.tolist()
    assert [int(packing.order[0]), int(packing.order[-1])] == [1, 2]
    assert sorted(packing.forward.tolist()) == sorted(theirs.data.tolist())
