"""The dtype of matrix products."""

import torch

from .backends import CPUBackend, has_native_bfloat16

_DTYPES = {name: getattr(torch, name) for name in ("float32", "bfloat16", "int8")}

PRECISIONS = (*_DTYPES, "auto", "fastest")


def resolve_precision(precision: str, device: torch.device) -> torch.dtype:
    """Return the dtype of the matrix products. Everything else stays in float32.

    precision (str): "float32"; "bfloat16" (half the memory traffic, 8 bits of
        mantissa; faster only where it is native); "int8" (a quarter of the memory
        traffic, operands quantized per row; only by the compiled kernels, without
        gradients); "auto" for bfloat16 where the device multiplies it natively,
        otherwise float32; or "fastest" for int8 where it is possible, otherwise "auto".
    device (torch.device): Device of the network.
    RAISES: ValueError if `precision` is unknown.
    """
    if precision not in PRECISIONS:
        raise ValueError(
            f"precision: expected one of {', '.join(PRECISIONS)}, found {precision!r}."
        )
    if precision == "fastest":
        has_int8 = device.type == "cpu" and CPUBackend.why_no_int8() is None
        applies = not (torch.is_grad_enabled() or torch.is_autocast_enabled("cpu"))
        if has_int8 and applies:
            return torch.int8
    if precision in ("auto", "fastest"):
        return torch.bfloat16 if has_native_bfloat16(device) else torch.float32
    return _DTYPES[precision]
