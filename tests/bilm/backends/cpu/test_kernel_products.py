"""Weights' gradients by the compiled kernels, and panels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from spacy_elmo.bilm.backends.cpu import available
from spacy_elmo.bilm.backends.cpu.gemm import Left, outer_products, panels

BOTH = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])


def skip_without_instructions(dtype: torch.dtype) -> None:
    if dtype == torch.bfloat16 and not available.multiply_bfloat16():
        pytest.skip("no instructions for bfloat16 beside these")


@pytest.mark.parametrize("n_rows", [1, 2, 96, 97, 401])
@BOTH
def test_outer_products(n_rows: int, dtype: torch.dtype, lanes: int) -> None:
    """Several of one right factor, turned or not, and its own sums."""
    skip_without_instructions(dtype)
    torch.manual_seed(0)
    # Numbers that bfloat16 holds: their products are exact in either.
    right = torch.randn(n_rows, 192).bfloat16().to(dtype)
    lefts = [torch.randn(n_rows, n).bfloat16().float() for n in (64, 32)]
    found = outer_products(
        [Left(lefts[0]), Left(lefts[1], turned=True)], right, with_sums=True
    )
    exact = right.double().t() @ lefts[0].double()
    turned = lefts[1].double().t() @ right.double()
    assert {one.dtype for one in found} == {torch.float32}
    for one, other in zip(found, (exact, turned, right.double().sum(dim=0))):
        torch.testing.assert_close(one.double(), other, rtol=0, atol=2e-4)
    (alone,) = outer_products([Left(lefts[0])], right)
    assert torch.equal(alone, found[0])


def test_any_number_of_columns_on_the_left(lanes: int) -> None:
    left, right = torch.randn(5, 7), torch.randn(5, 64)
    (found,) = outer_products([Left(left)], right)
    torch.testing.assert_close(found, right.t() @ left)


def columns_of(found: np.ndarray, dtype: torch.dtype) -> Tensor:
    """Of each panel, (number, n_in, columns), as float32."""
    if dtype != torch.bfloat16:
        return torch.from_numpy(found)
    numbers = torch.from_numpy(found).view(torch.bfloat16).float()
    return numbers.transpose(2, 3).flatten(1, 2)


@pytest.mark.parametrize("n_in", [2, 38, 64, 600])
@BOTH
def test_panels(n_in: int, dtype: torch.dtype, lanes: int) -> None:
    """Neighbouring columns, or the gates of neighbouring units; of small weights and of
    those that threads share; also of one that is not contiguous."""
    skip_without_instructions(dtype)
    columns = available.columns()
    torch.manual_seed(0)
    weight = torch.randn(n_in, 4 * columns)
    rounded = weight.to(dtype).float()
    found = panels(weight, dtype)
    expected = rounded.view(n_in, 4, columns).transpose(0, 1)
    assert torch.equal(columns_of(found, dtype), expected)
    assert np.array_equal(panels(weight.t().contiguous(), dtype, turned=True), found)
    assert np.array_equal(panels(weight.t(), dtype, turned=True), found)
    assert np.array_equal(panels(weight.t().contiguous().t(), dtype), found)
    by_gates = panels(weight.t(), dtype, turned=True, gates=True)
    units = rounded.view(n_in, 4, 4, columns // 4).permute(2, 0, 1, 3)
    assert torch.equal(columns_of(by_gates, dtype), units.flatten(2))
    assert not np.shares_memory(found, weight.numpy())
    threads = torch.get_num_threads()
    try:
        for n_threads in (2, 3):
            torch.set_num_threads(n_threads)
            assert np.array_equal(panels(weight, dtype), found)
            again = panels(weight.t(), dtype, turned=True, gates=True, lasting=True)
            assert np.array_equal(again, by_gates)
    finally:
        torch.set_num_threads(threads)


def test_panels_of_an_odd_number_of_rows(lanes: int) -> None:
    weight = torch.randn(7, available.columns())
    assert torch.equal(torch.from_numpy(panels(weight))[0], weight)
    turned = panels(weight.t().contiguous(), turned=True)
    assert torch.equal(torch.from_numpy(turned)[0], weight)
