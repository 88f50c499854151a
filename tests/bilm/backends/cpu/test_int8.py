"""Products of 8-bit integers, against the reference in plain PyTorch."""

from __future__ import annotations

import pytest
import torch
from helpers import reference
from helpers.reference import relative_error
from torch import Tensor

from spacy_elmo.bilm.backends.backend import Clips, Filters, LSTMState, LSTMWeights
from spacy_elmo.bilm.backends.cpu import gemm, instructions, limited_to
from spacy_elmo.bilm.backends.cpu.char_cnn import PreparedCharCNN
from spacy_elmo.bilm.backends.cpu.instructions import SETS, InstructionSet
from spacy_elmo.bilm.backends.cpu.lstm import PreparedLSTM
from spacy_elmo.bilm.quantization import int8_linear

INT8 = torch.int8
SIZES = pytest.mark.parametrize(
    ("dim", "width"),
    [(192, 64), (100, 37), (65, 65), (3, 1), (640, 576)],
    ids=["whole panels", "odd", "no projection", "tiny", "large"],
)


def linear(inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return gemm.PackedLinear(weight, bias, INT8)(inputs)


class Case:
    """LSTMs with their inputs and initial state."""

    def __init__(self, batch_sizes: list[int], dim: int, width: int) -> None:
        torch.manual_seed(0)
        n = batch_sizes[0]
        self.batch_sizes, self.clips = batch_sizes, Clips(3.0, 0.9)
        self.weights = [
            LSTMWeights(
                torch.randn(4 * dim, width) / width**0.5,
                torch.randn(4 * dim, width) / width**0.5,
                torch.randn(4 * dim) / 2,
                torch.randn(width, dim) / dim**0.5 if dim != width else None,
            )
            for _ in range(2)
        ]
        self.inputs = torch.randn(2, sum(batch_sizes), width)
        self.state = LSTMState(torch.randn(2, n, width), torch.randn(2, n, dim))

    def by_kernels(self) -> list[Tensor]:
        run = PreparedLSTM(self.weights, self.clips, INT8)
        outputs, state = run(self.inputs, self.batch_sizes, self.state)
        return [outputs, *state]

    def by_reference(self, linear=int8_linear) -> list[Tensor]:
        results = [
            reference.lstm(
                self.inputs[g],
                self.batch_sizes,
                self.state.hidden[g],
                self.state.cell[g],
                weights,
                self.clips,
                lambda inputs, weight: linear(inputs, weight, None),
            )
            for g, weights in enumerate(self.weights)
        ]
        return [torch.stack(parts) for parts in zip(*results)]


@pytest.mark.parametrize(
    "shape", [(1, 1, 1), (5, 3, 2), (48, 64, 64), (50, 101, 67), (7, 4097, 33)]
)
@pytest.mark.parametrize("has_bias", [True, False])
def test_linear(
    shape: tuple[int, int, int], has_bias: bool, int8_instruction_set: InstructionSet
) -> None:
    torch.manual_seed(0)
    n, n_in, n_out = shape
    inputs, weight = torch.randn(n, n_in), torch.randn(n_out, n_in)
    bias = torch.randn(n_out) if has_bias else None
    found, wanted = linear(inputs, weight, bias), int8_linear(inputs, weight, bias)
    assert relative_error(found, wanted) < 1e-6
    assert linear(inputs[:0], weight, bias).shape == (0, n_out)


def test_all_instruction_sets_compute_the_same_bits() -> None:
    names = [each.name for each in SETS if each in instructions.supported()]
    if instructions.why_no_int8() is not None:
        pytest.skip(f"no kernels for int8: {instructions.why_no_int8()}")
    torch.manual_seed(0)
    inputs, weight = torch.randn(50, 101), torch.randn(67, 101)
    results = []
    for name in names:
        with limited_to(name):
            results.append(linear(inputs, weight))
    assert all(torch.equal(result, results[0]) for result in results)


@pytest.mark.parametrize("signs", [(1, 1), (1, -1), (-1, 1), (-1, -1)])
def test_sums_are_not_saturated(
    signs: tuple[int, int], int8_instruction_set: InstructionSet
) -> None:
    """Every product is as large as it can be."""
    inputs, weight = torch.full((13, 8192), 1.0), torch.full((70, 8192), 1.0)
    found = linear(signs[0] * inputs, signs[1] * weight)
    wanted = torch.full((13, 70), 8192.0) * signs[0] * signs[1]
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=0)


