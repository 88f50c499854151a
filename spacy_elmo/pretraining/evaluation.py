"""Perplexity of held-out text: exact likelihoods over the whole vocabulary, for each
direction."""

from typing import Optional

import numpy as np
import torch

from ..scoring.perplexity import Perplexities
from ..text.vocabulary import Vocabulary
from .data.batches import Batches
from .data.lanes import Lanes
from .data.prefetch import stream_batches
from .data.shards import Shards
from .data.word_table import WordTable
from .distributed import Group
from .language_model import LanguageModel

_UNROLL_STEPS = 32
_MOST_LANES, _LANE_IDS = 64, 512
"""Enough lanes to be fast, with few interruptions of context."""


@torch.no_grad()
def evaluate(
    model: LanguageModel,
    shards: Shards,
    table: WordTable,
    vocabulary: Vocabulary,
    *,
    group: Group,
    n_words: Optional[int] = None,
    dtype: torch.dtype = torch.float32,
) -> Perplexities:
    """Compute the perplexities of a text. As in training, LSTM state is carried from
    sentence to sentence; the number of lanes depends on the text alone.

    model (LanguageModel): The model.
    shards (Shards): The text.
    table (WordTable): Its words.
    vocabulary (Vocabulary): Words of the output layer.
    group (Group): The processes, which divide the lanes among themselves.
    n_words (Optional[int]): Approximate maximum number of words to read.
    dtype (torch.dtype): Type of the operands of the network's matrix products. The
        softmax is always computed in float32.
    RETURNS (Perplexities): The same in all processes.
    """
    n_ids = prefix(shards, n_words)
    n_lanes = max(1, min(_MOST_LANES, n_ids // _LANE_IDS))
    lanes = Lanes(shards, n_lanes, min(_UNROLL_STEPS, n_ids), n_ids=n_ids)
    own_lanes = slice(
        group.rank * n_lanes // group.size, (group.rank + 1) * n_lanes // group.size
    )
    # Sums of the negative log likelihoods per direction, and the number of targets.
    sums = torch.zeros(3, dtype=torch.float64)
    if own_lanes.stop > own_lanes.start:
        batches = Batches(lanes, own_lanes, table, vocabulary)
        softmax = model.softmax.prepare()
        state = model.bilm.zero_states(own_lanes.stop - own_lanes.start)
        for (batch,) in stream_batches(
            batches.__getitem__, 0, lanes.steps_per_epoch, model.device
        ):
            counted = torch.from_numpy(_counted(lanes, batch.window.step, own_lanes))
            batch = batch.to(model.device)
            hidden, state = model.contextualize(batch, state, dtype=dtype)
            losses = softmax.nll(hidden.flatten(0, 2), batch.targets.flatten())
            losses = losses.view(batch.targets.shape).double().cpu() * counted
            sums[:2] += losses.sum(dim=(1, 2))
            sums[2] += counted[0].sum()
    on_device = sums.to(group.device)
    group.add_up([on_device])
    forward, backward, count = on_device.tolist()
    counts = shards.counts
    if n_ids < shards.n_ids:
        read = lanes.read(np.arange(n_ids))
        counts = np.bincount(read, minlength=len(counts) + 1)[1:]
    coverage = vocabulary.coverage(shards.types(), counts)
    return Perplexities.from_losses(
        forward / count,
        backward / count,
        oov_rate=coverage.oov_rate,
        n_words=coverage.n_words,
    )


def prefix(shards: Shards, n_words: Optional[int]) -> int:
    """The number of ids of the first sentences, which have about `n_words` words."""
    if n_words is None or n_words >= shards.n_ids:
        return shards.n_ids
    # Each shard ends with a sentence.
    start = 0
    for tokens in shards.tokens:
        if start + len(tokens) > n_words:
            break
        start += len(tokens)
    ends = start + np.flatnonzero(np.asarray(tokens) == 0) + 1
    within = ends[ends <= n_words]
    return int(within[-1]) if len(within) else start or int(ends[0])


def _counted(lanes: Lanes, step: int, own_lanes: slice) -> np.ndarray:
    """Mask of the targets that count, (2, U, B) bool. The last ids that a lane reads
    may be the first ids of the next lane, which counts them."""
    starts = np.append(lanes.lane_starts(0), lanes.n_ids)
    sizes = np.diff(starts)[own_lanes]
    read = step * lanes.unroll_steps + np.arange(lanes.unroll_steps)[:, None]
    length = lanes.steps_per_epoch * lanes.unroll_steps
    return np.stack([read < sizes, length - 1 - read < sizes])
