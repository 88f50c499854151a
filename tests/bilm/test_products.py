"""Products with weights that are laid out once."""

from __future__ import annotations

from typing import Callable

import pytest
import torch
from torch import Tensor

from spacy_elmo import BiLM, BiLMConfig
from spacy_elmo.bilm import onednn, products
from spacy_elmo.bilm.onednn import can_pack
from spacy_elmo.bilm.products import BatchedProduct, PackedProduct, lay_out

LOW = (torch.float32, torch.bfloat16)
# Of float32's and bfloat16's rounding, for sums of a few hundred.
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 2e-2}
MIB_OF_FLOATS = 1 << 18


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
    check((product.plus(sums, rows) - sums).to(rows_dtype), rows, weight, dtype)
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


@pytest.mark.parametrize("chosen", [False, True])
def test_what_is_laid_out_how(chosen: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Packed: on a CPU, in float32 only if it is large; several at once only where
    oneDNN is faster than plain products either way."""
    monkeypatch.setattr(onednn, "is_chosen", lambda: chosen)
    small, large = torch.randn(1, 64, 64), torch.randn(1, 512, 512)
    medium = torch.randn(1, 256, 128)
    assert large.numel() == MIB_OF_FLOATS
    for dtype in LOW:
        needs_packing(dtype)
    where_chosen = PackedProduct if chosen else BatchedProduct
    two = torch.randn(2, 512, 512)
    assert type(lay_out(small, torch.float32)) is BatchedProduct
    assert type(lay_out(medium, torch.float32)) is where_chosen
    assert type(lay_out(two, torch.float32)) is where_chosen
    assert type(lay_out(small, torch.bfloat16)) is PackedProduct
    assert type(lay_out(two, torch.bfloat16)) is BatchedProduct
    for dtype in LOW:
        assert type(lay_out(large, dtype)) is PackedProduct
    assert type(lay_out(large[:, 1:], torch.float32)) is where_chosen
    assert type(lay_out(large, torch.float64)) is BatchedProduct
    assert type(lay_out(large.to("meta"), torch.float32)) is BatchedProduct


@pytest.mark.parametrize("dtype", LOW)
@pytest.mark.parametrize("n", [1, 2])
def test_packed_weights_side_by_side(n: int, dtype: torch.dtype) -> None:
    needs_packing(dtype)
    rows, weight = given(5, 48, 64, n)
    product = PackedProduct(weight, dtype)
    check(product(rows), rows, weight, dtype)
    sums = torch.randn(n, 5, 64)
    added = sums.clone()
    product.add_to(added, rows)
    check(added - sums, rows, weight, dtype)


@pytest.mark.parametrize("n", [1, 2])
def test_sums_by_packed_weights(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In training, weights that fit into the cache are packed for the steps of one
    pass, where that pays."""
    needs_packing(torch.float32)
    rows, weight = given(5, 128, 256, n)
    for chosen in (False, True):
        monkeypatch.setattr(onednn, "is_chosen", lambda chosen=chosen: chosen)
        for n_sums, pays in ((7, False), (8, True)):
            product = BatchedProduct(weight, torch.float32, n_sums=n_sums)
            assert (product._summed is not None) == (pays and chosen)
            sums = torch.zeros(n, 5, 256)
            product.add_to(sums, rows)
            check(sums, rows, weight, torch.float32)
    for other in (given(1, 128, 8)[1], torch.empty(1, 4096, 512), weight.bfloat16()):
        assert BatchedProduct(other, other.dtype, n_sums=100)._summed is None


def test_weights_that_fit_into_the_cache_are_transposed() -> None:
    for n_out, contiguous in ((1024, True), (1025, False)):
        product = BatchedProduct(torch.randn(1, n_out, 1024), torch.float32, True)
        assert product.right.is_contiguous() == contiguous
    # In bfloat16 twice as many fit.
    product = BatchedProduct(torch.randn(1, 2048, 1024), torch.bfloat16, True)
    assert product.right.is_contiguous()


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
    for name in ("_PACKED_BYTES", "_PACKED_BYTES_CHOSEN"):
        monkeypatch.setattr(products, name, 0)
    monkeypatch.setattr("spacy_elmo.bilm.directions._SMALL_BYTES", -1)
    # A highway's two, the projection, and those of four LSTMs.
    for can, expected in ((True, 3 + 4 * (3 if dim == 24 else 2)), (False, 0)):
        monkeypatch.setattr(onednn, "can_pack", lambda dtype, can=can: can)
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
    monkeypatch.setattr(onednn, "can_pack", lambda dtype: False)
    monkeypatch.setattr("spacy_elmo.bilm.directions._SMALL_BYTES", -1)

    def fail(weight: Tensor, dtype: torch.dtype) -> PackedProduct:
        raise AssertionError

    monkeypatch.setattr(products, "PackedProduct", fail)
    sentences = [["a", "b"], ["c"]]
    exact = bilm(sentences).detach()
    with torch.no_grad():
        found = bilm(sentences)
        rough = bilm(sentences, precision="bfloat16")
    torch.testing.assert_close(found, exact, rtol=1e-5, atol=1e-5)
    assert torch.cosine_similarity(rough, exact, dim=2).min() > 0.99