def test_extreme_rows(int8_instruction_set: InstructionSet) -> None:
    """Zeros, numbers near the limits of float32, and an outlier."""
    torch.manual_seed(0)
    inputs, weight = torch.randn(6, 40), torch.randn(9, 40)
    inputs[0], inputs[1], inputs[2] = 0, 1e-31, inputs[2] * 1e37
    inputs[3], inputs[4, 7], weight[2], weight[3] = inputs[3] * 1e-29, 1e4, 0, 1e-38
    found, wanted = linear(inputs, weight), int8_linear(inputs, weight, None)
    assert not found[:2].any()
    assert not found[:, 2:4].any()
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=0)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_stays_so(
    value: float, int8_instruction_set: InstructionSet
) -> None:
    torch.manual_seed(0)
    inputs, weight = torch.randn(3, 40), torch.randn(70, 40)
    expected = linear(inputs, weight)
    inputs[1, 38] = value
    found = linear(inputs, weight)
    assert not found[1].isfinite().any()
    assert torch.equal(found[::2], expected[::2])
    weight[5, 3] = value
    found = linear(inputs[:1], weight)[0]
    assert not found[5].isfinite()
    assert found[:5].isfinite().all()


def test_a_row_does_not_depend_on_its_neighbors(
    int8_instruction_set: InstructionSet,
) -> None:
    torch.manual_seed(0)
    inputs = torch.randn(60, 101) * torch.logspace(-3, 3, 60)[:, None]
    weight = torch.randn(67, 101)
    whole = linear(inputs, weight)
    for row in (0, 17, 59):
        assert torch.equal(linear(inputs[row : row + 1], weight)[0], whole[row])


# Panels of one width and of several; the last filters are over 256 numbers.
FILTERS = pytest.mark.parametrize(
    ("filters", "char_dim"),
    [
        (Filters(((2, 48), (1, 16), (5, 96), (3, 32))), 16),
        (Filters(((2, 48), (1, 16), (5, 26))), 6),
        (Filters(((3, 1), (5, 5))), 61),
    ],
    ids=["whole panels", "odd", "large"],
)


def make_words(lengths: list[int], filters: Filters, char_dim: int) -> list[Tensor]:
    """Characters of words, and the weight of the filters."""
    torch.manual_seed(0)
    n_columns = min(max(lengths) + filters.widest, 12)
    characters = torch.randn(len(lengths), n_columns, char_dim)
    for word, length in zip(characters, lengths):
        word[length:] = torch.linspace(-1, 1, char_dim)  # padding
    n_filters = sum(number for _, number in filters.sizes)
    weight = torch.randn(n_filters, filters.widest, char_dim)
    for rows, width in filters.rows():
        weight[rows, width:] = 0
    return [characters, weight.flatten(1)]


def rounded(numbers: Tensor) -> Tensor:
    """Round each item to multiples of its own largest magnitude / 127."""
    scales = numbers.abs().flatten(1).amax(dim=1) / 127
    scales = scales.view(-1, *[1] * (numbers.dim() - 1)).double()
    return (numbers / scales).round() * scales


