"""Log-probabilities and entropies of next-word distributions, in bounded memory."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ..bilm.softmax import AdaptiveSoftmax, OutputLayer

_BLOCK_LOGITS = 1 << 24
"""Logits per block: 64 MiB in float32. Larger blocks were no faster."""


class TargetScores(NamedTuple):
    """Scores of n targets, each under a distribution over the whole vocabulary.

    log_probs (Tensor): Natural log-probability of each target, shape (n,).
    entropies (Tensor): Entropy of each distribution, in nats, shape (n,).
    """

    log_probs: Tensor
    entropies: Tensor


@torch.no_grad()
def score_targets(
    output_layer: OutputLayer, hidden: Tensor, targets: Tensor
) -> TargetScores:
    """Score targets by the exact softmax over the whole vocabulary.

    Logits of one block of rows are in memory at a time, whatever the number of rows.

    output_layer (OutputLayer): The language model's output layer.
    hidden (Tensor): Top-layer outputs of one direction, shape (n, projection_dim).
    targets (Tensor): Vocabulary ids, shape (n,), int64.
    RETURNS (TargetScores): float32 tensors on the device of `hidden`.
    """
    log_probs = hidden.new_empty(len(hidden))
    entropies = hidden.new_empty(len(hidden))
    n_rows = max(1, _BLOCK_LOGITS // output_layer.n_words)
    for start in range(0, len(hidden), n_rows):
        block = slice(start, start + n_rows)
        distribution = log_distribution(output_layer, hidden[block])
        targets_of_block = targets[block, None]
        log_probs[block] = distribution.gather(1, targets_of_block)[:, 0]
        # p log p is 0 for p = 0, also where log p is so small that it is -inf.
        probabilities = distribution.exp()
        entropies[block] = -probabilities.mul_(distribution).nan_to_num_(0.0).sum(dim=1)
    return TargetScores(log_probs, entropies)


@torch.no_grad()
def log_distribution(output_layer: OutputLayer, hidden: Tensor) -> Tensor:
    """Compute log p(word) for every word of the vocabulary.

    hidden (Tensor): Top-layer outputs of one direction, shape (n, projection_dim).
    RETURNS (Tensor): Natural log-probabilities, shape (n, n_words).
    """
    if isinstance(output_layer, AdaptiveSoftmax):
        return output_layer.softmax.log_prob(hidden)
    logits = F.linear(hidden, output_layer.weight, output_layer.bias[:, 0])
    return logits.sub_(logits.logsumexp(dim=1, keepdim=True))
