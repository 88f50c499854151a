"""Weights' gradients by the compiled kernels, and panels."""

from __future__ import annotations

import pytest
import torch

from spacy_elmo.bilm.kernels import available
from spacy_elmo.bilm.kernels.products import (
    Left,
    outer_products,
    panels,
    panels_of_rows,
)


@pytest.mark.parametrize("n_rows", [1, 2, 96, 97, 401])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_outer_products(n_rows: int, dtype: torch.dtype, lanes: int) -> None:
    """Several of one right factor, turned or not, and its own sums."""
    if dtype == torch.bfloat16 and not available.multiply_bfloat16():
        pytest.skip("no instructions for bfloat16 beside these")
    torch.manual_seed(0)
    # Numbers that bfloat16 holds: their products are exact in either.
    right = torch.randn(2, n_rows, 192).bfloat16().to(dtype)
    lefts = [torch.randn(2, n_rows, n).bfloat16().float() for n in (64, 32)]
    found = outer_products(
        [Left(lefts[0]), Left(lefts[1], turned=True)], right, with_sums=True
    )
    exact = right.double().transpose(1, 2) @ lefts[0].double()
    turned = lefts[1].double().transpose(1, 2) @ right.double()
    assert {one.dtype for one in found} == {torch.float32}
    for one, other in zip(found, (exact, turned, right.double().sum(dim=1))):
        torch.testing.assert_close(one.double(), other, rtol=0, atol=2e-4)
    (alone,) = outer_products([Left(lefts[0])], right)
    assert torch.equal(alone, found[0])


def test_any_number_of_columns_on_the_left(lanes: int) -> None:
    left, right = torch.randn(1, 5, 7), torch.randn(1, 5, 64)
    (found,) = outer_products([Left(left)], right)
    torch.testing.assert_close(found, right.transpose(1, 2) @ left)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_panels(dtype: torch.dtype) -> None:
    weight = torch.arange(3 * 6 * 8.0).view(3, 6, 8)
    found = panels(weight, 4, dtype)
    if dtype == torch.bfloat16:
        assert found.shape == (3, 2, 3, 4, 2)
        numbers = found.view(torch.bfloat16).float()
        assert numbers[1, 1, 2, 3].tolist() == weight[1, 4:6, 7].tolist()
        found = numbers.transpose(-2, -1).flatten(2, 3)
    assert found.shape == (3, 2, 6, 4)
    assert torch.equal(found.transpose(1, 2).flatten(2), weight)
    turned = panels_of_rows(weight.transpose(1, 2).contiguous().to(dtype), 4)
    assert turned.is_contiguous()
    assert torch.equal(turned, panels(weight, 4, dtype))
