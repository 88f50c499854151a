"""The character CNN in PyTorch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from spacy_elmo.bilm.backends import Filters, torch_char_cnn
from spacy_elmo.bilm.backends.torch_char_cnn import char_cnn

FILTERS = Filters(((2, 3), (1, 4), (5, 6)))
N_COLUMNS = 12


def given(lengths: list[int]) -> tuple[Tensor, Tensor]:
    """Characters, whose padding is one vector, and filter weights."""
    torch.manual_seed(0)
    characters = torch.randn(len(lengths), N_COLUMNS, 3, dtype=torch.float64)
    padding = torch.randn(3, dtype=torch.float64)
    for row, length in zip(characters, lengths):
        row[length:] = padding
    weight = torch.randn(13, 5, 3, dtype=torch.float64)
    for rows, width in FILTERS.rows():
        weight[rows, width:] = 0
    return characters.requires_grad_(), weight.flatten(1).requires_grad_()


def plainly(characters: Tensor, weight: Tensor) -> Tensor:
    """Compute the responses with PyTorch's convolutions over all columns."""
    kernels = weight.unflatten(1, (5, 3)).transpose(1, 2)
    return torch.cat(
        [
            F.conv1d(characters.transpose(1, 2), kernels[rows, :, :width]).amax(dim=2)
            for rows, width in FILTERS.rows()
        ],
        dim=1,
    )


def response(characters: Tensor, weight: Tensor, lengths: list[int]) -> Tensor:
    return char_cnn(characters, weight, FILTERS, lengths, torch.float64)


# In the last two words, wide filters have fewer positions than narrow filters.
LENGTHS = [[3, 3, 4, 7], [1, 2, 8, 9, 11, 12]]


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("at_once", [1, 300, 1 << 20])
def test_equals_a_convolution_with_gradients(
    lengths: list[int], at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_char_cnn, "_CHUNK_SIZE", at_once)
    characters, weight = given(lengths)
    found, expected = response(characters, weight, lengths), plainly(characters, weight)
    torch.testing.assert_close(found, expected)
    towards = torch.randn_like(found)
    mine = torch.autograd.grad(found, weight, towards)[0].unflatten(1, (5, 3))
    plain = torch.autograd.grad(expected, weight, towards)[0].unflatten(1, (5, 3))
    for rows, width in FILTERS.rows():
        torch.testing.assert_close(mine[rows, :width], plain[rows, :width])


@pytest.mark.parametrize("lengths", [[12, 12], [5, 6]])
def test_gradcheck(lengths: list[int]) -> None:
    """Against finite differences, without the columns that a filter lacks."""
    torch.manual_seed(1)
    columns = max(lengths) + 5 if lengths[0] < 12 else N_COLUMNS
    characters = torch.randn(2, columns, 3, dtype=torch.float64, requires_grad=True)
    weight = given(lengths)[1]
    has = (weight != 0).detach()
    assert torch.autograd.gradcheck(
        lambda x, w: response(x, w * has, lengths), (characters, weight)
    )


def test_equal_maxima_share_the_gradient() -> None:
    characters = torch.ones(1, 4, 1, dtype=torch.float64, requires_grad=True)
    weight = torch.ones(1, 1, dtype=torch.float64)
    one = Filters(((1, 1),))
    best = char_cnn(characters, weight, one, [3], torch.float64)
    best.sum().backward()
    assert characters.grad is not None
    assert characters.grad.flatten().tolist() == [0.25] * 4


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_precisions_are_close(lengths: list[int], dtype: torch.dtype) -> None:
    """Result and gradients are float32 in any precision of the products."""
    tolerance = 1e-5 if dtype == torch.float32 else 0.02
    # Values that bfloat16 represents exactly, with distinct maxima.
    characters, weight = (t.detach().bfloat16().float() for t in given(lengths))
    low = [characters.requires_grad_(), weight.requires_grad_()]
    exact = [tensor.detach().double().requires_grad_() for tensor in low]
    found = char_cnn(*low, FILTERS, lengths, dtype)
    expected = plainly(*exact)
    assert found.dtype == torch.float32
    assert (found - expected).abs().max() < tolerance * expected.abs().max()
    towards = torch.randn_like(found)
    mine = torch.autograd.grad(found, low, towards)
    assert {gradient.dtype for gradient in mine} == {torch.float32}
    plain = torch.autograd.grad(expected, exact[1], towards.double())[0]
    # Without the columns that a filter lacks.
    difference = (mine[1] - plain)[weight != 0].norm() / plain.norm()
    assert difference < (1e-5 if dtype == torch.float32 else 0.05)


def test_no_words() -> None:
    characters, weight = given([])
    found = char_cnn(characters, weight, FILTERS, [], torch.float64)
    assert found.shape == (0, 13)
    for gradient in torch.autograd.grad(found.sum(), (characters, weight)):
        assert not gradient.any()


def test_words_without_characters() -> None:
    """Words of padding alone have one window."""
    characters, weight = given([0, 0])
    found = response(characters, weight, [0, 0])
    torch.testing.assert_close(found, plainly(characters, weight))


@pytest.mark.parametrize("needs", [(True, False), (False, True)])
def test_gradient_of_one_input(needs: tuple[bool, bool]) -> None:
    lengths = LENGTHS[0]
    both = given(lengths)
    wanted = torch.autograd.grad(response(*both, lengths).sum(), both)
    for tensor, needed in zip(both, needs):
        tensor.requires_grad_(needed)
    response(*both, lengths).sum().backward()
    for tensor, needed, gradient in zip(both, needs, wanted):
        assert (tensor.grad is not None) == needed
        if tensor.grad is not None:
            torch.testing.assert_close(tensor.grad, gradient)


def test_backward_runs_twice_and_leaves_its_inputs_unchanged() -> None:
    lengths = LENGTHS[1]
    both = given(lengths)
    before = [tensor.detach().clone() for tensor in both]
    found = response(*both, lengths)
    towards = torch.randn_like(found)
    first = torch.autograd.grad(found, both, towards, retain_graph=True)
    for one, other in zip(first, torch.autograd.grad(found, both, towards)):
        assert torch.equal(one, other)
    for tensor, copy in zip(both, before):
        assert torch.equal(tensor, copy)


def test_nan_propagates() -> None:
    characters, weight = given([3])
    with torch.no_grad():
        characters[0, 1, 0] = torch.nan
    assert response(characters, weight, [3]).isnan().all()
