"""The dtype of matrix products."""

import torch

from .backends import has_native_bfloat16

PRECISIONS = ("float32", "bfloat16", "auto")


def resolve_precision(precision: str, device: torch.device) -> torch.dtype:
    """Return the dtype of the matrix products. Everything else stays in float32.

    precision (str): "float32"; "bfloat16" (half the memory traffic, 8 bits of
        mantissa; faster only where it is native); or "auto" for bfloat16 where the
        device multiplies it natively, otherwise float32.
    device (torch.device): Device of the network.
    RAISES: ValueError if `precision` is unknown.
    """
    if precision not in PRECISIONS:
        raise ValueError(
            f"precision: expected one of {', '.join(PRECISIONS)}, found {precision!r}."
        )
    if precision == "auto":
        return torch.bfloat16 if has_native_bfloat16(device) else torch.float32
    return torch.bfloat16 if precision == "bfloat16" else torch.float32
