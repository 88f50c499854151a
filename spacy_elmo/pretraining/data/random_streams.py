"""Random numbers that depend only on the seed, their purpose and the step, so that a
resumed run draws the same numbers."""

import numpy as np
import torch

WEIGHTS, NEGATIVES, DROPOUT, NOISE = range(4)
"""Purposes, the number after the seed."""


def make_generator(*seed: int) -> torch.Generator:
    """Make a generator from numbers such as `(seed, DROPOUT, step)`."""
    # SeedSequence ignores trailing zeros: without the 1, (7, 0) would equal (7,).
    state = np.random.SeedSequence([*seed, 1]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0] >> np.uint64(1)))
