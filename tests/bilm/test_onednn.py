"""oneDNN's products: whether they are there, right, and to be chosen."""

from __future__ import annotations

import platform
import warnings
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from spacy_elmo import BiLM
from spacy_elmo.bilm import onednn, products
from spacy_elmo.bilm.products import BatchedProduct, lay_out

LOW = (torch.float32, torch.bfloat16)


@pytest.fixture(autouse=True)
def _asked_anew() -> Iterator[None]:
    """The answers are remembered."""

    def forget() -> None:
        for question in (onednn.can_pack, onednn.can_multiply, onednn.beats_mkl):
            question.cache_clear()

    forget()
    yield
    forget()


class _Absent:
    """As torch.ops.mkldnn of a version without the operators."""

    def __getattr__(self, name: str) -> None:
        raise AttributeError(name)


def _raising(error: type[Exception]) -> Callable[..., Tensor]:
    def operator(*args: object) -> Tensor:
        raise error("no")

    return operator


def _pack(weight: Tensor, rows: int) -> Tensor:
    return weight


def _wrong(rows: Tensor, weight: Tensor, *rest: object) -> Tensor:
    return rows @ weight.t() * 1.1


def _wrong_if_turned(rows: Tensor, weight: Tensor, *rest: object) -> Tensor:
    return _wrong(rows, weight) if not weight.is_contiguous() else rows @ weight.t()


PRODUCTS_FAIL = {
    "no namespace": _Absent(),
    "no product": SimpleNamespace(_reorder_linear_weight=_pack),
    "fails": SimpleNamespace(
        _reorder_linear_weight=_pack, _linear_pointwise=_raising(RuntimeError)
    ),
    "wrong": SimpleNamespace(_reorder_linear_weight=_pack, _linear_pointwise=_wrong),
}
PACKING_FAILS = {
    error.__name__: SimpleNamespace(_reorder_linear_weight=_raising(error))
    for error in (RuntimeError, TypeError, NotImplementedError)
}
OPERATORS = {**PRODUCTS_FAIL, **PACKING_FAILS}


