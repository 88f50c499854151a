"""LSTMs by the compiled kernels, against a reference in float64."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
import torch
from helpers import reference
from helpers.reference import relative_error
from torch import Tensor

from spacy_elmo.bilm.backends.backend import Clips, LSTMState, LSTMWeights
from spacy_elmo.bilm.backends.cpu import lstm as kernels
from spacy_elmo.bilm.backends.cpu.gemm import pack
from spacy_elmo.bilm.backends.cpu.instructions import (
    Arithmetic,
    InstructionSet,
    with_half_weights,
)
from spacy_elmo.bilm.backends.cpu.workspace import Workspace

F32, BF16 = torch.float32, torch.bfloat16
BOTH = pytest.mark.parametrize("dtype", [F32, BF16])
SIZES = pytest.mark.parametrize(
    ("dim", "width"),
    [(192, 64), (100, 37), (65, 65), (64, 64), (3, 1), (40, 80)],
    ids=["whole panels", "odd", "odd, no projection", "no projection", "tiny", "wide"],
)
BATCH_SIZES = pytest.mark.parametrize(
    "batch_sizes",
    [[7, 7, 3, 2, 1], [113, 97, 20, 5, 1], [1, 1, 1]],
    ids=["few", "many", "one"],
)
CLIPS = [Clips(0.4, 0.25), Clips(None, None)]


class Case(NamedTuple):
    """LSTMs with inputs and initial state, and the gradients of their results."""

    batch_sizes: list[int]
    clips: Clips
    inputs: Tensor
    hidden: Tensor
    cell: Tensor
    weights: list[LSTMWeights]
    d_outputs: list[Tensor]

    def tensors(self) -> list[Tensor]:
        weights = [tensor for own in self.weights for tensor in own]
        given = [self.inputs, self.hidden, self.cell, *weights]
        return [tensor for tensor in given if tensor is not None]

    def to(self, dtype: torch.dtype) -> Case:
        """A copy whose tensors want gradients."""

        def copy(tensor: Tensor | None) -> Tensor | None:
            if tensor is None:
                return None
            return tensor.detach().to(dtype).clone().requires_grad_()

        weights = [LSTMWeights(*map(copy, own)) for own in self.weights]
        given = map(copy, (self.inputs, self.hidden, self.cell))
        d_outputs = [tensor.to(dtype) for tensor in self.d_outputs]
        return Case(self.batch_sizes, self.clips, *given, weights, d_outputs)

    def gradients(self, outputs: list[Tensor]) -> list[Tensor]:
        loss = sum((out * d).sum() for out, d in zip(outputs, self.d_outputs))
        found = torch.autograd.grad(loss, self.tensors())
        return [tensor.detach() for tensor in (*outputs, *found)]

    def by_kernels(
        self, dtype: torch.dtype, workspace: Workspace | None = None
    ) -> list[Tensor]:
        """Outputs and last states, then the gradients of everything given."""
        own = self.to(F32)
        state = LSTMState(own.hidden, own.cell)
        outputs, last = kernels.lstm(
            own.inputs, own.batch_sizes, state, own.weights, own.clips, dtype, workspace
        )
        return own.gradients([outputs, *last])

    def by_reference(self) -> list[Tensor]:
        own = self.to(torch.float64)
        results = [
            reference.lstm(
                own.inputs[g], own.batch_sizes, own.hidden[g], own.cell[g], w, own.clips
            )
            for g, w in enumerate(own.weights)
        ]
        return own.gradients([torch.stack(parts) for parts in zip(*results)])


def make_case(
    batch_sizes: list[int],
    clips: Clips = CLIPS[0],
    dim: int = 192,
    width: int = 64,
    n_lstms: int = 2,
) -> Case:
    torch.manual_seed(0)
    n = batch_sizes[0] if batch_sizes else 0
    weights = [
        LSTMWeights(
            torch.randn(4 * dim, width) / width**0.5,
            torch.randn(4 * dim, width) / width**0.5,
            torch.randn(4 * dim) / 2,
            torch.randn(width, dim) / dim**0.5 if dim != width else None,
        )
        for _ in range(n_lstms)
    ]
    inputs = torch.randn(n_lstms, sum(batch_sizes), width)
    hidden = torch.randn(n_lstms, n, width).clamp_(-0.25, 0.25)
    cell = torch.randn(n_lstms, n, dim).clamp_(-0.4, 0.4)
    d_outputs = [torch.randn_like(tensor) for tensor in (inputs, hidden, cell)]
    return Case(batch_sizes, clips, inputs, hidden, cell, weights, d_outputs)


@SIZES
@BATCH_SIZES
@pytest.mark.parametrize("clips", CLIPS)
def test_results_and_gradients(
    dim: int,
    width: int,
    batch_sizes: list[int],
    clips: Clips,
    instruction_set: InstructionSet,
) -> None:
    case = make_case(batch_sizes, clips, dim, width)
    found, exact = case.by_kernels(F32), case.by_reference()
    for index, (one, wanted) in enumerate(zip(found, exact)):
        assert one.dtype == F32
        assert one.shape == wanted.shape
        assert relative_error(one, wanted) < (1e-6 if index < 3 else 4e-6)
    if clips.cell:
        assert (found[2].abs() == np.float32(0.4)).any()
    if clips.projection and dim != width:
        assert found[0].abs().max() <= 0.25


@SIZES
@BATCH_SIZES
def test_bfloat16(
    dim: int, width: int, batch_sizes: list[int], instruction_set: InstructionSet
) -> None:
    """Rounded operands, with or without native instructions."""
    case = make_case(batch_sizes, Clips(None, None), dim, width)
    for one, wanted in zip(case.by_kernels(BF16), case.by_reference()):
        assert one.dtype == F32
        assert 1e-5 < relative_error(one, wanted) < 0.03


@pytest.mark.parametrize(("dim", "width"), [(192, 64), (100, 37), (65, 65)])
@pytest.mark.parametrize("batch_sizes", [[113, 97, 20, 1], [3, 2]])
@pytest.mark.parametrize("n_lstms", [1, 2])
@BOTH
def test_the_number_of_threads_does_not_matter(
    dim: int,
    width: int,
    batch_sizes: list[int],
    n_lstms: int,
    dtype: torch.dtype,
    instruction_set: InstructionSet,
) -> None:
    """Whether threads share the sequences or the columns of a step, bit for bit."""
    case = make_case(batch_sizes, CLIPS[0], dim, width, n_lstms)
    torch.set_num_threads(1)
    expected = case.by_kernels(dtype)
    for n_threads in (2, 3, 16):
        torch.set_num_threads(n_threads)
        assert all(map(torch.equal, case.by_kernels(dtype), expected))


@BOTH
def test_large_weights(dtype: torch.dtype, instruction_set: InstructionSet) -> None:
    """Input weights that are read once for several steps, by parts of their panels,
    also by threads that share them."""
    bound = 2e-6 if dtype == F32 else 0.02
    for batch_sizes in ([16, 15, 9, 1], [2, 2, 1]):
        case = make_case(batch_sizes, Clips(None, None), 640, 576, n_lstms=1)
        torch.set_num_threads(1)
        expected = case.by_kernels(dtype)
        for one, wanted in zip(expected, case.by_reference()):
            assert relative_error(one, wanted) < bound
        for n_threads in (2, 16):
            torch.set_num_threads(n_threads)
            assert all(map(torch.equal, case.by_kernels(dtype), expected))


@SIZES
@BATCH_SIZES
@BOTH
def test_prepared_lstm_gives_the_same_bits(
    dim: int,
    width: int,
    batch_sizes: list[int],
    dtype: torch.dtype,
    instruction_set: InstructionSet,
) -> None:
    case = make_case(batch_sizes, CLIPS[0], dim, width)
    given = [tensor.clone() for tensor in case.tensors()]
    prepared = kernels.PreparedLSTM(case.weights, case.clips, dtype)
    state = LSTMState(case.hidden, case.cell)
    for _ in range(2):
        outputs, last = prepared(case.inputs, batch_sizes, state)
    assert all(map(torch.equal, (outputs, *last), case.by_kernels(dtype)))
    assert all(map(torch.equal, given, case.tensors()))


@pytest.mark.parametrize(
    "damage", [0.0, 1e-5, 70_000.0, -1e30], ids=["exact", "tiny", "large", "huge"]
)
@pytest.mark.parametrize("batch_sizes", [[1], [1, 1, 1], [8, 8, 3, 1], [9, 9, 2]])
@SIZES
def test_weights_that_float16_represents_give_the_same_bits(
    dim: int,
    width: int,
    batch_sizes: list[int],
    damage: float,
    instruction_set: InstructionSet,
) -> None:
    """And a single weight that it does not represent is not rounded."""
    case = make_case(batch_sizes, CLIPS[0], dim, width)
    for own in case.weights:
        for tensor in (own.input, own.hidden, own.projection):
            if tensor is not None:
                tensor.copy_(tensor.half().float())
                tensor[0, 0] += damage
    prepared = kernels.PreparedLSTM(case.weights, case.clips, F32)
    outputs, last = prepared(
        case.inputs, batch_sizes, LSTMState(case.hidden, case.cell)
    )
    assert all(map(torch.equal, (outputs, *last), case.by_kernels(F32)))


def test_packing_in_float16(instruction_set: InstructionSet) -> None:
    arithmetic = with_half_weights(Arithmetic(instruction_set, F32, False))
    assert arithmetic is not None
    weight = torch.randn(4 * instruction_set.panel_columns, 37).half().float()
    weight[0, :3] = torch.tensor([2.0**-24, -65504.0, -0.0])
    packed = pack(weight, arithmetic).panels
    assert packed.dtype == torch.float16
    exact = pack(weight, Arithmetic(instruction_set, F32, False)).panels
    assert torch.equal(packed.float(), exact)
    with pytest.raises(ValueError, match="float16 weights, found True"):
        pack(weight, arithmetic, transposed=True)


@BOTH
def test_a_sequence_does_not_depend_on_its_neighbors(
    dtype: torch.dtype, instruction_set: InstructionSet
) -> None:
    case = make_case([60] * 4)
    prepared = kernels.PreparedLSTM(case.weights, case.clips, dtype)
    whole, _ = prepared(case.inputs, [60] * 4, LSTMState(case.hidden, case.cell))
    few = case.inputs.unflatten(1, (4, 60))[:, :, :3].flatten(1, 2)
    state = LSTMState(case.hidden[:, :3], case.cell[:, :3])
    outputs, _ = prepared(few, [3] * 4, state)
    assert torch.equal(
        outputs.unflatten(1, (4, 3)), whole.unflatten(1, (4, 60))[:, :, :3]
    )


@pytest.mark.parametrize("batch_sizes", [[], [0, 0]])
def test_no_sequences(batch_sizes: list[int], instruction_set: InstructionSet) -> None:
    case = make_case(batch_sizes)
    outputs, _, _, *gradients = case.by_kernels(F32)
    assert outputs.shape == case.inputs.shape
    for gradient, tensor in zip(gradients, case.tensors()):
        assert gradient.shape == tensor.shape
        assert not gradient.any()


def test_sequences_that_never_run_keep_their_state(
    instruction_set: InstructionSet,
) -> None:
    case = make_case([5, 5])._replace(batch_sizes=[3, 2])
    case = case._replace(inputs=case.inputs[:, :5], d_outputs=case.d_outputs[:])
    case.d_outputs[0] = case.d_outputs[0][:, :5]
    found = case.by_kernels(F32)
    assert torch.equal(found[1][:, 3:], case.hidden[:, 3:])
    assert torch.equal(found[5][:, 3:], case.d_outputs[2][:, 3:])
    for one, wanted in zip(found, case.by_reference()):
        assert relative_error(one, wanted) < 4e-6


def test_activations(instruction_set: InstructionSet) -> None:
    """Sigmoid and tanh are right everywhere, far out too: one step of an LSTM whose
    gates are given, and whose projection is the identity."""
    torch.manual_seed(0)
    width, dim = 65, 64
    gates = torch.randn(dim, 4 * dim) * torch.logspace(-4, 4, dim)[:, None]
    gates[0, :8] = torch.tensor([0.0, -0.0, 88.0, -88.0, 1e30, -1e30, 3e38, -3e38])
    by_row = torch.cat([gates.t(), torch.zeros(4 * dim, 1)], dim=1)
    weights = LSTMWeights(
        by_row, torch.zeros_like(by_row), torch.zeros(4 * dim), torch.eye(width, dim)
    )
    state = LSTMState(torch.zeros(1, dim, width), torch.ones(1, dim, dim))
    prepared = kernels.PreparedLSTM([weights], Clips(None, None), F32)
    outputs, (_, cell) = prepared(torch.eye(dim, width)[None], [dim], state)
    i, f, g, o = gates.double().chunk(4, dim=1)
    wanted = i.sigmoid() * g.tanh() + f.sigmoid()
    torch.testing.assert_close(cell[0].double(), wanted, rtol=0, atol=4e-7)
    wanted = o.sigmoid() * wanted.tanh()
    found = outputs[0, :, :dim].double()
    torch.testing.assert_close(found, wanted, rtol=0, atol=4e-7)


@pytest.mark.parametrize("gate", range(4))
@BOTH
def test_nan_stays_nan(
    gate: int, dtype: torch.dtype, instruction_set: InstructionSet
) -> None:
    """Or training would go on with ruined weights."""
    case = make_case([3, 2])
    case.weights[0].bias[gate * 192 + 7] = float("nan")
    found = case.by_kernels(dtype)
    assert found[0][0].isnan().all()
    assert found[0][1].isfinite().all()
    assert found[3][0].isnan().any()


def test_weights_may_change_before_the_backward_pass(
    instruction_set: InstructionSet,
) -> None:
    """It reads packed copies."""
    case = make_case([4, 3])
    expected = case.by_kernels(F32)[3:]
    own = case.to(F32)
    outputs, last = kernels.lstm(
        own.inputs, [4, 3], LSTMState(own.hidden, own.cell), own.weights, own.clips, F32
    )
    with torch.no_grad():
        for weights in own.weights:
            for weight in weights:
                weight.mul_(2)
    found = own.gradients([outputs, *last])[3:]
    assert all(map(torch.equal, found, expected))


def test_backward_twice(instruction_set: InstructionSet) -> None:
    case = make_case([4, 3]).to(F32)
    state = LSTMState(case.hidden, case.cell)
    outputs, _ = kernels.lstm(
        case.inputs, [4, 3], state, case.weights, case.clips, F32, Workspace()
    )
    loss, given = outputs.square().sum(), case.tensors()
    once = torch.autograd.grad(loss, given, retain_graph=True)
    assert all(map(torch.equal, once, torch.autograd.grad(loss, given)))


@BOTH
def test_other_default_dtype(
    dtype: torch.dtype, instruction_set: InstructionSet
) -> None:
    case = make_case([4, 3], dim=100, width=37)
    expected = case.by_kernels(dtype)
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float64)
        found = case.by_kernels(dtype)
    finally:
        torch.set_default_dtype(before)
    assert all(map(torch.equal, found, expected))


@pytest.mark.parametrize("batch_sizes", [[2, 3], [6]])
def test_batch_sizes_that_no_packing_has(
    batch_sizes: list[int], instruction_set: InstructionSet
) -> None:
    case = make_case([5])._replace(batch_sizes=batch_sizes)
    case = case._replace(inputs=torch.zeros(2, sum(batch_sizes), 64))
    with pytest.raises(ValueError, match="never more than at the step before"):
        case.by_kernels(F32)
