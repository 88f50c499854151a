"""Products of weights that change, by PyTorch and by oneDNN."""

from __future__ import annotations

from typing import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from spacy_elmo import BiLM, BiLMConfig
from spacy_elmo.bilm import directions, matmul, onednn
from spacy_elmo.bilm.char_cnn import in_dtype
from spacy_elmo.bilm.matmul import baddbmm_, bmm, convenient_rows, linear, mm
from spacy_elmo.bilm.precision import linear as precise_linear
from spacy_elmo.bilm.softmax import FullSoftmax, SampledSoftmax

SIZES = [(1, 1, 1), (7, 33, 5), (64, 40, 96), (130, 16, 300)]


@pytest.fixture(params=["plain", "onednn"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both, whatever the processor, and for the smallest products too."""
    chosen = request.param == "onednn"
    if chosen and not onednn.can_multiply():
        pytest.skip("oneDNN multiplies nothing here")
    monkeypatch.setattr(onednn, "is_chosen", lambda: chosen)
    monkeypatch.setattr(matmul, "_WORTH_A_CALL", 0)
    monkeypatch.setattr(matmul, "_WORTH_CALLS", 0)
    return str(request.param)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Shapes of the rows that oneDNN has multiplied."""
    seen: list[tuple[int, ...]] = []
    original = onednn.multiply

    def spy(rows: Tensor, weight: Tensor) -> Tensor:
        seen.append(tuple(rows.shape))
        return original(rows, weight)

    monkeypatch.setattr(onednn, "multiply", spy)
    return seen


def check(found: Tensor, expected: Tensor) -> None:
    assert found.shape == expected.shape
    bound = 1e-6 * max(1.0, float(expected.detach().abs().max()))
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=bound * 10)


def views(n: int, k: int, seed: int) -> list[Tensor]:
    """(n, k): as it is, turned, a part of a larger one, and every second column."""
    torch.manual_seed(seed)
    return [
        torch.randn(n, k),
        torch.randn(k, n).t(),
        torch.randn(n + 3, k + 2)[1 : n + 1, 1 : k + 1],
        torch.randn(n, 2 * k)[:, ::2],
    ]


@pytest.mark.parametrize(("n", "k", "m"), SIZES)
def test_mm(way: str, n: int, k: int, m: int, calls: list[tuple[int, ...]]) -> None:
    for left in views(n, k, 0):
        for right in views(k, m, 1):
            check(mm(left, right), left.double() @ right.double())
    assert len(calls) == (16 if way == "onednn" else 0)


@pytest.mark.parametrize(("n", "k", "m"), SIZES)
@pytest.mark.parametrize("n_pairs", [1, 2])
def test_bmm(
    way: str, n: int, k: int, m: int, n_pairs: int, calls: list[tuple[int, ...]]
) -> None:
    torch.manual_seed(0)
    left, right = torch.randn(n_pairs, n, k), torch.randn(n_pairs, k, m)
    turned = left.transpose(1, 2).contiguous().transpose(1, 2)
    expected = left.double() @ right.double()
    out, sums = torch.full((n_pairs, n, m), torch.nan), torch.randn(n_pairs, n, m)
    for factor in (left, turned):
        check(bmm(factor, right), expected)
        assert bmm(factor, right, out=out.fill_(torch.nan)) is out
        check(out, expected)
        added = sums.clone()
        assert baddbmm_(added, factor, right) is added
        check(added, sums.double() + expected)
    assert len(calls) == (6 * n_pairs if way == "onednn" else 0)


def test_of_two_turned_factors_the_smaller_is_copied(
    monkeypatch: pytest.MonkeyPatch, calls: list[tuple[int, ...]]
) -> None:
    """oneDNN copies its first factor where that is turned."""
    if not onednn.can_multiply():
        pytest.skip("oneDNN multiplies nothing here")
    monkeypatch.setattr(onednn, "is_chosen", lambda: True)
    monkeypatch.setattr(matmul, "_WORTH_A_CALL", 0)
    large, small = torch.randn(50, 300), torch.randn(50, 20)
    check(mm(large.t(), small), large.double().t() @ small.double())
    check(mm(small.t(), large), small.double().t() @ large.double())
    assert calls == [(20, 50), (20, 50)]


@pytest.mark.parametrize(
    "worth", [matmul._WORTH_A_CALL, matmul._WORTH_CALLS], ids=["one", "several"]
)
def test_small_products_are_pytorchs(
    worth: int, monkeypatch: pytest.MonkeyPatch, calls: list[tuple[int, ...]]
) -> None:
    monkeypatch.setattr(onednn, "is_chosen", onednn.can_multiply)
    number = 1 if worth == matmul._WORTH_A_CALL else 2
    for n_rows, expected in ((worth >> 13, number), ((worth >> 13) - 1, 0)):
        calls.clear()
        bmm(torch.randn(number, n_rows, 64), torch.randn(number, 64, 128))
        assert len(calls) == (expected if onednn.can_multiply() else 0)


@pytest.mark.parametrize("chosen", [False, True])
def test_convenient_numbers_of_rows(
    chosen: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onednn, "is_chosen", lambda: chosen)
    float32, numbers = torch.zeros(1), range(5000)
    rows = {
        dtype: [convenient_rows(number, float32, dtype) for number in numbers]
        for dtype in (torch.float32, torch.bfloat16, torch.float64)
    }
    assert rows[torch.float64] == list(numbers)
    assert rows[torch.float32] == (
        rows[torch.bfloat16] if chosen else rows[torch.float64]
    )
    for number, found in zip(numbers, rows[torch.bfloat16]):
        assert number <= found <= number * 9 / 8
        assert convenient_rows(found, float32, torch.bfloat16) == found
    # Eight between a power of two and the next.
    assert len(set(rows[torch.bfloat16])) < 8 * 13
    assert convenient_rows(4999, float32.to("meta"), torch.bfloat16) == 4999


def test_words_of_any_number_are_read_in_few_shapes(
    monkeypatch: pytest.MonkeyPatch,
    tiny_config: BiLMConfig,
    calls: list[tuple[int, ...]],
) -> None:
    if not onednn.can_multiply():
        pytest.skip("oneDNN multiplies nothing here")
    monkeypatch.setattr(matmul, "_WORTH_A_CALL", 0)
    torch.manual_seed(0)
    bilm = BiLM(tiny_config)
    words = [f"w{number}" for number in range(60)]
    monkeypatch.setattr(onednn, "is_chosen", lambda: False)
    expected = bilm.encode_words(words).detach()
    monkeypatch.setattr(onednn, "is_chosen", lambda: True)
    for number in range(49, 61):
        found = bilm.encode_words(words[:number]).detach()
        torch.testing.assert_close(found, expected[:number], rtol=1e-5, atol=1e-5)
    # Of words: 52, 56, 60 and, in one number of windows each, these times it.
    assert {shape[0] for shape in calls} >= {52, 56, 60}
    assert len({shape[0] for shape in calls}) <= 12 < 12 * 3


@pytest.mark.parametrize("chosen", [False, True])
def test_words_of_any_number_are_read_in_few_shapes_in_bfloat16(
    chosen: bool, monkeypatch: pytest.MonkeyPatch, tiny_config: BiLMConfig
) -> None:
    """PyTorch's own products in it are oneDNN's on any processor."""
    monkeypatch.setattr(onednn, "is_chosen", lambda: chosen)
    encoder = BiLM(tiny_config).character_encoder
    seen: list[int] = []
    plain = in_dtype(torch.bfloat16)

    def apply(layer: torch.nn.Linear, rows: Tensor) -> Tensor:
        seen.append(len(rows))
        return plain(layer, rows)

    for number in range(49, 61):
        features = torch.randn(number, tiny_config.n_filters)
        word_ids = torch.zeros(number, dtype=torch.int64)
        found = encoder.project(features, word_ids, apply, torch.bfloat16)
        assert len(found) == number
    assert set(seen) == {52, 56, 60}


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_dtypes_and_devices_are_pytorchs(
    way: str, dtype: torch.dtype, calls: list[tuple[int, ...]]
) -> None:
    left, right = torch.randn(40, 30).to(dtype), torch.randn(30, 20).to(dtype)
    assert torch.equal(mm(left, right), torch.mm(left, right))
    assert torch.equal(bmm(left[None], right[None])[0], torch.mm(left, right))
    assert linear(left, right.t()).dtype == dtype
    assert mm(left.float().to("meta"), right.float().to("meta")).is_meta
    assert not calls


def test_autocast_stays_pytorchs(way: str, calls: list[tuple[int, ...]]) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert mm(torch.randn(8, 9), torch.randn(9, 7)).dtype == torch.bfloat16
    assert not calls


@pytest.mark.parametrize("wanted", [(True, True), (True, False), (False, True)])
def test_gradients_of_linear(way: str, wanted: tuple[bool, bool]) -> None:
    torch.manual_seed(0)
    inputs, weight = torch.randn(9, 40), torch.randn(24, 40)
    towards = torch.randn(9, 24)
    found = []
    for function in (linear, torch.nn.functional.linear):
        leaves = [
            tensor.clone().requires_grad_(needs)
            for tensor, needs in zip((inputs, weight), wanted)
        ]
        result = function(*leaves)
        (result * towards).sum().backward()
        found.append([result.detach(), *(leaf.grad for leaf in leaves)])
    for one, other in zip(*found):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("n_rows", [9, 300])
def test_linear_of_rows_that_are_views(way: str, n_rows: int) -> None:
    """Of any strides; the result may be changed in place, and is, by the bias."""
    for inputs in views(n_rows, 24, 0):
        weight, bias = torch.randn(16, 24), torch.randn(16)
        leaves = [t.clone().requires_grad_() for t in (weight, bias)]
        inputs = inputs.requires_grad_()
        found = precise_linear(inputs, *leaves, torch.float32)
        check(found, inputs.double() @ weight.double().t() + bias)
        found.sum().backward()
        torch.testing.assert_close(leaves[1].grad, torch.full((16,), float(n_rows)))
        expected = inputs.detach().sum(0).expand(16, 24)
        torch.testing.assert_close(leaves[0].grad, expected, rtol=1e-4, atol=1e-4)


def test_the_full_softmax_of_half_of_the_layers(way: str) -> None:
    """As a caller has them who cuts layers into directions."""
    softmax = SampledSoftmax(40, 16, 20)
    layers = torch.randn(300, 32, requires_grad=True)
    halves = layers.chunk(2, dim=1)
    targets = torch.arange(300) % 40
    whole = sum(FullSoftmax.forward(softmax, half, targets).sum() for half in halves)
    apart = [half.detach().contiguous() for half in halves]
    expected = sum(FullSoftmax.forward(softmax, half, targets).sum() for half in apart)
    torch.testing.assert_close(whole, expected, rtol=1e-5, atol=0)
    whole.backward()
    assert layers.grad is not None
    assert layers.grad.isfinite().all()


def gradients(run: Callable[[], Tensor], bilm: BiLM) -> list[Tensor]:
    bilm.zero_grad(set_to_none=True)
    torch.manual_seed(3)
    loss = run()
    loss.backward()
    return [loss.detach(), *(p.grad for p in bilm.parameters() if p.grad is not None)]


@pytest.mark.parametrize("small", [-1, 1 << 30], ids=["apart", "together"])
@pytest.mark.parametrize("n_sums", [2, 10_000], ids=["packed", "as they lie"])
def test_a_bilm_is_the_same_by_both(
    small: int,
    n_sums: int,
    tiny_config: BiLMConfig,
    monkeypatch: pytest.MonkeyPatch,
    calls: list[tuple[int, ...]],
) -> None:
    """Its layers, its loss and all gradients."""
    if not onednn.can_multiply():
        pytest.skip("oneDNN multiplies nothing here")
    for name in ("_WORTH_A_CALL", "_WORTH_CALLS"):
        monkeypatch.setattr(matmul, name, 0)
    monkeypatch.setattr("spacy_elmo.bilm.products._PACKED_BYTES_CHOSEN", 0)
    monkeypatch.setattr("spacy_elmo.bilm.products._SUMS_WORTH_PACKING", n_sums)
    monkeypatch.setattr(directions, "_SMALL_BYTES", small)
    torch.manual_seed(0)
    bilm = BiLM(tiny_config.replace(dim=24))
    softmax = SampledSoftmax(40, tiny_config.projection_dim, 20)
    sentences = [["She", "sat", "on", "the", "bank"], ["He"], ["robbed", "it", "again"]]
    targets = torch.arange(9)

    def loss() -> Tensor:
        top = bilm(sentences)[-1]
        forward, backward = top.chunk(2, dim=1)
        return (softmax(forward, targets) + softmax(backward, targets)).sum()

    found, encoded = [], []
    for chosen in (False, True):
        monkeypatch.setattr(onednn, "is_chosen", lambda chosen=chosen: chosen)
        bilm.clear_cache()
        calls.clear()
        found.append(gradients(loss, bilm))
        assert bool(calls) == chosen
        encoded.append(
            torch.cat([torch.from_numpy(a) for a in bilm.encode(sentences)], 1)
        )
    assert len(found[0]) == 1 + sum(1 for _ in bilm.parameters())
    for one, other in zip(*found):
        scale = float(one.abs().max().clamp(min=1))
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5 * scale)
    np.testing.assert_allclose(*encoded, rtol=1e-5, atol=1e-5)
