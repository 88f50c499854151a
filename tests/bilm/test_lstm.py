"""ProjectedLSTM against torch.nn.LSTM, and packing."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from spacy_elmo import BiLMConfig
from spacy_elmo.bilm.lstm import LSTMState, Packing, ProjectedLSTM

CPU = torch.device("cpu")
BATCH_SIZES = [4, 3, 3, 1, 1, 1, 1]
N_ROWS = sum(BATCH_SIZES)
DOUBLE = torch.float64
NAMES = {
    "weight_ih": "weight_ih_l0",
    "weight_hh": "weight_hh_l0",
    "bias": "bias_ih_l0",
    "weight_hr": "weight_hr_l0",
}
PROJECTIONS = pytest.mark.parametrize("dim", [6, 10], ids=["plain", "projected"])


def layer(
    dim: int = 10,
    *,
    cell_clip: float | None = None,
    proj_clip: float | None = None,
    forget_bias: float = 1.0,
) -> ProjectedLSTM:
    torch.manual_seed(0)
    config = BiLMConfig(
        dim=dim,
        projection_dim=6,
        cell_clip=cell_clip,
        proj_clip=proj_clip,
        forget_bias=forget_bias,
    )
    module = ProjectedLSTM(config).double()
    nn.init.normal_(module.bias)
    return module


def random_inputs(seed: int = 1) -> Tensor:
    torch.manual_seed(seed)
    return torch.randn(N_ROWS, 6, dtype=DOUBLE, requires_grad=True)


def random_state(dim: int) -> LSTMState:
    torch.manual_seed(2)
    return LSTMState(
        torch.randn(4, 6, dtype=DOUBLE, requires_grad=True),
        torch.randn(4, dim, dtype=DOUBLE, requires_grad=True),
    )


def torch_lstm(ours: ProjectedLSTM) -> nn.LSTM:
    """PyTorch's LSTM with the same weights; its second bias is the forget bias."""
    projection = {} if ours.weight_hr is None else {"proj_size": 6}
    theirs = nn.LSTM(6, ours.dim, **projection).double()
    with torch.no_grad():
        theirs.weight_ih_l0.copy_(ours.weight_ih)
        theirs.weight_hh_l0.copy_(ours.weight_hh)
        theirs.bias_ih_l0.copy_(ours.bias)
        theirs.bias_hh_l0.zero_()
        theirs.bias_hh_l0[ours.dim : 2 * ours.dim] = ours.forget_bias
        if ours.weight_hr is not None:
            theirs.weight_hr_l0.copy_(ours.weight_hr)
    return theirs


@PROJECTIONS
@pytest.mark.parametrize("with_state", [False, True])
@pytest.mark.parametrize("forget_bias", [0.0, 1.0])
def test_equals_torch_lstm(dim: int, with_state: bool, forget_bias: float) -> None:
    """Outputs, final states and the gradients of weights, inputs and states."""
    ours = layer(dim, forget_bias=forget_bias)
    theirs = torch_lstm(ours)
    state = random_state(dim) if with_state else None
    inputs, their_inputs = random_inputs(), random_inputs()

    outputs, last = ours(inputs, BATCH_SIZES, state)
    packed, (hidden, cell) = theirs(
        PackedSequence(their_inputs, torch.tensor(BATCH_SIZES)),
        None if state is None else (state.hidden[None], state.cell[None]),
    )
    torch.testing.assert_close(outputs, packed.data)
    torch.testing.assert_close(last.hidden, hidden[0])
    torch.testing.assert_close(last.cell, cell[0])

    start = [] if state is None else list(state)
    weights = dict(ours.named_parameters())
    their_weights = [getattr(theirs, NAMES[name]) for name in weights]
    found = torch.autograd.grad(
        weigh(outputs, last.hidden, last.cell), [inputs, *start, *weights.values()]
    )
    expected = torch.autograd.grad(
        weigh(packed.data, hidden[0], cell[0]), [their_inputs, *start, *their_weights]
    )
    for one, other in zip(found, expected):
        torch.testing.assert_close(one, other)


def weigh(*tensors: Tensor) -> Tensor:
    """Weigh each element differently and add up."""
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    return flat @ torch.linspace(-1, 2, len(flat), dtype=DOUBLE)


def test_initial_weights() -> None:
    module = ProjectedLSTM(BiLMConfig(dim=400, projection_dim=100))
    assert not module.bias.any()
    for weight, bound in (
        (module.weight_ih, 0.1),
        (module.weight_hh, 0.1),
        (module.weight_hr, 0.05),
    ):
        assert weight is not None
        assert 0.99 * bound < weight.abs().max() <= bound
        assert abs(weight.mean()) < 0.01 * bound


lengths_of_sequences = st.lists(st.integers(1, 12), min_size=1, max_size=12)


def pack_naively(lengths: list[int], *, backward: bool) -> list[int]:
    """Rows step by step, longest sequence first, ties in input order."""
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
def test_rows_are_packed_step_by_step(lengths: list[int]) -> None:
    packing = Packing.from_lengths(lengths, CPU)
    assert packing.forward.tolist() == pack_naively(lengths, backward=False)
    assert packing.backward.tolist() == pack_naively(lengths, backward=True)
    assert packing.batch_sizes == [
        sum(length > step for length in lengths) for step in range(max(lengths))
    ]
    assert packing.order.tolist() == sorted(
        range(len(lengths)), key=lambda n: -lengths[n]
    )


@settings(deadline=None)
@given(lengths_of_sequences)
def test_unpacking_inverts_packing(lengths: list[int]) -> None:
    packing = Packing.from_lengths(lengths, CPU)
    rows = torch.arange(sum(lengths))
    for pack, unpack in (
        (packing.forward, packing.unpack_forward),
        (packing.backward, packing.unpack_backward),
    ):
        assert torch.equal(pack.sort().values, rows)
        assert torch.equal(rows[pack][unpack], rows)
        assert torch.equal(rows[unpack][pack], rows)
