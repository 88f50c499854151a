"""Products with weights that are laid out once."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Callable, Iterator

import pytest
import torch
from torch import Tensor

from spacy_elmo import BiLM, BiLMConfig
from spacy_elmo.bilm import products
from spacy_elmo.bilm.products import BatchedProduct, PackedProduct, can_pack, lay_out

LOW = (torch.float32, torch.bfloat16)
# Of float32's and bfloat16's rounding, for sums of a few hundred.
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 2e-2}
MIB_OF_FLOATS = 1 << 18


@pytest.fixture(autouse=True)
def _asked_anew() -> Iterator[None]:
    """`can_pack` remembers its answer."""
    can_pack.cache_clear()
    yield
    can_pack.cache_clear()


def needs_packing(dtype: torch.dtype) -> None:
    if not can_pack(dtype):
        pytest.skip(f"oneDNN packs no weights in {dtype} here")


def given(
    n_rows: int, n_in: int, n_out: int, n: int = 1, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor]:
    torch.manual_seed(n_rows)
    rows = torch.randn(n, n_rows, n_in, dtype=dtype)
    return rows, torch.randn(n, n_out, n_in, dtype=dtype) * n_in**-0.5


def check(found: Tensor, rows: Tensor, weight: Tensor, dtype: torch.dtype) -> None:
    assert found.dtype == rows.dtype
    expected = rows.double() @ weight.double().transpose(1, 2)
    assert found.shape == expected.shape
    error = (found.double() - expected).abs().max() if found.numel() else 0.0
    assert error <= TOLERANCE[dtype] * expected.abs().max().clamp(min=1)


SIZES = pytest.mark.parametrize(
    ("n_rows", "n_in", "n_out"),
    [(1, 1, 1), (1, 300, 7), (5, 16, 64), (64, 33, 65), (200, 128, 512)],
)


@SIZES
@pytest.mark.parametrize("dtype", LOW)
def test_packed(n_rows: int, n_in: int, n_out: int, dtype: torch.dtype) -> None:
    needs_packing(dtype)
    rows, weight = given(n_rows, n_in, n_out)
    product = PackedProduct(weight, dtype)
    check(product(rows), rows, weight, dtype)
    check(product(rows[:, :1]), rows[:, :1], weight, dtype)
    for dtype_of_rows in (torch.float64, torch.bfloat16):
        other = rows.to(dtype_of_rows)
        low = torch.bfloat16 if torch.bfloat16 in (dtype, dtype_of_rows) else dtype
        check(product(other), other, weight, low)


@SIZES
@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("dtype", [*LOW, torch.float64])
@pytest.mark.parametrize("lasting", [False, True])
def test_batched(
    n_rows: int, n_in: int, n_out: int, n: int, dtype: torch.dtype, lasting: bool
) -> None:
    rows_dtype = torch.float64 if dtype == torch.float64 else torch.float32
    rows, weight = given(n_rows, n_in, n_out, n, rows_dtype)
    product = BatchedProduct(weight, dtype, lasting)
    check(product(rows), rows, weight, dtype)
    gradient = torch.randn(n, n_rows, n_out, dtype=rows_dtype)
    check(product.back(gradient), gradient, weight.transpose(1, 2), dtype)
    sums = torch.randn_like(gradient, dtype=dtype)
    added = sums.clone()
    product.add_to(added, rows)
    check((added - sums).to(rows_dtype), rows, weight, dtype)
    assert torch.equal(product.plus(sums, rows), added)
    out = torch.full_like(gradient, torch.nan)
    product.write_to(out, rows)
    check(out, rows, weight, dtype)
    back = torch.full_like(rows, torch.nan)
    product.write_back_to(back, gradient.to(dtype))
    check(back, gradient, weight.transpose(1, 2), dtype)


@pytest.mark.parametrize("make", [PackedProduct, BatchedProduct])
@pytest.mark.parametrize("dtype", LOW)
def test_rows_and_weights_that_are_views(
    make: Callable[[Tensor, torch.dtype], products.Product], dtype: torch.dtype
) -> None:
    if make is PackedProduct:
        needs_packing(dtype)
    wide_rows, wide = given(9, 40, 24)
    rows, weight = wide_rows[:, 1::2, 3:19], wide[:, ::2, 5:21]
    check(make(weight, dtype)(rows), rows, weight, dtype)
    turned = wide_rows[0].t()[None, :9]
    weight = wide[0].t()[None, :24, :9]
    check(make(weight, dtype)(turned), turned, weight, dtype)


@pytest.mark.parametrize("make", [PackedProduct, BatchedProduct])
def test_no_rows(make: Callable[[Tensor, torch.dtype], products.Product]) -> None:
    if make is PackedProduct:
        needs_packing(torch.float32)
    weight = given(1, 16, 8)[1]
    assert make(weight, torch.float32)(torch.empty(1, 0, 16)).shape == (1, 0, 8)


@pytest.mark.parametrize("dtype", LOW)
def test_packed_weights_are_a_copy(dtype: torch.dtype) -> None:
    needs_packing(dtype)
    rows, weight = given(4, 32, 48)
    product, before = PackedProduct(weight, dtype), weight.clone()
    first = product(rows)
    weight.zero_()
    assert torch.equal(product(rows), first)
    check(first, rows, before, dtype)
    assert torch.equal(rows, given(4, 32, 48)[0])


def test_what_is_laid_out_how() -> None:
    """Packed: on a CPU, of one, in float32 only if it is large."""
    small, large = torch.randn(1, 64, 64), torch.randn(1, 512, 512)
    assert large.numel() == MIB_OF_FLOATS
    for dtype in LOW:
        needs_packing(dtype)
    assert type(lay_out(small, torch.float32)) is BatchedProduct
    assert type(lay_out(small, torch.bfloat16)) is PackedProduct
    for dtype in LOW:
        assert type(lay_out(large, dtype)) is PackedProduct
        assert type(lay_out(torch.randn(2, 512, 512), dtype)) is BatchedProduct
    assert type(lay_out(large[:, 1:], torch.float32)) is BatchedProduct
    assert type(lay_out(large, torch.float64)) is BatchedProduct
    assert type(lay_out(large.to("meta"), torch.float32)) is BatchedProduct


def test_weights_that_fit_into_the_cache_are_transposed() -> None:
    for n_out, contiguous in ((1024, True), (1025, False)):
        product = BatchedProduct(torch.randn(1, n_out, 1024), torch.float32, True)
        assert product.right.is_contiguous() == contiguous
    # In bfloat16 twice as many fit.
    product = BatchedProduct(torch.randn(1, 2048, 1024), torch.bfloat16, True)
    assert product.right.is_contiguous()


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


@pytest.mark.parametrize(
    "operators",
    [
        _Absent(),
        SimpleNamespace(_reorder_linear_weight=_pack),
        *(
            SimpleNamespace(_reorder_linear_weight=_raising(error))
            for error in (RuntimeError, TypeError, NotImplementedError)
        ),
        SimpleNamespace(
            _reorder_linear_weight=_pack, _linear_pointwise=_raising(RuntimeError)
        ),
        SimpleNamespace(
            _reorder_linear_weight=_pack,
            _linear_pointwise=lambda rows, weight, *rest: rows @ weight.t() * 1.1,
        ),
    ],
    ids=["no namespace", "no product", "run", "type", "not", "fails", "wrong"],
)
@pytest.mark.parametrize("dtype", LOW)
def test_without_right_operators_nothing_is_packed(
    operators: object, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    monkeypatch.setattr(torch.ops, "mkldnn", operators)
    assert not can_pack(dtype)
    rows, weight = given(5, 512, 512)
    product = lay_out(weight, dtype)
    assert type(product) is BatchedProduct
    check(product(rows), rows, weight, dtype)


def test_without_onednn_nothing_is_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert not can_pack(torch.float32)


@pytest.mark.parametrize("dtype", LOW)
def test_what_new_tensors_are_by_default_does_not_matter(dtype: torch.dtype) -> None:
    expected = can_pack(dtype)
    for default in (torch.float64, torch.bfloat16):
        can_pack.cache_clear()
        torch.set_default_dtype(default)
        try:
            assert can_pack(dtype) == expected
        finally:
            torch.set_default_dtype(torch.float32)
    can_pack.cache_clear()
    with torch.device("meta"):
        assert can_pack(dtype) == expected


@pytest.mark.parametrize("dtype", LOW)
@pytest.mark.parametrize("dim", [24, 8], ids=["projected", "plain"])
def test_a_bilm_is_the_same_with_both(
    tiny_config: BiLMConfig,
    dtype: torch.dtype,
    dim: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    needs_packing(dtype)
    torch.manual_seed(0)
    bilm = BiLM(tiny_config.replace(dim=dim))
    sentences = [["She", "sat", "on", "the", "bank"], ["He"], ["robbed", "it"]]
    exact = bilm(sentences).detach()
    packed: list[PackedProduct] = []

    def spy(weight: Tensor, dtype: torch.dtype) -> PackedProduct:
        packed.append(PackedProduct(weight, dtype))
        return packed[-1]

    monkeypatch.setattr(products, "PackedProduct", spy)
    monkeypatch.setattr(products, "_PACKED_BYTES", 0)
    # Not side by side: two weights at once are never packed.
    monkeypatch.setattr("spacy_elmo.bilm.lstm._SMALL_BYTES", -1)
    # A highway's two, the projection, and those of four LSTMs.
    for can, expected in ((True, 3 + 4 * (3 if dim == 24 else 2)), (False, 0)):
        monkeypatch.setattr(products, "can_pack", lambda dtype, can=can: can)
        bilm.clear_cache()
        packed.clear()
        for _ in range(2):
            with torch.no_grad():
                found = bilm(sentences, precision=str(dtype).split(".")[1])
            error = (found - exact).abs().max() / exact.abs().max()
            assert error < TOLERANCE[dtype]
        assert len(packed) == expected


def test_a_bilm_where_nothing_can_be_packed(
    bilm: BiLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(products, "can_pack", lambda dtype: False)
    monkeypatch.setattr("spacy_elmo.bilm.lstm._SMALL_BYTES", -1)
    monkeypatch.setattr(products, "PackedProduct", _raising(AssertionError))
    sentences = [["a", "b"], ["c"]]
    exact = bilm(sentences).detach()
    with torch.no_grad():
        found = bilm(sentences)
        rough = bilm(sentences, precision="bfloat16")
    torch.testing.assert_close(found, exact, rtol=1e-5, atol=1e-5)
    assert torch.cosine_similarity(rough, exact, dim=2).min() > 0.99
