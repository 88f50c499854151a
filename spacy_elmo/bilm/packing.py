"""Sequences of different lengths, packed without padding: all first steps, then all
second steps, ..., the longest sequence first."""

from dataclasses import dataclass
from typing import List, Sequence

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Packing:
    """How rows of concatenated sequences and rows of packed time steps correspond.

    batch_sizes: the number of sequences that are still running at each step.
    order: the sequences' numbers, longest first, (n_sequences,).
    forward, backward: for each packed row, the row of the concatenated sequences that
        it holds, reading from left to right, or from right to left within each
        sequence's own length; (n_rows,) each.
    unpack_forward, unpack_backward: their inverses.
    """

    batch_sizes: List[int]
    order: Tensor
    forward: Tensor
    backward: Tensor
    unpack_forward: Tensor
    unpack_backward: Tensor

    @classmethod
    def from_lengths(cls, lengths: Sequence[int], device: torch.device) -> "Packing":
        """lengths: of the sequences, each at least 1, in the order in which their rows
        are concatenated."""
        sizes = np.asarray(lengths, dtype=np.int64)
        order = np.argsort(-sizes, kind="stable")
        starts = np.cumsum(sizes) - sizes
        ends_at = np.bincount(sizes)[1:]
        batch_sizes = len(sizes) - np.cumsum(ends_at) + ends_at
        step = np.repeat(np.arange(len(batch_sizes)), batch_sizes)
        first_row = np.cumsum(batch_sizes) - batch_sizes
        sequence = order[np.arange(len(step)) - first_row[step]]
        forward = starts[sequence] + step
        backward = starts[sequence] + sizes[sequence] - 1 - step

        def tensor(array: np.ndarray) -> Tensor:
            return torch.from_numpy(array).to(device)

        return cls(
            batch_sizes=batch_sizes.tolist(),
            order=tensor(order),
            forward=tensor(forward),
            backward=tensor(backward),
            unpack_forward=tensor(np.argsort(forward)),
            unpack_backward=tensor(np.argsort(backward)),
        )
