"""In which number format matrix products are formed."""

from typing import Optional

import torch
from torch import Tensor

from .matmul import linear as multiply

PRECISIONS = ("float32", "bfloat16", "auto")


def resolve_precision(precision: str, device: torch.device) -> torch.dtype:
    """The dtype of the matrix products; everything else stays in float32.

    precision: "float32"; "bfloat16" (half the memory traffic, 8 bits of mantissa, on
        any device, fast only where it is native); or "auto": bfloat16 where the device
        multiplies it natively, else float32.

    Raises ValueError for another word.
    """
    if precision not in PRECISIONS:
        raise ValueError(
            f"precision: expected one of {', '.join(PRECISIONS)}, found {precision!r}."
        )
    if precision == "auto":
        return torch.bfloat16 if has_native_bfloat16(device) else torch.float32
    return torch.bfloat16 if precision == "bfloat16" else torch.float32


def has_native_bfloat16(device: torch.device) -> bool:
    """Whether the device has matrix instructions for bfloat16."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # PyTorch has no public question for this; a build without the private one says no.
    question = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return device.type == "cpu" and question is not None and bool(question())


def linear(
    inputs: Tensor, weight: Tensor, bias: Optional[Tensor], dtype: torch.dtype
) -> Tensor:
    """inputs · weightᵀ + bias with the product in `dtype`, the result in the inputs'.

    inputs: (n, n_in). weight: (n_out, n_in), already in `dtype`. bias: (n_out,).
    """
    product = multiply(inputs.to(dtype), weight).to(inputs.dtype)
    return product if bias is None else product.add_(bias)
