"""The pass with gradients and the one without them; weights that change between."""

from __future__ import annotations

from typing import Callable

import pytest
import torch
from torch import Tensor, nn

from spacy_elmo import BiLMConfig
from spacy_elmo.bilm import directions, lstm
from spacy_elmo.bilm.directions import Directions, ReadyDirections
from spacy_elmo.bilm.lstm import (
    ProjectedLSTM,
    ReadyLSTM,
    run_side_by_side,
)
from spacy_elmo.bilm.products import BatchedProduct, lay_out

WIDTH = 6
BATCH_SIZES = [5, 5, 3, 3, 2, 1, 1]
DIMS = pytest.mark.parametrize("dim", [6, 10], ids=["plain", "projected"])
Result = tuple[Tensor, Tensor, Tensor]


def lstms(number: int, dim: int = 10, **settings: float | None) -> list[ProjectedLSTM]:
    """Different ones, whose clips bind."""
    torch.manual_seed(0)
    clips = {"cell_clip": 0.6, "proj_clip": 0.3, **settings}
    config = BiLMConfig(dim=dim, projection_dim=WIDTH, **clips)  # type: ignore[arg-type]
    layers = [ProjectedLSTM(config) for _ in range(number)]
    for layer in layers:
        for parameter in layer.parameters():
            nn.init.normal_(parameter, std=0.7)
    return layers


def start(layers: list[ProjectedLSTM]) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs, hidden and cell."""
    torch.manual_seed(1)
    n, dtype = len(layers), layers[0].bias.dtype
    sizes = [(sum(BATCH_SIZES), WIDTH), (BATCH_SIZES[0], WIDTH)]
    sizes.append((BATCH_SIZES[0], layers[0].dim))
    inputs, hidden, cell = (torch.randn(n, *size, dtype=dtype) for size in sizes)
    return inputs, hidden.clamp_(-0.3, 0.3), cell.clamp_(-0.6, 0.6)


def with_gradients(layers: list[ProjectedLSTM], dtype: torch.dtype) -> Result:
    inputs, hidden, cell = start(layers)
    last, outputs = run_side_by_side(
        layers, inputs, BATCH_SIZES, hidden, cell, dtype=dtype
    )
    assert outputs.requires_grad
    return outputs.detach(), last.hidden.detach(), last.cell.detach()


@torch.no_grad()
def ready(
    layers: list[ProjectedLSTM],
    dtype: torch.dtype,
    layout: Callable[[Tensor, torch.dtype], object] = lay_out,
) -> Result:
    inputs, hidden, cell = start(layers)
    before = [tensor.clone() for tensor in (inputs, hidden, cell)]
    run = ReadyLSTM(layers, dtype, layout).run  # type: ignore[arg-type]
    last, outputs = run(inputs, BATCH_SIZES, hidden, cell)
    for tensor, copy in zip((inputs, hidden, cell), before):
        assert torch.equal(tensor, copy)
    return outputs, *last


@DIMS
@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("block_rows", [1, 7, 100])
def test_both_passes_agree(
    dim: int, number: int, block_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers = [layer.double() for layer in lstms(number, dim)]
    expected = with_gradients(layers, torch.float64)
    if dim > WIDTH:
        assert (expected[0].abs() == 0.3).any()
    assert (expected[2].abs() == 0.6).any()
    monkeypatch.setattr(lstm, "_block_rows", lambda bias, at_once: block_rows)
    for found, wanted in zip(ready(layers, torch.float64), expected):
        torch.testing.assert_close(found, wanted)


@DIMS
@pytest.mark.parametrize("layout", [BatchedProduct, lay_out])
@pytest.mark.parametrize("number", [1, 2])
def test_both_passes_agree_in_each_precision(
    dim: int, number: int, layout: Callable[[Tensor, torch.dtype], object]
) -> None:
    layers = lstms(number, dim, cell_clip=None, proj_clip=None)
    exact = with_gradients(layers, torch.float32)
    for found, wanted in zip(ready(layers, torch.float32, layout), exact):
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)
    for found, wanted in zip(ready(layers, torch.bfloat16, layout), exact):
        assert found.dtype == torch.float32
        assert 1e-4 < (found - wanted).abs().max() < 0.1
        assert torch.cosine_similarity(found.flatten(), wanted.flatten(), 0) > 0.999


@pytest.mark.parametrize("few", [0, 10_000])
@pytest.mark.parametrize("small", [-1, 1 << 30])
def test_directions_together_and_apart(
    few: int, small: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether they run side by side changes nothing, with gradients or without."""
    layers = [layer.double() for layer in lstms(2)]
    expected = [with_gradients([layer], torch.float64)[0] for layer in layers]
    inputs, hidden, cell = start(layers)
    alone = [
        run_side_by_side(
            [layer], inputs[own], BATCH_SIZES, hidden[own], cell[own], torch.float64
        )
        for layer, own in zip(layers, (slice(0, 1), slice(1, 2)))
    ]
    assert not torch.allclose(expected[0], expected[1])
    monkeypatch.setattr(directions, "_FEW_SEQUENCES", few)
    monkeypatch.setattr(directions, "_SMALL_BYTES", small)
    weights = [weight for layer in layers for weight in layer.parameters()]
    towards = torch.randn_like(inputs)
    gradients = []
    made = [Directions(layers, torch.float64), ReadyDirections(layers, torch.float64)]
    for pair in made:
        with torch.set_grad_enabled(type(pair) is Directions):
            for _ in range(2):
                last, outputs = pair.run(inputs, BATCH_SIZES, hidden, cell)
        for own, (ends, rows) in enumerate(alone):
            torch.testing.assert_close(outputs[own], rows[0])
            torch.testing.assert_close(last.hidden[own], ends.hidden[0])
            torch.testing.assert_close(last.cell[own], ends.cell[0])
        if outputs.requires_grad:
            gradients = torch.autograd.grad((outputs * towards).sum(), weights)
    plain = torch.cat([rows for _, rows in alone])
    wanted = torch.autograd.grad((plain * towards).sum(), weights)
    assert len(gradients) == len(wanted)
    for found, gradient in zip(gradients, wanted):
        torch.testing.assert_close(found, gradient)


