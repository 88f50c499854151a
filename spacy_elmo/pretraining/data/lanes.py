"""Shards -> windows of text. The corpus is cut into as many lanes as a batch has rows.
Each step reads the next window of every lane, so that the LSTMs' state carries over.

The backward LM carries its state over too, so it reads each lane from its end: within
an epoch both directions read the whole text.
"""

from typing import List, NamedTuple, Optional

import numpy as np

from ...text.files import CorpusError
from .shards import Shards


class Window(NamedTuple):
    """The text of one step, as type ids, with 0 for a sentence boundary.

    epoch (int): Epoch, counted from 0.
    step (int): Step within the epoch.
    tokens (ndarray): Ids of shape (2, n_lanes, unroll_steps + 1), for the forward LM
        and the backward LM, in reading order. Each id is the input that predicts the
        next.
    starts (ndarray): Position in the corpus of each window's first id, of shape
        (2, n_lanes).
    """

    epoch: int
    step: int
    tokens: np.ndarray
    starts: np.ndarray


class Lanes:
    """The lanes of a corpus.

    In each epoch both LMs read every id. The corpus is treated as a ring: it rarely
    divides into lanes of equal length, so a lane also reads up to `unroll_steps` ids of
    the next one, and each epoch starts at a different position.

    shards (Shards): The corpus.
    batch_size (int): Number of lanes, in all processes together.
    unroll_steps (int): Number of ids in a window.
    seed (Optional[int]): Seed of the positions where epochs start. None to start at the
        beginning of the corpus.
    n_ids (Optional[int]): Read only the first ids, which must end with a sentence. None
        to read all.
    """

    def __init__(
        self,
        shards: Shards,
        batch_size: int,
        unroll_steps: int,
        seed: Optional[int] = None,
        n_ids: Optional[int] = None,
    ) -> None:
        self.shards = shards
        self.batch_size = batch_size
        self.unroll_steps = unroll_steps
        self.seed = seed
        self.n_ids = n_ids or shards.n_ids
        self._shard_starts = np.cumsum([0, *map(len, shards.tokens)])
        self.steps_per_epoch = -(-self.n_ids // (batch_size * unroll_steps))

    def notes(self) -> List[str]:
        """Warn about a corpus that is smaller than one step."""
        step_size = self.batch_size * self.unroll_steps
        if self.n_ids >= step_size:
            return []
        return [
            f"train: a step reads {self.batch_size} x {self.unroll_steps} = "
            f"{step_size:,} words and ends of sentences, but the text has only "
            f"{self.n_ids:,}: each step is an epoch, and reads them "
            f"{step_size / self.n_ids:,.1f} times. Lower training.batch_size or "
            "unroll_steps."
        ]

    def window(self, step: int) -> Window:
        """Read the window of a step, counted from 0 over all epochs."""
        epoch, step = divmod(step, self.steps_per_epoch)
        starts = self.lane_starts(epoch)
        length = self.steps_per_epoch * self.unroll_steps
        first, window = step * self.unroll_steps, np.arange(self.unroll_steps + 1)
        # The first input is the id before the window, in reading order.
        forward = (starts + first - 1)[:, None] + window
        backward = (starts + length - 1 - first)[:, None] - window
        places = np.stack([forward, backward]) % self.n_ids
        return Window(epoch, step, self.read(places), places[:, :, 0])

    def lane_starts(self, epoch: int) -> np.ndarray:
        """Compute the start of each lane in an epoch, of shape (batch_size,)."""
        offset = 0
        if self.seed is not None:
            offset = int(np.random.default_rng([self.seed, epoch]).integers(self.n_ids))
        return offset + np.arange(self.batch_size) * self.n_ids // self.batch_size

    def read(self, places: np.ndarray) -> np.ndarray:
        """Read the ids at positions of the corpus, as int64 in the same shape.

        RAISES: CorpusError if a shard has changed since it was opened, or has ids of
            unknown types.
        """
        shard_numbers = np.searchsorted(self._shard_starts, places, side="right") - 1
        ids = np.empty(places.shape, dtype=np.int64)
        for shard in np.unique(shard_numbers):
            self.shards.check_unchanged(shard)
            mask = shard_numbers == shard
            ids[mask] = self.shards.tokens[shard][
                places[mask] - self._shard_starts[shard]
            ]
        n_types = len(self.shards.counts)
        if ids.size and ids.max() > n_types:
            raise CorpusError(
                f"{self.shards.folder}: expected ids up to {n_types}, the number of "
                f"types, found {ids.max()}. Remove the folder and prepare the corpus "
                "again."
            )
        return ids

    def describe(self, place: int, n_ids: int) -> str:
        """Describe a position of the corpus and the words there, for error messages."""
        shard = int(np.searchsorted(self._shard_starts, place, side="right")) - 1
        types = self.shards.types()
        ids = self.read((place + np.arange(n_ids)) % self.n_ids)
        words: List[str] = [types[i - 1] if i else "|" for i in ids.tolist()]
        token = place - int(self._shard_starts[shard])
        return f"token {token} of shard {shard}: {' '.join(words)}"
