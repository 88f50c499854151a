"""The compiled steps of LSTMs against PyTorch's operations, which do the same work."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.kernel_lstms import (
    DIM,
    WIDTH,
    error,
    lstms,
    results,
    run_side_by_side,
    start,
)
from torch import Tensor

from spacy_elmo import BiLM, BiLMConfig
from spacy_elmo.bilm.backends import CPUBackend, LSTMState, LSTMWeights
from spacy_elmo.bilm.backends import cpu as kernels
from spacy_elmo.bilm.backends.cpu import available
from spacy_elmo.bilm.backends.cpu import lstm as kernel_lstm

pytestmark = pytest.mark.skipif(
    kernels.why_absent() is not None, reason=f"no kernels here: {kernels.why_absent()}"
)
BATCH_SIZES = [
    pytest.param([7, 7, 7, 3, 2, 2, 1], id="of sentences"),
    pytest.param([32] * 5, id="lanes"),
    pytest.param([113, 97, 60, 13], id="more than a thread takes at once"),
    pytest.param([113, 97, 20, 5, 2, 1], id="of which few are left"),
    pytest.param([1, 1, 1], id="one"),
]
CLIPS = pytest.mark.parametrize("clips", [(0.4, 0.25), (None, None), (0.4, None)])


@CLIPS
@pytest.mark.parametrize("batch_sizes", BATCH_SIZES)
def test_numbers_and_gradients(
    batch_sizes: list[int],
    clips: tuple[float | None, float | None],
    lanes: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As near to those of float64 as the ones of PyTorch's float32 are."""
    taken = []
    forward = kernel_lstm._lstm.forward
    monkeypatch.setattr(
        kernel_lstm._lstm,
        "forward",
        lambda *arguments: taken.append(len(arguments[1])) or forward(*arguments),
    )
    found = results(lstms(clips), batch_sizes, torch.float32)
    assert taken == [2]
    with kernels.flags(enabled=False):
        plain = results(lstms(clips), batch_sizes, torch.float32)
    exact = results(lstms(clips), batch_sizes, torch.float64)
    assert taken == [2]
    for one, other, wanted in zip(found, plain, exact):
        assert one.dtype == torch.float32
        assert error(one, wanted) < max(2 * error(other, wanted), 1e-6)
    if clips[0]:
        assert (found[2].abs() == np.float32(0.4)).any()
    if clips[1]:
        assert (found[0].abs() == 0.25).any()
        assert found[0].abs().max() == 0.25


@CLIPS
@pytest.mark.parametrize("batch_sizes", BATCH_SIZES)
def test_without_gradients(
    batch_sizes: list[int], clips: tuple[float | None, float | None], lanes: int
) -> None:
    layers = lstms(clips)
    given = start(batch_sizes)
    before = [tensor.clone() for tensor in given]
    with torch.no_grad():
        weights = [layer.weights() for layer in layers]
        ready = CPUBackend(torch.float32).prepare_lstm(weights, layers[0].clips)
        for _ in range(2):  # it keeps nothing of the first one
            outputs, last = ready(given[0], batch_sizes, LSTMState(*given[1:]))
        once = run_side_by_side(layers, given[0], batch_sizes, *given[1:])
    wanted = results(layers, batch_sizes, torch.float32)
    for one, other in zip((outputs, *last), wanted[:3]):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)
    torch.testing.assert_close(once[1], outputs, rtol=0, atol=1e-6)
    assert all(map(torch.equal, given, before))


def test_the_same_bits_whoever_shares_the_work(lanes: int) -> None:
    """A sequence's numbers depend neither on the number of threads nor on how many
    others run beside it."""
    weights = kernel_lstm.forward_panels(
        LSTMWeights(
            torch.randn(4 * DIM, WIDTH),
            torch.randn(4 * DIM, WIDTH),
            torch.zeros(4 * DIM),
            torch.randn(WIDTH, DIM) / DIM,
        ),
        torch.float32,
    )
    inputs = torch.randn(1, 6, 50, WIDTH)
    found = []
    threads = torch.get_num_threads()
    try:
        for n_threads, n_sequences in ((1, 50), (2, 50), (3, 50), (1, 3), (2, 1)):
            torch.set_num_threads(n_threads)
            outputs = torch.empty(1, 6 * n_sequences, WIDTH)
            kernel_lstm._forward(
                [weights],
                torch.zeros(1, 4 * DIM),
                kernel_lstm.Clips(3.0, 3.0),
                [n_sequences] * 6,
                inputs=inputs[:, :, :n_sequences].flatten(1, 2).contiguous(),
                gates=None,
                cells=None,
                rows=torch.empty(1, n_sequences, DIM),
                outputs=outputs,
                hidden=torch.zeros(1, n_sequences, WIDTH),
                cell=torch.zeros(1, n_sequences, DIM),
            )
            found.append(outputs.view(6, n_sequences, WIDTH))
    finally:
        torch.set_num_threads(threads)
    assert found[0].abs().min() > 0
    for other in found[1:]:
        assert torch.equal(other, found[0][:, : other.shape[1]])


