"""Weights and inputs of small random LSTMs."""

from __future__ import annotations

import torch
from torch import Tensor

from spacy_elmo.bilm.backends import LSTMState, LSTMWeights

DIM, WIDTH = 10, 6
SIZES = [5, 5, 3, 3, 2, 1, 1]


def make_weights(
    projected: bool, dtype: torch.dtype = torch.float64, n_directions: int = 2
) -> list[LSTMWeights]:
    torch.manual_seed(0)
    dim = DIM if projected else WIDTH

    def new(*shape: int) -> Tensor:
        return (torch.randn(*shape, dtype=dtype) * 0.7).requires_grad_()

    return [
        LSTMWeights(
            new(4 * dim, WIDTH),
            new(4 * dim, WIDTH),
            new(4 * dim),
            new(WIDTH, dim) if projected else None,
        )
        for _ in range(n_directions)
    ]


def make_inputs(
    weights: list[LSTMWeights], sizes: list[int] = SIZES
) -> tuple[Tensor, LSTMState]:
    torch.manual_seed(1)
    n, dtype, dim = len(weights), weights[0].bias.dtype, len(weights[0].bias) // 4
    inputs = torch.randn(n, sum(sizes), WIDTH, dtype=dtype)
    hidden = torch.randn(n, sizes[0], WIDTH, dtype=dtype).clamp_(-0.3, 0.3)
    cell = torch.randn(n, sizes[0], dim, dtype=dtype).clamp_(-0.6, 0.6)
    return inputs.requires_grad_(), LSTMState(
        hidden.requires_grad_(), cell.requires_grad_()
    )
