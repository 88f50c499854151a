"""Checks of the arrays whose addresses are handed to C++."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from spacy_elmo.bilm.backends.cpu.arrays import address, check_instructions


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (torch.zeros(3, 4), r"rows: expected the shape \(4, 3\) of torch.float32"),
        (torch.zeros(12), r"found \(12,\) of torch.float32"),
        (torch.zeros(4, 3).bfloat16(), r"found \(4, 3\) of torch.bfloat16"),
        (torch.zeros(3, 4).t(), r"rows: expected a contiguous tensor on the CPU"),
        (torch.zeros(4, 3, device="meta"), "on meta"),
    ],
)
def test_refused_arrays(tensor: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        address("rows", tensor, (4, 3))


def test_address_of_an_array() -> None:
    tensor = torch.zeros(4, 3)
    assert address("rows", tensor, (4, 3)) == tensor.data_ptr()


def test_instructions_of_another_processor() -> None:
    check_instructions(1, True)
    with pytest.raises(ValueError, match="found the code 3"):
        check_instructions(3, False)