def steps_of(gates: Tensor) -> tuple[Tensor, Tensor]:
    """One step of an LSTM whose gates are these, and whose projection gives each unit
    as it is: the output and the cell, (rows, WIDTH).

    gates: (rows, 4 * WIDTH), WIDTH rows or fewer.
    """
    n = len(gates)
    of_row = torch.zeros(1, 4 * WIDTH, WIDTH)
    of_row[0, :, :n] = gates.t()
    weights = kernel_lstm.forward_panels(
        LSTMWeights(of_row[0], torch.zeros_like(of_row[0]), gates, torch.eye(WIDTH)),
        torch.float32,
    )
    outputs, cell = torch.empty(1, n, WIDTH), torch.ones(1, n, WIDTH)
    kernel_lstm._forward(
        [weights],
        torch.zeros(1, 4 * WIDTH),
        kernel_lstm.Clips(None, None),
        [n],
        inputs=torch.eye(n, WIDTH)[None],
        gates=None,
        cells=None,
        rows=torch.empty(1, n, WIDTH),
        outputs=outputs,
        hidden=torch.zeros(1, n, WIDTH),
        cell=cell,
    )
    return outputs[0], cell[0]


def test_activations(lanes: int) -> None:
    """Sigmoid and tanh are right everywhere, far out too."""
    torch.manual_seed(0)
    gates = torch.randn(64, 4 * WIDTH) * torch.logspace(-4, 4, 64)[:, None]
    gates[0, :8] = torch.tensor([0.0, -0.0, 88.0, -88.0, 1e30, -1e30, 3e38, -3e38])
    output, cell = steps_of(gates)
    i, f, g, o = gates.double().chunk(4, dim=1)
    wanted = i.sigmoid() * g.tanh() + f.sigmoid()
    torch.testing.assert_close(cell.double(), wanted, rtol=0, atol=4e-7)
    row = o.sigmoid() * wanted.tanh()
    torch.testing.assert_close(output.double(), row, rtol=0, atol=4e-7)


@pytest.mark.parametrize("gate", range(4))
def test_what_is_no_number_stays_none(gate: int, lanes: int) -> None:
    """Or training would go on with weights that are lost."""
    layers = lstms((3.0, 3.0), number=1)
    with torch.no_grad():
        layers[0].bias[gate * DIM + 7] = float("nan")
        found, _ = layers[0](torch.randn(5, WIDTH), [3, 2])
    assert found.isnan().all()


def test_a_lost_weight_is_lost_in_gradients_too(lanes: int) -> None:
    layers = lstms((3.0, 3.0))
    with torch.no_grad():
        layers[1].weight_hr[3, 5] = float("nan")
    found = results(layers, [4, 4, 2], torch.float32)
    assert found[0][0].isfinite().all()
    assert found[0][1].isnan().any()
    assert found[3][1].isnan().any()


