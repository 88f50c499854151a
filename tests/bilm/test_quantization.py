"""8-bit integers with a scale per block of a row."""

from __future__ import annotations

import torch

from spacy_elmo.bilm.quantization import dequantize, int8_linear, quantize


def test_the_largest_number_of_a_row_is_127() -> None:
    integers, maxima = quantize(torch.tensor([[0.5, -1.0, 0.0], [2.0, 4.0, -3.0]]))
    assert integers.tolist() == [[64, -127, 0], [64, 127, -95]]
    assert maxima.tolist() == [[1], [4]]


def test_rounding_errors_are_at_most_half_a_scale() -> None:
    torch.manual_seed(0)
    rows = torch.randn(20, 300) * torch.logspace(-25, 25, 20)[:, None]
    integers, maxima = quantize(rows)
    assert integers.abs().max() == 127
    assert maxima.shape == (20, 2)
    errors = 127 * (dequantize(integers, maxima) - rows).abs()
    assert (errors[:, :256] / maxima[:, :1]).max() <= 0.5001
    assert (errors[:, 256:] / maxima[:, 1:]).max() <= 0.5001


def test_zeros_and_tiny_numbers_become_zeros() -> None:
    integers, maxima = quantize(torch.tensor([[0.0, -0.0], [1e-31, -1e-38]]))
    assert not integers.any()
    assert not maxima.any()


def test_quantized_numbers_are_quantized_to_the_same_again() -> None:
    torch.manual_seed(0)
    first = quantize(torch.randn(500, 70))
    assert all(map(torch.equal, quantize(dequantize(*first)), first))


def test_a_linear_layer() -> None:
    torch.manual_seed(0)
    inputs, weight, bias = torch.randn(9, 64), torch.randn(33, 64), torch.randn(33)
    exact = inputs @ weight.T + bias
    found = int8_linear(inputs, weight, bias)
    assert 1e-4 < (found - exact).norm() / exact.norm() < 0.02
    assert torch.equal(int8_linear(inputs[3:5], weight, None) + bias, found[3:5])