@pytest.mark.parametrize("operators", OPERATORS.values(), ids=OPERATORS)
@pytest.mark.parametrize("dtype", LOW)
def test_without_right_operators_nothing_is_packed(
    operators: object, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    monkeypatch.setattr(torch.ops, "mkldnn", operators)
    assert not onednn.can_pack(dtype)
    rows, weight = torch.randn(1, 5, 512), torch.randn(1, 512, 512, dtype=dtype)
    product = lay_out(weight, dtype)
    assert type(product) is BatchedProduct
    expected = rows.double() @ weight.double().transpose(1, 2)
    tolerance = (1e-4 if dtype == torch.float32 else 3e-2) * float(expected.abs().max())
    torch.testing.assert_close(product(rows).double(), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize(
    "operators",
    [*PRODUCTS_FAIL.values(), SimpleNamespace(_linear_pointwise=_wrong_if_turned)],
    ids=[*PRODUCTS_FAIL, "wrong if turned"],
)
def test_without_right_operators_none_is_chosen(
    operators: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    monkeypatch.setattr(onednn, "beats_mkl", lambda: True)
    monkeypatch.setattr(torch.ops, "mkldnn", operators)
    assert not onednn.can_multiply()
    assert not onednn.is_chosen()


def test_without_onednn_nothing_is_asked_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert not onednn.can_pack(torch.float32)
    assert not onednn.can_multiply()


@pytest.mark.parametrize("n_rows", [0, 1, 7, 8, 9, 17, 64, 131, 250])
@pytest.mark.parametrize("dtype", LOW)
@pytest.mark.parametrize("packed", [False, True])
def test_any_number_of_rows_in_few_shapes(
    n_rows: int, dtype: torch.dtype, packed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not (onednn.can_pack(dtype) and onednn.can_multiply()):
        pytest.skip(f"oneDNN multiplies nothing in {dtype} here")
    torch.manual_seed(0)
    weight = torch.randn(33, 16).to(dtype)
    seen = []
    original = onednn._multiply

    def spy(rows: Tensor, weight: Tensor) -> Tensor:
        seen.append(len(rows))
        assert rows[n_rows:].eq(0).all()
        return original(rows, weight)

    monkeypatch.setattr(onednn, "_multiply", spy)
    rows = torch.randn(n_rows, 16).to(dtype)
    before = rows.clone()
    found = onednn.multiply(rows, onednn.pack(weight) if packed else weight)
    assert torch.equal(rows, before)
    assert found.shape == (n_rows, 33)
    assert found.is_contiguous()
    torch.testing.assert_close(
        found.double(), rows.double() @ weight.double().t(), rtol=2e-2, atol=2e-2
    )
    assert seen == [onednn.few_numbers(n_rows)]
    assert n_rows <= seen[0] <= n_rows * 9 / 8


@contextmanager
def switched_off() -> Iterator[None]:
    with warnings.catch_warnings():
        # PyTorch's own, about Intel's GPUs, when the switch is put back.
        warnings.simplefilter("ignore", UserWarning)
        with torch.backends.mkldnn.flags(enabled=False):
            yield


def test_its_switch_is_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    if not onednn.can_multiply():
        pytest.skip("oneDNN multiplies nothing here")
    monkeypatch.setattr(onednn, "beats_mkl", lambda: True)
    assert onednn.is_chosen()
    with switched_off():
        assert not onednn.is_chosen()
    assert onednn.is_chosen()


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("beats", [False, True])
def test_its_switch_reaches_weights_that_are_laid_out(
    precision: str, beats: bool, bilm: BiLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether they are packed for all products or, on other processors, because they
    are large."""
    if not all(map(onednn.can_pack, LOW)):
        pytest.skip("oneDNN packs no weights here")
    monkeypatch.setattr(onednn, "beats_mkl", lambda: beats)
    for name in ("_PACKED_BYTES", "_PACKED_BYTES_CHOSEN"):
        monkeypatch.setattr(products, name, 0)
    calls = []
    original = onednn.multiply

    def spy(rows: Tensor, weight: Tensor) -> Tensor:
        calls.append(rows.shape)
        return original(rows, weight)

    monkeypatch.setattr(onednn, "multiply", spy)
    sentences = [["a", "b"], ["c"]]
    found = []
    for off in (False, True, False):
        calls.clear()
        with switched_off() if off else nullcontext():
            found.append(bilm.encode(sentences, precision=precision))
        assert bool(calls) != off
    for parts in zip(*found):
        for part in parts[1:]:
            np.testing.assert_allclose(part, parts[0], atol=0.05)


@pytest.mark.parametrize(
    ("info", "words", "beats"),
    [
        ("processor\t: 0\nvendor_id\t: AuthenticAMD\n", "", True),
        ("processor\t: 0\nvendor_id\t: GenuineIntel\n", "", False),
        ("processor\t: 0\nvendor_id\t: HygonGenuine\n", "", True),
        # ARM's has none, and Windows no such file.
        ("processor\t: 0\nFeatures\t: asimd\n", "", False),
        (None, "AMD64 Family 25 Model 33 Stepping 0, AuthenticAMD", True),
        (None, "Intel64 Family 6 Model 140 Stepping 1, GenuineIntel", False),
        (None, "i386", False),
        (None, "", False),
    ],
)
def test_where_it_beats_mkl(
    info: str | None,
    words: str,
    beats: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if info is not None:
        (tmp_path / "cpuinfo").write_text(info, encoding="utf8")
    monkeypatch.setattr(onednn, "_CPU_INFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(platform, "processor", lambda: words)
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: True)
    assert onednn.beats_mkl() == beats
    onednn.beats_mkl.cache_clear()
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: False)
    assert not onednn.beats_mkl()


@pytest.mark.parametrize("dtype", LOW)
def test_what_new_tensors_are_by_default_does_not_matter(dtype: torch.dtype) -> None:
    expected = onednn.can_pack(dtype), onednn.can_multiply()

    def asked_again() -> tuple[bool, bool]:
        onednn.can_pack.cache_clear()
        onednn.can_multiply.cache_clear()
        return onednn.can_pack(dtype), onednn.can_multiply()

    for default in (torch.float64, torch.bfloat16):
        torch.set_default_dtype(default)
        try:
            assert asked_again() == expected
        finally:
            torch.set_default_dtype(torch.float32)
    with torch.device("meta"):
        assert asked_again() == expected
