"""Windows of text -> what the network reads, prepared beside the running step."""

import queue
import threading
from dataclasses import dataclass
from typing import Any, Callable, Generator, List, NamedTuple, Optional

import numpy as np
import torch
from torch import Tensor

from ...bilm.softmax import SampledSoftmax
from .lanes import Lanes, Window
from .noise import Noise, NoisePlan
from .vocabulary import BEGIN, Vocabulary
from .word_table import TypeTable


class Sample(NamedTuple):
    """What a sampled softmax computes with.

    rows: the output layer's rows that this step touches in any process, (n_rows,).
    correction: the log of each one's chance to be drawn, (n_rows,).
    true: which of the rows is the target, (2, U, B). drawn: the negatives',
    (n_samples,).
    columns: 0, or which of the drawn rows, from 1, is the target's, (2, U, B).
    """

    rows: Tensor
    correction: Tensor
    true: Tensor
    drawn: Tensor
    columns: Tensor


@dataclass
class Batch:
    """One step of some lanes: B lanes, U steps, both directions.

    window: the text of all lanes.
    char_ids, word_ids, lengths: of the n distinct words, shortest first: (n, longest),
        (n,), (n,).
    inputs: which of the distinct words, (2, U, B).
    targets: words of the output vocabulary, (2, U, B).
    sample: if the softmax is sampled.
    """

    window: Window
    char_ids: Tensor
    word_ids: Tensor
    lengths: np.ndarray
    inputs: Tensor
    targets: Tensor
    sample: Optional[Sample] = None

    def to(self, device: torch.device) -> "Batch":
        """On the device, without a wait for the copy."""
        if device.type == "cpu":
            return self

        def move(tensor: Tensor) -> Tensor:
            return tensor.pin_memory().to(device, non_blocking=True)

        return Batch(
            self.window,
            move(self.char_ids),
            move(self.word_ids),
            self.lengths,
            move(self.inputs),
            move(self.targets),
            self.sample and Sample(*map(move, self.sample)),
        )


