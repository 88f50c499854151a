"""The character CNN by the compiled kernels, against a convolution in float64."""

from __future__ import annotations

import pytest
import torch
from helpers import reference
from torch import Tensor

from spacy_elmo.bilm.backends.backend import Filters
from spacy_elmo.bilm.backends.cpu.char_cnn import PreparedCharCNN, char_cnn
from spacy_elmo.bilm.backends.cpu.instructions import InstructionSet

CHAR_DIM, N_COLUMNS = 6, 12
# Panels of filters of one width and of several, in no order; whole panels and others.
FILTERS = [
    Filters(((2, 48), (1, 16), (5, 96), (3, 32))),
    Filters(((2, 48), (1, 16), (5, 26))),
    Filters(((3, 1),)),
]
WITH_FILTERS = pytest.mark.parametrize("filters", FILTERS, ids=["whole", "odd", "one"])
# A long word has fewer windows of a wide filter.
LENGTHS = pytest.mark.parametrize(
    "lengths",
    [[3, 3, 4, 5], [1, 2, 8, 9, 11, 12], [0, 0, 1], sorted(range(1, 12)) * 9],
    ids=["short", "long", "no characters", "many"],
)


def make_words(lengths: list[int], filters: Filters) -> list[Tensor]:
    """Characters, whose padding is one vector, and the filters' weights."""
    torch.manual_seed(0)
    n_columns = min(max(lengths) + filters.widest, N_COLUMNS)
    characters = torch.randn(len(lengths), n_columns, CHAR_DIM)
    padding = torch.randn(CHAR_DIM)
    for word, length in zip(characters, lengths):
        word[length:] = padding
    n_filters = sum(number for _, number in filters.sizes)
    weight = torch.randn(n_filters, filters.widest, CHAR_DIM)
    for rows, width in filters.rows():
        weight[rows, width:] = 0
    return [characters.requires_grad_(), weight.flatten(1).requires_grad_()]


@LENGTHS
@WITH_FILTERS
def test_responses_and_gradients(
    lengths: list[int], filters: Filters, instruction_set: InstructionSet
) -> None:
    given = make_words(lengths, filters)
    found = char_cnn(*given, filters, lengths)
    exact = [tensor.detach().double().requires_grad_() for tensor in given]
    wanted = reference.char_cnn(*exact, filters, lengths)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), wanted, rtol=0, atol=1e-5)
    d_found = torch.randn_like(found)
    gradients = torch.autograd.grad(found, given, d_found, retain_graph=True)
    expected = torch.autograd.grad(wanted, exact, d_found.double())
    for one, other in zip(gradients, expected):
        torch.testing.assert_close(one.double(), other, rtol=1e-5, atol=1e-5)
    assert all(map(torch.equal, gradients, torch.autograd.grad(found, given, d_found)))


@LENGTHS
@WITH_FILTERS
def test_prepared_filters_give_the_same_bits(
    lengths: list[int], filters: Filters, instruction_set: InstructionSet
) -> None:
    characters, weight = make_words(lengths, filters)
    prepared = PreparedCharCNN(weight, filters)
    expected = char_cnn(characters, weight, filters, lengths)
    assert torch.equal(prepared(characters, lengths), expected)


@WITH_FILTERS
def test_the_number_of_threads_does_not_matter(
    filters: Filters, instruction_set: InstructionSet
) -> None:
    lengths, expected = sorted([3, 9, 5] * 20), None
    for n_threads in (1, 2, 3, 16):
        torch.set_num_threads(n_threads)
        given = make_words(lengths, filters)
        best = char_cnn(*given, filters, lengths)
        found = [best.detach(), *torch.autograd.grad(best.square().sum(), given)]
        expected = expected or found
        assert all(map(torch.equal, found, expected))


def test_no_words(instruction_set: InstructionSet) -> None:
    _, weight = make_words([1], FILTERS[1])
    best = char_cnn(torch.zeros(0, 9, CHAR_DIM), weight, FILTERS[1], [])
    assert best.shape == (0, 90)
    best.sum().backward()
    assert not weight.grad.any()


def test_of_equal_maxima_the_first_gets_the_gradient(
    instruction_set: InstructionSet,
) -> None:
    characters = torch.ones(1, 4, 1, requires_grad=True)
    char_cnn(characters, torch.ones(64, 1), Filters(((1, 64),)), [3]).sum().backward()
    assert characters.grad is not None
    assert characters.grad.flatten().tolist() == [64.0, 0.0, 0.0, 0.0]


@pytest.mark.parametrize("place", [0, 4, 7])
@WITH_FILTERS
def test_nan_stays_nan(
    place: int, filters: Filters, instruction_set: InstructionSet
) -> None:
    """In its own word, and in no other."""
    characters, weight = (tensor.detach() for tensor in make_words([7, 7, 7], filters))
    characters[1, place, 2] = float("nan")
    found = char_cnn(characters, weight, filters, [7, 7, 7])
    assert found[1].isnan().all()
    assert found[[0, 2]].isfinite().all()


def test_infinity_stays_infinity(instruction_set: InstructionSet) -> None:
    """Also if another window's response is -infinity: their difference is not NaN."""
    characters = torch.tensor([-3e38, 3e38, 1.0, 1.0]).view(1, 4, 1)
    weight, filters = torch.full((64, 1), 2.0), Filters(((1, 64),))
    assert (char_cnn(characters, weight, filters, [3]) == torch.inf).all()
    found = char_cnn(characters[:, ::2].contiguous(), weight, filters, [1])
    assert (found == 2).all()


@pytest.mark.parametrize("transposed", [True, False])
def test_other_layouts_and_default_dtypes(
    transposed: bool, instruction_set: InstructionSet
) -> None:
    characters, weight = (tensor.detach() for tensor in make_words([3, 7], FILTERS[1]))
    expected = char_cnn(characters, weight, FILTERS[1], [3, 7])
    if transposed:
        weight = weight.t().contiguous().t()
    given = [characters.requires_grad_(), weight.requires_grad_()]
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float64)
        found = char_cnn(*given, FILTERS[1], [3, 7])
        gradients = torch.autograd.grad(found.sum(), given)
    finally:
        torch.set_default_dtype(before)
    assert torch.equal(found, expected)
    assert {gradient.dtype for gradient in gradients} == {torch.float32}