@CLIPS
@pytest.mark.parametrize("batch_sizes", BATCH_SIZES)
@pytest.mark.parametrize("native", [True, False])
def test_bfloat16(
    batch_sizes: list[int],
    clips: tuple[float | None, float | None],
    native: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As near to float32 as PyTorch's operations in bfloat16; without instructions for
    it the kernels compute in float32."""
    if native and not available.multiply_bfloat16():
        pytest.skip("this processor has no instructions for bfloat16")
    monkeypatch.setattr(available, "multiply_bfloat16", lambda: native)
    exact = results(lstms(clips), batch_sizes, torch.float32)
    layers = lstms(clips)
    found = low_results(layers, batch_sizes)
    with kernels.flags(enabled=False):
        plain = low_results(lstms(clips), batch_sizes)
    for number, (one, other, wanted) in enumerate(zip(found, plain, exact)):
        assert one.dtype == torch.float32
        if not native:
            assert error(one, wanted) == 0
            continue
        if number < 3 or clips == (None, None):
            assert 1e-4 < error(one, wanted) < 1.1 * error(other, wanted)
        else:  # what is rounded beyond a bound, or back, loses or gets its gradient
            assert 1e-4 < error(one, wanted) < 0.3
    if native:
        with torch.no_grad():
            weights = [layer.weights() for layer in layers]
            ready = CPUBackend(torch.bfloat16).prepare_lstm(weights, layers[0].clips)
            given = start(batch_sizes)
            again, _ = ready(given[0], batch_sizes, LSTMState(*given[1:]))
        assert torch.equal(again, found[0])


def low_results(layers: list, batch_sizes: list[int]) -> list[Tensor]:
    """`results` with products in bfloat16 of a module in float32."""
    width, dim = layers[0].weight_hr.shape
    given = [
        tensor.requires_grad_()
        for tensor in start(batch_sizes, len(layers), dim, width)
    ]
    last, outputs = run_side_by_side(
        layers, given[0], batch_sizes, *given[1:], torch.bfloat16
    )
    found = [outputs, last.hidden, last.cell]
    torch.manual_seed(2)
    loss = sum((one * torch.randn_like(one)).sum() for one in found)
    weights = [weight for layer in layers for weight in layer.parameters()]
    gradients = torch.autograd.grad(loss, [*given, *weights])
    return [one.detach() for one in (*found, *gradients)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_large_weights(dtype: torch.dtype, lanes: int) -> None:
    """They are read seldomer than at each step, and by parts of their panels."""
    if dtype == torch.bfloat16 and not available.multiply_bfloat16():
        pytest.skip("no instructions for bfloat16 beside these")
    layers = lstms((0.4, 0.25), dim=1280, width=640)
    sizes = [16, 16, 16, 15, 9, 9, 1]
    exact = results(lstms((0.4, 0.25), dim=1280, width=640), sizes, torch.float64)
    if dtype == torch.float32:
        found = results(layers, sizes, dtype)
    else:
        found = low_results(layers, sizes)
    for number, (one, wanted) in enumerate(zip(found, exact)):
        bound = 2e-6 if dtype == torch.float32 else 0.01
        # A value that is rounded to the bound, or from it, loses or gets its gradient.
        assert error(one, wanted) < (bound if number < 3 else 30 * bound)


def test_the_way_back_can_be_gone_twice(lanes: int) -> None:
    """It leaves what it needs as it was."""
    layers = lstms((0.4, 0.25))
    given = [tensor.requires_grad_() for tensor in start([4, 3, 3])]
    _, outputs = run_side_by_side(layers, given[0], [4, 3, 3], *given[1:])
    weights = [weight for layer in layers for weight in layer.parameters()]
    loss = outputs.square().sum()
    once = torch.autograd.grad(loss, [*given, *weights], retain_graph=True)
    again = torch.autograd.grad(loss, [*given, *weights])
    assert all(map(torch.equal, once, again))


def test_a_whole_bilm(lanes: int) -> None:
    """With clips that bind and sentences of many lengths, cold and warm, whole and in
    parts."""
    torch.manual_seed(0)
    config = BiLMConfig(
        char_dim=8,
        filters=((1, 8), (2, 16), (3, 24)),
        dim=128,
        projection_dim=64,
        cell_clip=0.5,
        proj_clip=0.2,
    )
    bilm = BiLM(config)
    with torch.no_grad():
        for weight in bilm.parameters():
            weight.add_(torch.randn_like(weight), alpha=0.1)
    sentences = [["word"] * n + ["é", "x" * n] for n in (3, 17, 1, 30, 8, 8)]
    with kernels.flags(enabled=False):
        expected = bilm.encode(sentences)
    bilm.clear_cache()
    for batch_tokens in (4096, 10, 4096):
        found = bilm.encode(sentences, batch_tokens=batch_tokens)
        for one, other in zip(found, expected):
            np.testing.assert_allclose(one, other, rtol=0, atol=2e-6)
    with_gradients = bilm(sentences)
    assert with_gradients.requires_grad
    whole = torch.from_numpy(np.concatenate(expected, axis=1))
    torch.testing.assert_close(with_gradients.detach(), whole, rtol=0, atol=2e-6)


@pytest.mark.parametrize("number", [1, 2])
def test_weights_may_change_before_the_way_back(number: int, lanes: int) -> None:
    """It reads copies of them, one panel or several."""
    found = []
    for change in (False, True):
        layers = lstms((3.0, 3.0), number)
        given = [tensor.requires_grad_() for tensor in start([4, 3], number)]
        _, outputs = run_side_by_side(layers, given[0], [4, 3], *given[1:])
        if change:
            with torch.no_grad():
                for layer in layers:
                    for weight in layer.parameters():
                        weight.mul_(2)
        found.append(torch.autograd.grad(outputs.sum(), given))
    assert all(map(torch.equal, *found))


def test_whatever_the_default_dtype(lanes: int) -> None:
    """What is asked for is float32."""
    before = torch.get_default_dtype()
    layers, given = lstms((3.0, 3.0)), start([4, 3])
    weights = [weight for layer in layers for weight in layer.parameters()]
    found = []
    try:
        for dtype in (torch.float32, torch.float64):
            torch.set_default_dtype(dtype)
            _, outputs = run_side_by_side(layers, given[0], [4, 3], *given[1:])
            found.append(torch.autograd.grad(outputs.square().sum(), weights))
    finally:
        torch.set_default_dtype(before)
    assert all(map(torch.equal, *found))
