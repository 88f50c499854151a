"""Which backend is selected, and that all of them agree on a whole biLM."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from spacy_elmo import BiLM
from spacy_elmo.bilm import backends
from spacy_elmo.bilm.backends import CPUBackend, TorchBackend, select_backend

CPU = torch.device("cpu")
LOW = [torch.float32, torch.bfloat16]
NEEDS_KERNELS = pytest.mark.skipif(
    CPUBackend.why_absent() is not None, reason=f"{CPUBackend.why_absent()}"
)
SENTENCES = [["She", "sat", "on", "the", "bank"], [], ["He", "robbed", "the", "bank"]]


@NEEDS_KERNELS
@pytest.mark.parametrize("dtype", LOW)
def test_kernels_on_a_cpu(dtype: torch.dtype) -> None:
    backend = select_backend(CPU, dtype)
    assert isinstance(backend, CPUBackend)
    assert backend.dtype == dtype
    assert "compiled kernels" in backend.name


@pytest.mark.parametrize(
    ("device", "dtype", "state_dtype"),
    [
        ("cpu", torch.float64, torch.float64),
        ("cpu", torch.float32, torch.float16),
        ("meta", torch.float32, torch.float32),
    ],
)
def test_pytorch_otherwise(
    device: str, dtype: torch.dtype, state_dtype: torch.dtype
) -> None:
    backend = select_backend(torch.device(device), dtype, state_dtype=state_dtype)
    assert isinstance(backend, TorchBackend)
    assert backend.name.startswith("PyTorch")


def test_pytorch_under_autocast() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert select_backend(CPU, torch.float32).name == "PyTorch (under autocast)"


def test_the_name_tells_why_there_are_no_kernels(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(CPUBackend, "why_absent", lambda: "not built")
    name = select_backend(CPU, torch.float32).name
    assert name == "PyTorch (no compiled kernels: not built)"


@pytest.mark.parametrize("native", [True, False])
def test_bfloat16_without_kernels_needs_native_instructions(
    native: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyTorch's emulation takes minutes for one product."""
    monkeypatch.setattr(CPUBackend, "why_absent", lambda: "not built")
    monkeypatch.setattr(backends, "has_native_bfloat16", lambda device: native)
    if native:
        assert isinstance(select_backend(CPU, torch.bfloat16), TorchBackend)
        return
    with pytest.raises(
        ValueError, match=r'expected "float32", found "bfloat16".*not b'
    ):
        select_backend(CPU, torch.bfloat16)


def test_a_bilm_selects_its_training_backend_once(bilm: BiLM) -> None:
    backend = bilm.backend()
    bilm(SENTENCES).sum().backward()
    assert bilm.backend() is backend
    assert bilm.backend(torch.bfloat16) is not backend
    bilm.double()
    assert isinstance(bilm.backend(torch.float64), TorchBackend)


@NEEDS_KERNELS
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_kernels_and_pytorch_agree(
    bilm: BiLM, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With sizes that fill no panel of the kernels."""
    monkeypatch.setattr(backends, "has_native_bfloat16", lambda device: True)
    results, gradients = [], []
    for absent in (None, "not built"):
        monkeypatch.setattr(CPUBackend, "why_absent", lambda absent=absent: absent)
        bilm.clear_cache()
        layers = bilm.encode(SENTENCES, precision=precision)
        results.append(np.concatenate(layers, axis=1))
        bilm.zero_grad()
        bilm(SENTENCES, precision=precision).square().mean().backward()
        gradients.append([p.grad for p in bilm.parameters() if p.grad is not None])
    tolerance = 1e-5 if precision == "float32" else 0.1
    error = np.abs(results[0] - results[1]).max(axis=(1, 2))
    assert (error <= tolerance * np.abs(results[1]).max(axis=(1, 2))).all()
    if precision == "float32":
        for one, other in zip(*gradients):
            assert (one - other).norm() <= 1e-4 * other.norm()
