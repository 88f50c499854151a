"""How the network's operations are computed: by plain PyTorch, the reference, or on a
CPU by compiled kernels. The choice is made once, by `select_backend`."""

import torch

from .backend import (
    ApplyCharCNN,
    ApplyLinear,
    Backend,
    Clips,
    Filters,
    LSTMState,
    LSTMWeights,
    PreparedSoftmax,
    RunLSTM,
    TargetScores,
)
from .cpu.backend import CPUBackend
from .torch_backend import TorchBackend

__all__ = [
    "ApplyCharCNN",
    "ApplyLinear",
    "Backend",
    "CPUBackend",
    "Clips",
    "Filters",
    "LSTMState",
    "LSTMWeights",
    "PreparedSoftmax",
    "RunLSTM",
    "TargetScores",
    "TorchBackend",
    "select_backend",
]


def select_backend(
    device: torch.device,
    dtype: torch.dtype,
    *,
    state_dtype: torch.dtype = torch.float32,
    training: bool = False,
) -> Backend:
    """Select the fastest backend for a device and dtype.

    device (torch.device): Device of the weights.
    dtype (torch.dtype): Dtype of the matrix products. Only the compiled kernels
        multiply int8, and not in passes with gradients.
    state_dtype (torch.dtype): Dtype of the weights and of everything outside the
        products.
    training (bool): Whether the backend is used for many backward passes, so that it
        keeps their buffers from step to step.
    RETURNS (Backend): The compiled kernels for float32 weights on a CPU, unless they
        are not available or autocast is active; PyTorch for everything else.
    RAISES: ValueError for bfloat16 products on a CPU that has neither instructions for
        them nor the compiled kernels, and for int8 products without these kernels.
    """
    if dtype == torch.int8:
        _check_int8(device, state_dtype, training)
        return CPUBackend(dtype)
    if device.type != "cpu":
        return TorchBackend(device, dtype)
    if torch.is_autocast_enabled("cpu"):
        return TorchBackend(device, dtype, "under autocast")
    if state_dtype != torch.float32 or dtype not in (torch.float32, torch.bfloat16):
        return TorchBackend(device, dtype, f"for {state_dtype} weights")
    absent = CPUBackend.why_absent()
    if absent is None:
        return CPUBackend(dtype, training=training)
    if dtype == torch.bfloat16 and not has_native_bfloat16(device):
        raise ValueError(
            'precision: expected "float32", found "bfloat16", for which this processor '
            "has no instructions: PyTorch would take minutes instead of seconds. Use "
            "float32, or install the compiled kernels, which run bfloat16 at the speed "
            f"of float32 (not available: {absent})."
        )
    return TorchBackend(device, dtype, f"no compiled kernels: {absent}")


def _check_int8(device: torch.device, state_dtype: torch.dtype, training: bool) -> None:
    """RAISES: ValueError if there are no kernels for int8, or if they do not apply."""
    advice = 'Use "bfloat16", "float32" or "auto".'
    if device.type != "cpu":
        why = f"on a CPU, found it on {device}"
    elif torch.is_autocast_enabled("cpu"):
        why = "without autocast, found it enabled"
    elif state_dtype != torch.float32:
        why = f"for float32 weights, found {state_dtype}"
    elif training:
        why = "without gradients, found them enabled"
        advice = "Call `BiLM.encode`, use torch.no_grad(), or use another precision."
    elif CPUBackend.why_no_int8() is not None:
        why = f"with kernels for it, which are missing: {CPUBackend.why_no_int8()}"
    else:
        return
    raise ValueError(f'precision: expected "int8" only {why}. {advice}')


def has_native_bfloat16(device: torch.device) -> bool:
    """Tell whether a device has matrix instructions for bfloat16 that are used."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return False
    if CPUBackend.why_absent() is None:
        return CPUBackend.has_native_bfloat16()
    # PyTorch has no public function for this. A build without the private one says no.
    is_supported = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return is_supported is not None and bool(is_supported())
