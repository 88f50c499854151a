"""LSTMs of a size that the compiled kernels are made for, and all that comes out."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from spacy_elmo import BiLMConfig
from spacy_elmo.bilm.backends import LSTMState, select_backend
from spacy_elmo.bilm.lstm import ProjectedLSTM

WIDTH, DIM = 64, 192


def lstms(
    clips: tuple[float | None, float | None],
    number: int = 2,
    dim: int = DIM,
    width: int = WIDTH,
) -> list:
    torch.manual_seed(0)
    config = BiLMConfig(
        dim=dim, projection_dim=width, cell_clip=clips[0], proj_clip=clips[1]
    )
    layers = [ProjectedLSTM(config) for _ in range(number)]
    for layer in layers:
        nn.init.normal_(layer.bias, std=0.5)
    return layers


def start(
    batch_sizes: list[int], number: int = 2, dim: int = DIM, width: int = WIDTH
) -> list[Tensor]:
    """Inputs, hidden and cell."""
    torch.manual_seed(1)
    n = batch_sizes[0]
    inputs = torch.randn(number, sum(batch_sizes), width)
    hidden = torch.randn(number, n, width).clamp_(-0.25, 0.25)
    return [inputs, hidden, torch.randn(number, n, dim).clamp_(-0.4, 0.4)]


def results(layers: list, batch_sizes: list[int], dtype: torch.dtype) -> list[Tensor]:
    """Outputs and last states, then the gradients of all that went in, of a loss that
    all that came out is in."""
    own = [layer.to(dtype) for layer in layers]
    width, dim = own[0].weight_hr.shape
    given = [
        tensor.to(dtype).requires_grad_()
        for tensor in start(batch_sizes, len(layers), dim, width)
    ]
    last, outputs = run_side_by_side(own, given[0], batch_sizes, *given[1:], dtype)
    found = [outputs, last.hidden, last.cell]
    torch.manual_seed(2)
    # Drawn in float32: in float64 they would be others.
    loss = sum((one * torch.randn(one.shape).to(dtype)).sum() for one in found)
    weights = [weight for layer in own for weight in layer.parameters()]
    gradients = torch.autograd.grad(loss, [*given, *weights])
    return [one.detach() for one in (*found, *gradients)]


def run_side_by_side(
    layers: list,
    inputs: Tensor,
    batch_sizes: list[int],
    hidden: Tensor,
    cell: Tensor,
    dtype: torch.dtype = torch.float32,
) -> tuple[LSTMState, Tensor]:
    """Run the LSTMs with the backend for their weights."""
    weights = [layer.weights() for layer in layers]
    cpu, state_dtype = torch.device("cpu"), weights[0].bias.dtype
    backend = select_backend(cpu, dtype, state_dtype=state_dtype)
    state = LSTMState(hidden, cell)
    outputs, last = backend.lstm(inputs, batch_sizes, state, weights, layers[0].clips)
    return last, outputs


def error(found: Tensor, exact: Tensor) -> float:
    return float((found - exact).norm() / exact.norm())
