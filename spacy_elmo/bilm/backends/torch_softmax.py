"""The exact softmax and the loss of a sampled one in PyTorch, a few rows at a time: the
logits of a batch are never all in memory."""

from typing import Any, Iterator, Tuple, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from .backend import TargetScores

_CHUNK_SIZE, _CHUNK_SIZE_GPU = 2 << 20, 64 << 20
"""Logits per product: few enough for the cache of a CPU, many enough to keep a GPU
busy."""


class ExactSoftmax:
    """A softmax over the whole vocabulary, to apply without gradients.

    weight (Tensor): (n_words, width), in the dtype of the matrix products.
    bias (Tensor): (n_words,).
    """

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        self._weight = weight
        self._bias = bias

    @torch.no_grad()
    def nll(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """Compute `PreparedSoftmax.nll`."""
        losses = self._bias.new_empty(len(hidden))
        for part in _chunks(hidden, self._weight):
            logits = self._logits(hidden[part])
            losses[part] = F.cross_entropy(logits, targets[part], reduction="none")
        return losses

    @torch.no_grad()
    def score(self, hidden: Tensor, targets: Tensor) -> TargetScores:
        """Compute `PreparedSoftmax.score`."""
        scores = TargetScores(*self._bias.new_empty(2, len(hidden)))
        for part in _chunks(hidden, self._weight):
            logits = self._logits(hidden[part])
            log_probs = logits.log_softmax(dim=1)
            scores.log_probs[part] = log_probs.gather(1, targets[part, None])[:, 0]
            scores.entropies[part] = entropy(log_probs)
        return scores

    def _logits(self, hidden: Tensor) -> Tensor:
        return _logits(hidden.to(self._weight.dtype), self._weight, self._bias)


def entropy(log_probs: Tensor) -> Tensor:
    """Compute the entropy, in nats, of each row of log-probabilities, (n, n_words)."""
    return torch.special.entr(log_probs.exp()).sum(dim=1)


def sampled_loss(
    hidden: Tensor,
    true_logits: Tensor,
    rows: Tensor,
    bias: Tensor,
    columns: Tensor,
    dtype: torch.dtype,
) -> Tensor:
    """Compute `Backend.sampled_loss` with its gradients.

    dtype (torch.dtype): Dtype of the matrix products.
    """
    return cast(
        Tensor, _SampledLoss.apply(hidden, true_logits, rows, bias, columns, dtype)
    )


class _SampledLoss(torch.autograd.Function):
    """The backward pass recomputes the logits: stored, they would be most of the memory
    of a training step, and slower to read than to compute."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        true_logits: Tensor,
        rows: Tensor,
        bias: Tensor,
        columns: Tensor,
        dtype: torch.dtype,
    ) -> Tensor:
        low, low_rows = hidden.to(dtype), rows.to(dtype)
        is_sampled, places = columns > 0, (columns - 1).clamp_(min=0)
        # Per target, the log of the sum of the exponentials of all its candidates.
        total = torch.empty_like(true_logits)
        loss = torch.empty_like(true_logits)
        for part in _chunks(low, low_rows):
            logits = _logits(low[part], low_rows, bias)
            sampled = torch.logsumexp(logits, dim=1)
            true, is_in = true_logits[part], is_sampled[part]
            total[part] = torch.where(is_in, sampled, torch.logaddexp(sampled, true))
            at_target = logits.gather(1, places[part, None])[:, 0]
            loss[part] = total[part] - torch.where(is_in, at_target, true)
        ctx.save_for_backward(
            low, true_logits, low_rows, bias, is_sampled, places, total
        )
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tuple[Any, ...]:
        low, true_logits, rows, bias, is_sampled, places, total = ctx.saved_tensors
        d_hidden = torch.empty_like(low, dtype=true_logits.dtype)
        d_rows = torch.zeros_like(rows, dtype=true_logits.dtype)
        d_bias = torch.zeros_like(bias)
        minus_one = is_sampled.to(true_logits.dtype).neg_()
        for part in _chunks(low, rows):
            logits = _logits(low[part], rows, bias)
            # The gradient of the loss is a factor of each row, applied below to
            # matrices that are narrower than the logits.
            probabilities = logits.sub_(total[part, None]).exp_()
            probabilities.scatter_add_(1, places[part, None], minus_one[part, None])
            d_loss = gradient[part]
            d_bias += d_loss @ probabilities
            d_logits = probabilities.to(rows.dtype)
            d_hidden[part] = d_logits @ rows
            scaled = low[part] * d_loss[:, None]
            d_rows += d_logits.t() @ scaled.to(rows.dtype)
        d_hidden *= gradient[:, None]
        d_true = torch.expm1(true_logits - total).mul_(gradient)
        return d_hidden, d_true.masked_fill_(is_sampled, 0), d_rows, d_bias, None, None


def _chunks(hidden: Tensor, rows: Tensor) -> Iterator[slice]:
    chunk_size = _CHUNK_SIZE_GPU if hidden.is_cuda else _CHUNK_SIZE
    step = max(1, chunk_size // len(rows))
    for first in range(0, len(hidden), step):
        yield slice(first, first + step)


def _logits(hidden: Tensor, rows: Tensor, bias: Tensor) -> Tensor:
    return (hidden @ rows.t()).to(bias.dtype).add_(bias)
