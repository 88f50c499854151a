"""Shards -> windows of text. The text is cut into as many lanes as a batch has rows;
each step reads the next window of every lane, so that state carries over.

The backward LM, whose state must carry over too, reads each lane from its end: in an
epoch both directions read all of the same text.
"""

from typing import List, NamedTuple, Optional

import numpy as np

from .shards import Shards


class Window(NamedTuple):
    """One step's text, as type ids, 0 for a boundary of sentences.

    epoch: counted from 0. step: within the epoch.
    tokens: (2, n_lanes, unroll_steps + 1): each is the input for the one after it. The
        first half is the forward LM's, the second the backward LM's, in the order in
        which it reads.
    starts: where each lane's two windows begin in the corpus, (2, n_lanes).
    """

    epoch: int
    step: int
    tokens: np.ndarray
    starts: np.ndarray


class Lanes:
    """The lanes of a corpus.

    In each epoch every id is read by both LMs. Lanes of one length rarely fit: each
    reads up to unroll_steps ids of the next one too, and begins at another place in
    each epoch. The corpus is a ring for this.

    batch_size: lanes in all processes together. unroll_steps: ids a window.
    seed: of the places where epochs begin; None: always at the corpus's beginning.
    n_ids: to read only the first ones, up to the end of a sentence; None: all.
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
        sizes = [len(tokens) for tokens in shards.tokens]
        self._shard_starts = np.cumsum([0, *sizes])
        self.steps_per_epoch = -(-self.n_ids // (batch_size * unroll_steps))

    def notes(self) -> List[str]:
        """What a user should know of a text that does not fill a step."""
        wanted = self.batch_size * self.unroll_steps
        if self.n_ids >= wanted:
            return []
        return [
            f"train: a step reads {self.batch_size} x {self.unroll_steps} = {wanted:,} "
            f"words and ends of sentences, the text has {self.n_ids:,}: each step is "
            f"an epoch, and reads them {wanted / self.n_ids:,.1f} times. Lower "
            "training.batch_size or unroll_steps."
        ]

    def window(self, step: int) -> Window:
        """What is read in a step, counted from 0 over all epochs."""
        epoch, step = divmod(step, self.steps_per_epoch)
        starts = self.lane_starts(epoch)
        length = self.steps_per_epoch * self.unroll_steps
        done, unroll = step * self.unroll_steps, self.unroll_steps
        # The forward LM predicts the ids of its window from the ones before them. Read
        # from the end, an id's predecessor is what follows it in the text.
        forward = (starts + done - 1)[:, None] + np.arange(unroll + 1)
        backward = (starts + length - 1 - done)[:, None] - np.arange(unroll + 1)
        places = np.stack([forward, backward]) % self.n_ids
        return Window(epoch, step, self.read(places), places[:, :, 0])

    def lane_starts(self, epoch: int) -> np.ndarray:
        """Where lanes begin in an epoch, (batch_size,)."""
        offset = 0
        if self.seed is not None:
            offset = int(np.random.default_rng([self.seed, epoch]).integers(self.n_ids))
        return offset + np.arange(self.batch_size) * self.n_ids // self.batch_size

    def read(self, places: np.ndarray) -> np.ndarray:
        """The ids at places of the corpus, in the places' shape, int64."""
        number = np.searchsorted(self._shard_starts, places, side="right") - 1
        ids = np.empty(places.shape, dtype=np.int64)
        for shard in np.unique(number):
            there = number == shard
            local = places[there] - self._shard_starts[shard]
            ids[there] = self.shards.tokens[shard][local]
        return ids

    def describe(self, place: int, n_ids: int) -> str:
        """Where a place of the corpus is and what stands there, for an error."""
        shard = int(np.searchsorted(self._shard_starts, place, side="right")) - 1
        types = self.shards.types()
        ids = self.read((place + np.arange(n_ids)) % self.n_ids)
        words: List[str] = [types[i - 1] if i else "|" for i in ids.tolist()]
        local = place - int(self._shard_starts[shard])
        return f"token {local} of shard {shard}: {' '.join(words)}"