@FILTERS
@pytest.mark.parametrize("lengths", [[3, 3, 4, 5], [0, 1, 8, 9, 12], [*range(12)] * 5])
def test_char_cnn(
    filters: Filters,
    char_dim: int,
    lengths: list[int],
    int8_instruction_set: InstructionSet,
) -> None:
    lengths = sorted(lengths)
    characters, weight = make_words(lengths, filters, char_dim)
    run = PreparedCharCNN(weight, filters, INT8)
    found = run(characters, lengths)
    wanted = reference.char_cnn(rounded(characters), rounded(weight), filters, lengths)
    assert relative_error(found.double(), wanted) < 1e-6
    exact = reference.char_cnn(characters, weight, filters, lengths)
    assert 1e-3 < relative_error(found, exact) < 0.02
    torch.set_num_threads(3)
    assert torch.equal(run(characters, lengths), found)
    assert run(characters[:0], []).shape == (0, found.shape[1])


@FILTERS
def test_a_word_does_not_depend_on_its_neighbors(
    filters: Filters, char_dim: int, int8_instruction_set: InstructionSet
) -> None:
    lengths = [2, 3, 7, 12]
    characters, weight = make_words(lengths, filters, char_dim)
    run = PreparedCharCNN(weight, filters, INT8)
    whole = run(characters, lengths)
    for row, length in enumerate(lengths):
        n_columns = min(length + filters.widest, characters.shape[1])
        alone = run(characters[row : row + 1, :n_columns], [length])
        assert torch.equal(alone[0], whole[row])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_word_that_is_not_finite(
    value: float, int8_instruction_set: InstructionSet
) -> None:
    filters = Filters(((1, 16), (3, 50)))
    characters, weight = make_words([7, 7, 7], filters, 6)
    characters[1, 4, 2] = value
    found = PreparedCharCNN(weight, filters, INT8)(characters, [7, 7, 7])
    assert not found[1].isfinite().any()
    assert found[[0, 2]].isfinite().all()


def test_filters_too_large_for_an_int32(int8_instruction_set: InstructionSet) -> None:
    filters = Filters(((1, 1),))
    run = PreparedCharCNN(torch.ones(1, 65_540), filters, INT8)
    with pytest.raises(ValueError, match=r"at most 65536 numbers, .* found 65540"):
        run(torch.ones(1, 2, 65_540), [1])


@SIZES
@pytest.mark.parametrize("batch_sizes", [[7, 7, 3, 1], [113, 20, 1], [1, 1, 1]])
def test_lstm(
    dim: int,
    width: int,
    batch_sizes: list[int],
    int8_instruction_set: InstructionSet,
) -> None:
    """A sum that differs in its last bit may move a quantized number by one step, so
    the results are only almost the same as the reference's."""
    case = Case(batch_sizes, dim, width)
    exact = case.by_reference(torch.nn.functional.linear)
    for found, wanted, other in zip(case.by_kernels(), case.by_reference(), exact):
        assert relative_error(found, wanted) < 2e-3
        if dim > 3:
            assert 3e-3 < relative_error(found, other) < 0.03


@SIZES
@pytest.mark.parametrize("batch_sizes", [[113, 97, 20, 1], [3, 2]])
def test_lstm_with_any_number_of_threads(
    dim: int,
    width: int,
    batch_sizes: list[int],
    int8_instruction_set: InstructionSet,
) -> None:
    case = Case(batch_sizes, dim, width)
    torch.set_num_threads(1)
    expected = case.by_kernels()
    for n_threads in (2, 3, 16):
        torch.set_num_threads(n_threads)
        assert all(map(torch.equal, case.by_kernels(), expected))


def test_a_sequence_does_not_depend_on_its_neighbors(
    int8_instruction_set: InstructionSet,
) -> None:
    case = Case([60] * 4, 100, 37)
    run = PreparedLSTM(case.weights, case.clips, INT8)
    whole, _ = run(case.inputs, [60] * 4, case.state)
    few = case.inputs.unflatten(1, (4, 60))[:, :, :3].flatten(1, 2)
    state = LSTMState(case.state.hidden[:, :3], case.state.cell[:, :3])
    outputs, _ = run(few, [3] * 4, state)
    found, wanted = outputs.unflatten(1, (4, 3)), whole.unflatten(1, (4, 60))
    assert torch.equal(found, wanted[:, :, :3])
