"""Checks of the arrays whose addresses are handed to C++."""

from typing import Tuple

import torch
from torch import Tensor

Shape = Tuple[int, ...]


def address(
    name: str,
    tensor: Tensor,
    shape: Shape,
    dtype: torch.dtype = torch.float32,
) -> int:
    """Check an array and return its address.

    name (str): Name in error messages.
    tensor (Tensor): The array.
    shape (Tuple[int, ...]): Shape that the kernel expects.
    dtype (torch.dtype): Dtype that the kernel expects.
    RETURNS (int): Address of the first element.
    RAISES: ValueError if the array is none of these, not contiguous, or not on the CPU.
    """
    if tuple(tensor.shape) != shape or tensor.dtype != dtype:
        raise ValueError(
            f"{name}: expected the shape {shape} of {dtype}, found "
            f"{tuple(tensor.shape)} of {tensor.dtype}."
        )
    if not tensor.is_contiguous() or tensor.device.type != "cpu":
        raise ValueError(
            f"{name}: expected a contiguous tensor on the CPU, found strides "
            f"{tensor.stride()} on {tensor.device}."
        )
    return tensor.data_ptr()


def check_instructions(code: int, has_instructions: bool) -> None:
    """RAISES: ValueError if the processor lacks an instruction set."""
    if not has_instructions:
        raise ValueError(
            f"Expected an instruction set of this processor, found the code {code}."
        )