def loss_of(
    layers: list[ProjectedLSTM], dtype: torch.dtype
) -> tuple[Tensor, list[Tensor]]:
    """And what has a gradient."""
    given = [tensor.requires_grad_() for tensor in start(layers)]
    inputs, hidden, cell = given
    last, outputs = run_side_by_side(layers, inputs, BATCH_SIZES, hidden, cell, dtype)
    weights = [weight for layer in layers for weight in layer.parameters()]
    loss = outputs.sin().sum() + last.hidden.sum() + last.cell.sum()
    return loss, [*given, *weights]


def test_the_way_back_can_be_gone_twice() -> None:
    loss, leaves = loss_of(lstms(1), torch.float32)
    first = torch.autograd.grad(loss, leaves, retain_graph=True)
    for one, other in zip(first, torch.autograd.grad(loss, leaves)):
        assert torch.equal(one, other)


@pytest.mark.parametrize("name", ["weight_ih", "weight_hh", "weight_hr", "bias"])
@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_that_change_before_the_way_back(
    name: str, number: int, dtype: torch.dtype
) -> None:
    """The gradient is that of the weights which the loss was computed with, or there
    is none."""
    layers = lstms(number)
    expected = torch.autograd.grad(*loss_of(layers, dtype))
    loss, leaves = loss_of(layers, dtype)
    with torch.no_grad():
        layers[0].get_parameter(name).mul_(-2)
    if number == 1 and dtype == torch.float32 and name != "bias":
        # The products read the parameters themselves.
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()
        return
    for one, other in zip(torch.autograd.grad(loss, leaves), expected):
        torch.testing.assert_close(one, other)
