"""All filters as one product."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from spacy_elmo.bilm import convolution
from spacy_elmo.bilm.convolution import Filters, maximal_response

FILTERS = Filters(((2, 3), (1, 4), (5, 6)))
N_COLUMNS = 12


def given(lengths: list[int]) -> tuple[Tensor, Tensor]:
    """Characters, whose padding is one vector, and the filters' weights."""
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
    """With PyTorch's convolution over all columns."""
    kernels = weight.unflatten(1, (5, 3)).transpose(1, 2)
    return torch.cat(
        [
            F.conv1d(characters.transpose(1, 2), kernels[rows, :, :width]).amax(dim=2)
            for rows, width in FILTERS.rows()
        ],
        dim=1,
    )


def response(characters: Tensor, weight: Tensor, lengths: list[int]) -> Tensor:
    return maximal_response(characters, weight, FILTERS, lengths, torch.float64)


# The last two are so long that wide filters have fewer places than narrow ones.
LENGTHS = [[3, 3, 4, 7], [1, 2, 8, 9, 11, 12]]


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("at_once", [1, 300, 1 << 20])
def test_it_is_the_convolution_and_its_gradient(
    lengths: list[int], at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convolution, "_AT_ONCE", at_once)
    characters, weight = given(lengths)
    found, expected = response(characters, weight, lengths), plainly(characters, weight)
    torch.testing.assert_close(found, expected)
    towards = torch.randn_like(found)
    mine = torch.autograd.grad(found, weight, towards)[0].unflatten(1, (5, 3))
    plain = torch.autograd.grad(expected, weight, towards)[0].unflatten(1, (5, 3))
    for rows, width in FILTERS.rows():
        torch.testing.assert_close(mine[rows, :width], plain[rows, :width])


@pytest.mark.parametrize("lengths", [[12, 12], [5, 6]])
def test_gradients(lengths: list[int]) -> None:
    """By finite differences; columns that a filter does not have are left out."""
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
    best = maximal_response(characters, weight, one, [3], torch.float64)
    best.sum().backward()
    assert characters.grad is not None
    assert characters.grad.flatten().tolist() == [0.25] * 4


def test_chunks_are_bounded_and_waste_no_padding() -> None:
    lengths = [3] * 4 + [4] * 4 + [9] * 2
    chunks = list(convolution._chunks(FILTERS, lengths, 20, at_once=20 * 13))
    assert [(c.words.start, c.words.stop, c.n_windows) for c in chunks] == [
        (0, 4, 4),
        (4, 8, 5),
        (8, 10, 10),
    ]
    assert {(c.rows.start, c.rows.stop, c.width) for c in chunks} == {(0, 13, 5)}


def test_a_long_word_has_its_filters_apart() -> None:
    chunks = list(convolution._chunks(FILTERS, [11], N_COLUMNS, at_once=1))
    assert [(c.rows, c.width, c.n_windows) for c in chunks] == [
        (slice(0, 3), 2, 11),
        (slice(3, 7), 1, 12),
        (slice(7, 13), 5, 8),
    ]
