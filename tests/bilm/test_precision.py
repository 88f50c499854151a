"""The dtype of matrix products."""

from __future__ import annotations

import pytest
import torch

from spacy_elmo.bilm import precision
from spacy_elmo.bilm.backends import CPUBackend
from spacy_elmo.bilm.backends.cpu import limited_to, supported

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("name", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)]
)
def test_named_precision(name: str, dtype: torch.dtype) -> None:
    assert precision.resolve_precision(name, CPU) == dtype


@pytest.mark.parametrize(
    ("native", "dtype"), [(True, torch.bfloat16), (False, torch.float32)]
)
def test_auto_is_bfloat16_if_native(
    monkeypatch: pytest.MonkeyPatch, native: bool, dtype: torch.dtype
) -> None:
    monkeypatch.setattr(precision, "has_native_bfloat16", lambda device: native)
    assert precision.resolve_precision("auto", CPU) == dtype


@pytest.mark.skipif("avx2" not in [s.name for s in supported()], reason="needs AVX2")
def test_auto_follows_the_selected_instructions() -> None:
    with limited_to("avx2"):
        assert precision.resolve_precision("auto", CPU) == torch.float32


def test_no_native_bfloat16_on_unknown_devices_and_builds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert not precision.has_native_bfloat16(torch.device("meta"))
    monkeypatch.setattr(CPUBackend, "why_absent", lambda: "not built")
    monkeypatch.setattr(
        torch.cpu, "_is_avx512_bf16_supported", lambda: True, raising=False
    )
    assert precision.has_native_bfloat16(CPU)
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported")
    assert not precision.has_native_bfloat16(CPU)


@pytest.mark.skipif(CPUBackend.why_no_int8() is not None, reason="needs int8")
def test_fastest_is_int8_only_where_it_runs() -> None:
    otherwise = precision.resolve_precision("auto", CPU)
    assert precision.resolve_precision("fastest", CPU) == otherwise
    with torch.no_grad():
        assert precision.resolve_precision("fastest", CPU) == torch.int8
        with torch.autocast("cpu"):
            assert precision.resolve_precision("fastest", CPU) == otherwise


def test_unknown_precision_is_refused() -> None:
    with pytest.raises(ValueError, match=r"precision: expected.*bfloat16.*'float16'"):
        precision.resolve_precision("float16", CPU)
