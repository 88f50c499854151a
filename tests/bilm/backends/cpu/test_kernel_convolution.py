"""The compiled character CNN against PyTorch's convolution."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from spacy_elmo import BiLM, BiLMConfig
from spacy_elmo.bilm.backends import CPUBackend, Filters
from spacy_elmo.bilm.backends import cpu as kernels

# Panels of filters of one width and of several, in no order.
FILTERS = Filters(((2, 48), (1, 16), (5, 96), (3, 32)))
N_FILTERS, CHAR_DIM, N_COLUMNS = 192, 6, 12
F32 = torch.float32
# Words so long that wide filters have fewer places than narrow ones are among them.
LENGTHS = [
    pytest.param([3, 3, 4, 5], id="short"),
    pytest.param([1, 2, 8, 9, 11, 12], id="long"),
    pytest.param([0, 0, 1], id="no characters"),
    pytest.param(sorted(range(1, 12)) * 9, id="more than a thread takes at once"),
]


def maximal_response(
    characters: Tensor,
    weight: Tensor,
    filters: Filters,
    lengths: list[int],
    dtype: torch.dtype,
) -> Tensor:
    return CPUBackend(dtype).char_cnn(characters, weight, filters, lengths)


def given(lengths: list[int]) -> list[Tensor]:
    """Characters, whose padding is one vector, and the filters' weights."""
    torch.manual_seed(0)
    n_columns = min(max(lengths) + 5, N_COLUMNS)
    characters = torch.randn(len(lengths), n_columns, CHAR_DIM)
    padding = torch.randn(CHAR_DIM)
    for row, length in zip(characters, lengths):
        row[length:] = padding
    weight = torch.randn(N_FILTERS, 5, CHAR_DIM)
    for rows, width in FILTERS.rows():
        weight[rows, width:] = 0
    return [characters.requires_grad_(), weight.flatten(1).requires_grad_()]


def plainly(characters: Tensor, weight: Tensor, lengths: list[int]) -> Tensor:
    """Windows of nothing but padding are all one: each word has one of them."""
    best = []
    for word, length in zip(characters, lengths):
        of_word = []
        for rows, width in FILTERS.rows():
            by_place = weight[rows, : width * CHAR_DIM].unflatten(1, (width, CHAR_DIM))
            columns = word[: min(length + width, len(word))].t()[None]
            of_word.append(F.conv1d(columns, by_place.transpose(1, 2))[0].amax(dim=1))
        best.append(torch.cat(of_word))
    return torch.stack(best)


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_numbers_and_gradients(
    lengths: list[int], dtype: torch.dtype, lanes: int
) -> None:
    """In float32, whatever other products are in."""
    own = given(lengths)
    found = maximal_response(*own, FILTERS, lengths, dtype)
    exact = [tensor.detach().double().requires_grad_() for tensor in own]
    wanted = plainly(*exact, lengths)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), wanted, rtol=0, atol=1e-5)
    towards = torch.randn_like(found)
    mine = torch.autograd.grad(found, own, towards, retain_graph=True)
    plain = torch.autograd.grad(wanted, exact, towards.double())
    for one, other in zip(mine, plain):
        torch.testing.assert_close(one.double(), other, rtol=1e-5, atol=1e-5)
    again = torch.autograd.grad(found, own, towards)
    assert all(map(torch.equal, mine, again))


def test_the_same_bits_for_any_number_of_threads(lanes: int) -> None:
    lengths = sorted([3, 9, 5] * 20)
    threads, found = torch.get_num_threads(), []
    try:
        for n_threads in (1, 2, 3):
            torch.set_num_threads(n_threads)
            own = given(lengths)
            best = maximal_response(*own, FILTERS, lengths, torch.float32)
            gradients = torch.autograd.grad(best.square().sum(), own)
            found.append([best.detach(), *gradients])
    finally:
        torch.set_num_threads(threads)
    for other in found[1:]:
        assert all(map(torch.equal, other, found[0]))


def test_of_equal_maxima_the_first_has_the_gradient(lanes: int) -> None:
    characters = torch.ones(1, 4, 1, requires_grad=True)
    weight = torch.ones(64, 1)
    one = Filters(((1, 64),))
    maximal_response(characters, weight, one, [3], torch.float32).sum().backward()
    assert characters.grad is not None
    assert characters.grad.flatten().tolist() == [64.0, 0.0, 0.0, 0.0]


@pytest.mark.parametrize("place", [0, 4, 7])
def test_what_is_no_number_stays_none(place: int, lanes: int) -> None:
    """In its own word, of which it is a part, and in no other."""
    characters, weight = (tensor.detach() for tensor in given([7, 7, 7]))
    characters[1, place, 2] = float("nan")
    found = maximal_response(characters, weight, FILTERS, [7, 7, 7], torch.float32)
    assert found[1].isnan().all()
    assert found[[0, 2]].isfinite().all()


def test_sizes_that_fill_no_panel(lanes: int) -> None:
    characters, weight = (tensor.detach() for tensor in given([3, 4]))
    few = Filters(((2, 48), (1, 16), (5, 26)))
    found = maximal_response(characters, weight[:90], few, [3, 4], torch.float32)
    whole = maximal_response(characters, weight, FILTERS, [3, 4], torch.float32)
    torch.testing.assert_close(found, whole[:, :90], rtol=0, atol=1e-5)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_a_whole_bilm(activation: str, lanes: int) -> None:
    """The gradients of what the characters and the filters are."""
    config = BiLMConfig(
        char_dim=5,
        filters=((1, 32), (3, 32), (7, 64)),
        max_characters_per_token=12,
        dim=16,
        projection_dim=8,
        activation=activation,
    )
    torch.manual_seed(0)
    bilm = BiLM(config)
    sentences = [["one", "extraordinarily", "é"], ["o", "one"]]
    found = []
    for enabled in (True, False):
        with kernels.flags(enabled=enabled):
            bilm.zero_grad()
            layers = bilm(sentences)
            layers.square().sum().backward()
        gradients = [weight.grad for weight in bilm.character_encoder.parameters()]
        assert all(gradient is not None for gradient in gradients)
        found.append([layers.detach(), *gradients])
    for one, other in zip(*found):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_infinities_stay_infinities(lanes: int) -> None:
    """Also where another window has one: only what is no number is none."""
    characters = torch.tensor([-3e38, 3e38, 1.0, 1.0]).view(1, 4, 1)
    weight = torch.full((64, 1), 2.0)
    one = Filters(((1, 64),))
    found = maximal_response(characters, weight, one, [3], torch.float32)
    assert (found == torch.inf).all()
    found = maximal_response(characters[:, ::2].contiguous(), weight, one, [1], F32)
    assert (found == 2).all()


@pytest.mark.parametrize("turned", [True, False])
def test_whatever_the_layout_and_the_default_dtype(turned: bool, lanes: int) -> None:
    characters, weight = (tensor.detach() for tensor in given([3, 7]))
    expected = maximal_response(characters, weight, FILTERS, [3, 7], F32)
    if turned:
        weight = weight.t().contiguous().t()
    own = [characters.requires_grad_(), weight.requires_grad_()]
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float64)
        found = maximal_response(*own, FILTERS, [3, 7], F32)
        gradients = torch.autograd.grad(found.sum(), own)
    finally:
        torch.set_default_dtype(before)
    assert torch.equal(found, expected)
    assert {gradient.dtype for gradient in gradients} == {torch.float32}
