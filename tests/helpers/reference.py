"""Readable references for the backends, without chunks or hand-written gradients."""

from __future__ import annotations

from typing import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from spacy_elmo.bilm.backends.backend import Clips, Filters, LSTMWeights


def lstm(
    inputs: Tensor,
    batch_sizes: Sequence[int],
    hidden: Tensor,
    cell: Tensor,
    weights: LSTMWeights,
    clips: Clips,
    linear: Callable[[Tensor, Tensor], Tensor] = F.linear,
) -> tuple[Tensor, Tensor, Tensor]:
    """Run one LSTM step by step; see `backends.Backend.lstm`.

    linear (Callable): Computes inputs · weightᵀ.
    """
    outputs, row = [], 0
    hiddens, cells = list(hidden), list(cell)
    for n in batch_sizes:
        gates = linear(inputs[row : row + n], weights.input) + weights.bias
        gates = gates + linear(torch.stack(hiddens[:n]), weights.hidden)
        i, f, g, o = gates.chunk(4, dim=1)
        c = f.sigmoid() * torch.stack(cells[:n]) + i.sigmoid() * g.tanh()
        if clips.cell is not None:
            c = c.clamp(-clips.cell, clips.cell)
        h = o.sigmoid() * c.tanh()
        if weights.projection is not None:
            h = linear(h, weights.projection)
            if clips.projection is not None:
                h = h.clamp(-clips.projection, clips.projection)
        outputs.append(h)
        hiddens[:n], cells[:n] = list(h), list(c)
        row += n
    return torch.cat(outputs), torch.stack(hiddens), torch.stack(cells)


def char_cnn(
    characters: Tensor, weight: Tensor, filters: Filters, lengths: Sequence[int]
) -> Tensor:
    """Convolve each word on its own; see `backends.Backend.char_cnn`."""
    char_dim, best = characters.shape[2], []
    for word, length in zip(characters, lengths):
        responses = []
        for rows, width in filters.rows():
            kernel = weight[rows, : width * char_dim].unflatten(1, (width, char_dim))
            columns = word[: min(length + width, len(word))].t()[None]
            responses.append(F.conv1d(columns, kernel.transpose(1, 2))[0].amax(dim=1))
        best.append(torch.cat(responses))
    return torch.stack(best)


def sampled_loss(
    hidden: Tensor, true_logits: Tensor, rows: Tensor, bias: Tensor, columns: Tensor
) -> Tensor:
    """Cross entropy over the target and the samples; see `Backend.sampled_loss`. The
    target's own candidate is masked if it was sampled."""
    logits = hidden @ rows.t() + bias
    true = true_logits.masked_fill(columns > 0, -torch.inf)
    logits = torch.cat([true[:, None], logits], dim=1)
    return F.cross_entropy(logits, columns, reduction="none")


def relative_error(found: Tensor, expected: Tensor) -> float:
    difference = (found.detach() - expected.detach()).norm()
    return float(difference / expected.detach().norm().clamp(min=1e-30))