class Batches:
    """Makes the batches of any step; the same step gives the same ones.

    lanes: of all processes. own: the lanes of this one.
    table, vocabulary: what words are to the network and to its output layer.
    softmax: a sampled one, whose draws are the same in each process, or None.
    noise: of the words that are read, or None.
    seed: of the draws. n_parts: batches of equal size into which a step is split.
    """

    def __init__(
        self,
        lanes: Lanes,
        own: slice,
        table: TypeTable,
        vocabulary: Vocabulary,
        softmax: Optional[SampledSoftmax] = None,
        *,
        noise: Optional[Noise] = None,
        seed: int = 0,
        n_parts: int = 1,
    ) -> None:
        self.lanes = lanes
        self.noise = noise
        bounds = np.linspace(own.start, own.stop, n_parts + 1).astype(int).tolist()
        self.parts = [slice(*pair) for pair in zip(bounds, bounds[1:])]
        self.table = table
        self.softmax = softmax
        self.seed = seed
        self._forward_targets = vocabulary.lookup(lanes.shards.types())
        # What a sentence's end is to the one, its beginning is to the other.
        self._backward_targets = self._forward_targets.copy()
        self._backward_targets[0] = vocabulary.index[BEGIN]

    def __getitem__(self, step: int) -> List[Batch]:
        window = self.lanes.window(step)
        # Time first: a row of the packed sequences is t * B + lane.
        tokens = window.tokens.transpose(0, 2, 1)
        targets = np.stack(
            [
                self._forward_targets[tokens[0, 1:]],
                self._backward_targets[tokens[1, 1:]],
            ]
        )
        inputs = tokens[:, :-1]
        # Drawn for the lanes of all processes, so that their number does not matter.
        plan = None
        if self.noise is not None:
            plan = self.noise.plan(inputs, self.seed, NOISE, step)
        batches = [
            self._read(window, inputs, targets, part, plan) for part in self.parts
        ]
        if self.softmax is not None:
            draw = self.softmax.sample(generator_of(self.seed, NEGATIVES, step))
            both = np.concatenate([targets.ravel(), draw.words.numpy()])
            rows, where = np.unique(both, return_inverse=True)
            true, drawn = np.split(where, [targets.size])
            column = np.zeros(len(rows), dtype=np.int64)
            column[drawn] = np.arange(1, len(drawn) + 1)
            true = true.reshape(targets.shape)
            for part, batch in zip(self.parts, batches):
                batch.sample = Sample(
                    rows=torch.from_numpy(rows),
                    correction=self.softmax.log_expected_count(
                        torch.from_numpy(rows), draw.n_tries
                    ),
                    true=_copy(true[:, :, part]),
                    drawn=torch.from_numpy(drawn),
                    columns=_copy(column[true[:, :, part]]),
                )
        return batches

    def _read(
        self,
        window: Window,
        inputs: np.ndarray,
        targets: np.ndarray,
        part: slice,
        plan: Optional[NoisePlan],
    ) -> Batch:
        n_types = len(self.table.lengths)
        inputs = inputs[:, :, part].copy()
        inputs[1][inputs[1] == 0] = n_types - 1
        changed = []
        if self.noise is not None and plan is not None:
            own = NoisePlan(*(array[:, :, part] for array in plan))
            places, words = self.noise.change(inputs, own)
            inputs = np.where(places < 0, inputs, n_types + places)
            changed = self.noise.spell(words)
        distinct, index = np.unique(inputs, return_inverse=True)
        # Changed words come after the types, each of them once.
        distinct = distinct[: len(distinct) - len(changed)]
        char_ids = self.table.char_ids[distinct].astype(np.int64)
        word_ids, lengths = self.table.word_ids[distinct], self.table.lengths[distinct]
        if changed:
            char_ids = np.concatenate([char_ids, [word.char_ids for word in changed]])
            word_ids = np.append(word_ids, [word.word_id for word in changed])
            lengths = np.append(lengths, [word.length for word in changed])
        order = np.argsort(lengths, kind="stable")
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        return Batch(
            window,
            torch.from_numpy(char_ids[order]),
            torch.from_numpy(word_ids[order]),
            lengths[order],
            torch.from_numpy(place[index].reshape(inputs.shape)),
            _copy(targets[:, :, part]),
        )


def _copy(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))


WEIGHTS, NEGATIVES, DROPOUT, NOISE = range(4)
"""What randomness is for, after the seed."""


def generator_of(*numbers: int) -> torch.Generator:
    """Randomness that belongs to these numbers, whatever was drawn before."""
    # It passes over zeros at the end: (7, 0) would be (7).
    state = np.random.SeedSequence([*numbers, 1]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0] >> np.uint64(1)))


def each(
    make: Callable[[int], List[Batch]], first: int, end: int, device: torch.device
) -> Generator[List[Batch], None, None]:
    """make(first), make(first + 1), ... up to end, ahead of a device's steps.

    On a CPU they are made between the steps: a thread of its own would take from those
    of the matrix products far more than it gives.
    """
    if device.type != "cpu":
        yield from prefetch(make, first, end)
        return
    for step in range(first, end):
        yield make(step)


def prefetch(
    make: Callable[[int], List[Batch]], first: int, end: int, depth: int = 2
) -> Generator[List[Batch], None, None]:
    """make(first), make(first + 1), ... up to end, made ahead in a thread.

    An error in the thread is raised here, at its step.
    """
    ready: queue.Queue[Any] = queue.Queue(depth)
    stop = threading.Event()

    def put(item: Any) -> None:
        while not stop.is_set():
            try:
                return ready.put(item, timeout=0.1)
            except queue.Full:
                continue

    def work() -> None:
        try:
            for step in range(first, end):
                if stop.is_set():
                    return
                put(make(step))
        except BaseException as error:
            put(error)

    thread = threading.Thread(target=work, name="batches", daemon=True)
    thread.start()
    try:
        for _ in range(first, end):
            item = ready.get()
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        thread.join()
