"""When the compiled kernels run LSTMs, and when PyTorch's operations do."""

from __future__ import annotations

from threading import Thread

import pytest
import torch
from helpers.kernel_lstms import DIM, WIDTH, lstms

from spacy_elmo import BiLMConfig
from spacy_elmo.bilm.backends import cpu as kernels
from spacy_elmo.bilm.backends.cpu import available
from spacy_elmo.bilm.backends.cpu import lstm as kernel_lstm
from spacy_elmo.bilm.directions import Directions
from spacy_elmo.bilm.lstm import ProjectedLSTM

pytestmark = pytest.mark.skipif(
    kernels.why_absent() is not None, reason=f"no kernels here: {kernels.why_absent()}"
)


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((DIM, 60), torch.float32),
        ((DIM + 8, WIDTH), torch.float32),
        ((DIM, WIDTH), torch.float64),
        ((WIDTH, WIDTH), torch.float32),
    ],
    ids=["odd projection", "odd cell", "float64", "no projection"],
)
@pytest.mark.parametrize("gradients", [True, False])
def test_what_they_are_not_made_for(
    shape: tuple[int, int], dtype: torch.dtype, gradients: bool, lanes: int
) -> None:
    """PyTorch's operations compute it."""
    dim, width = shape
    config = BiLMConfig(dim=dim, projection_dim=width)
    layers = [ProjectedLSTM(config).to(dtype) for _ in range(2)]
    hr = layers[0].weight_hr
    assert not kernel_lstm.pays(layers[0].weight_hh, hr, dtype, 2, 32)
    inputs = torch.randn(2, 8, width, dtype=dtype)
    state = torch.zeros(2, 4, width, dtype=dtype), torch.zeros(2, 4, dim, dtype=dtype)
    with torch.set_grad_enabled(gradients):
        found = Directions(layers, dtype).run(inputs, [4, 4], *state)[1]
    assert found.requires_grad is gradients
    assert found.isfinite().all()


def test_when_it_pays(lanes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(available, "multiply_bfloat16", lambda: False)
    monkeypatch.setattr(kernel_lstm, "_LEAST_SEQUENCES", 12)
    layer = lstms((3.0, 3.0))[0]
    weights = layer.weight_hh, layer.weight_hr
    few = 2**24 // layer.weight_hh.numel()
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert kernel_lstm.pays(*weights, torch.float32, 2, 1)
        assert kernel_lstm.pays(*weights, torch.float32, 1, 24)
        assert not kernel_lstm.pays(*weights, torch.float32, 1, 23)
        torch.set_num_threads(16)
        assert kernel_lstm.pays(*weights, torch.float32, 2, 96)
        assert not kernel_lstm.pays(*weights, torch.float32, 2, 95)
        torch.set_num_threads(1)
        assert kernel_lstm.pays(*weights, torch.float32, 1, 1)
        assert kernel_lstm.pays(*weights, torch.bfloat16, 1, few)
        assert not kernel_lstm.pays(*weights, torch.bfloat16, 1, few + 1)
        monkeypatch.setattr(available, "multiply_bfloat16", lambda: True)
        assert kernel_lstm.pays(*weights, torch.bfloat16, 1, few + 1)
    finally:
        torch.set_num_threads(threads)


def test_they_can_be_turned_off_for_one_thread() -> None:
    layer = lstms((3.0, 3.0))[0]
    found = []

    def ask() -> None:
        weights = layer.weight_hh, layer.weight_hr
        found.append(kernel_lstm.pays(*weights, torch.float32, 2, 64))

    with kernels.flags(enabled=False):
        ask()
        thread = Thread(target=ask)
        thread.start()
        thread.join()
    ask()
    assert found == [False, True, True]


def test_no_sequences(lanes: int) -> None:
    assert not kernel_lstm.pays(
        lstms((3.0, 3.0))[0].weight_hh, torch.zeros(WIDTH, DIM), torch.float32, 2, 0
    )
