"""Windows of text -> the tensors of a training step."""

from dataclasses import dataclass
from itertools import pairwise
from typing import List, NamedTuple, Optional

import numpy as np
import torch
from torch import Tensor

from ...bilm.softmax import SampledSoftmax
from ...text.vocabulary import BEGIN, Vocabulary
from .lanes import Lanes, Window
from .noise import Noise, NoisePlan
from .random_streams import NEGATIVES, NOISE, make_generator
from .word_table import WordTable


class Sample(NamedTuple):
    """Targets and negatives of a sampled softmax, for B lanes of U steps.

    rows (Tensor): The rows of the output layer that the step touches, in any process,
        of shape (n_rows,).
    correction (Tensor): Log probability that a draw contains each row, of shape
        (n_rows,).
    true (Tensor): Index into `rows` of each target, of shape (2, U, B).
    drawn (Tensor): Index into `rows` of each negative, of shape (n_samples,).
    columns (Tensor): One plus the index into `drawn` of each target, or 0 for a target
        that is not among the negatives, of shape (2, U, B).
    """

    rows: Tensor
    correction: Tensor
    true: Tensor
    drawn: Tensor
    columns: Tensor


class CleanText(NamedTuple):
    """The words of B lanes of U steps as they are in the text, before any noise.

    types (ndarray): The n distinct types, as rows of a `WordTable`, of shape (n,).
    inputs (Tensor): Index of each word among these, of shape (2, U, B).
    """

    types: np.ndarray
    inputs: Tensor


@dataclass
class Batch:
    """One step of B lanes of U words, in both directions. Characters are stored once
    for each of the n distinct words, shortest first.

    window (Window): Text of the lanes of all processes.
    char_ids (Tensor): Character ids of shape (n, max_characters).
    word_ids (Tensor): Ids in a biLM's own word vocabulary, of shape (n,).
    lengths (ndarray): Number of character ids before the padding, of shape (n,).
    inputs (Tensor): Index of each input word among the distinct words, of shape
        (2, U, B).
    targets (Tensor): Output ids, of shape (2, U, B).
    sample (Optional[Sample]): Negatives, if the softmax is sampled.
    clean (Optional[CleanText]): The input words without noise, if asked for.
    """

    window: Window
    char_ids: Tensor
    word_ids: Tensor
    lengths: np.ndarray
    inputs: Tensor
    targets: Tensor
    sample: Optional[Sample] = None
    clean: Optional[CleanText] = None

    def to(self, device: torch.device) -> "Batch":
        """Copy to a device without waiting for it."""
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
            self.clean and self.clean._replace(inputs=move(self.clean.inputs)),
        )


class Batches:
    """Makes the batches of any step. A step's batches do not depend on those before.

    lanes (Lanes): The lanes of all processes.
    local_lanes (slice): The lanes of this process.
    table (WordTable): Characters of the corpus's words.
    vocabulary (Vocabulary): Words that the output layer predicts.
    softmax (Optional[SampledSoftmax]): Output layer that needs negatives, which are the
        same in each process. None if it is not sampled.
    noise (Optional[Noise]): Noise in the input words.
    seed (int): Seed of negatives and noise.
    n_parts (int): Number of batches of equal size that a step is split into.
    with_clean (bool): Whether batches also have the words without noise.
    """

    def __init__(
        self,
        lanes: Lanes,
        local_lanes: slice,
        table: WordTable,
        vocabulary: Vocabulary,
        softmax: Optional[SampledSoftmax] = None,
        *,
        noise: Optional[Noise] = None,
        seed: int = 0,
        n_parts: int = 1,
        with_clean: bool = False,
    ) -> None:
        self.lanes = lanes
        bounds = np.linspace(local_lanes.start, local_lanes.stop, n_parts + 1)
        bounds = bounds.astype(int).tolist()
        self.parts = [slice(*pair) for pair in pairwise(bounds)]
        self.table = table
        self.softmax = softmax
        self.noise = noise
        self.seed = seed
        self.with_clean = with_clean
        self._forward_targets = vocabulary.lookup(lanes.shards.types())
        # Id 0 is the end of a sentence to the forward LM, its beginning to the
        # backward.
        self._backward_targets = self._forward_targets.copy()
        self._backward_targets[0] = vocabulary.index[BEGIN]

    def __getitem__(self, step: int) -> List[Batch]:
        window = self.lanes.window(step)
        # Time first: row t * B + lane of the packed sequences.
        tokens = window.tokens.transpose(0, 2, 1)
        inputs = tokens[:, :-1]
        targets = np.stack(
            [
                self._forward_targets[tokens[0, 1:]],
                self._backward_targets[tokens[1, 1:]],
            ]
        )
        plan = None
        if self.noise is not None:
            # Drawn for the lanes of all processes, so that their number does not
            # matter.
            plan = self.noise.plan(inputs, self.seed, NOISE, step)
        batches = [
            self._make_batch(window, inputs, targets, part, plan) for part in self.parts
        ]
        if self.softmax is not None:
            self._add_samples(batches, targets, self.softmax, step)
        return batches

    def _make_batch(
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
        clean = _clean_text(inputs) if self.with_clean else None
        changed = []
        if self.noise is not None and plan is not None:
            part_plan = NoisePlan(*(array[:, :, part] for array in plan))
            places, words = self.noise.change(inputs, part_plan)
            inputs = np.where(places < 0, inputs, n_types + places)
            changed = self.noise.spell(words)
        distinct, index = np.unique(inputs, return_inverse=True)
        # Changed words come after the types, each of them once.
        distinct = distinct[: len(distinct) - len(changed)]
        char_ids = self.table.characters(distinct)
        word_ids, lengths = self.table.word_ids[distinct], self.table.lengths[distinct]
        if changed:
            char_ids = np.concatenate([char_ids, [word.char_ids for word in changed]])
            word_ids = np.append(word_ids, [word.word_id for word in changed])
            lengths = np.append(lengths, [word.length for word in changed])
        order = np.argsort(lengths, kind="stable")
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order))
        return Batch(
            window,
            torch.from_numpy(char_ids[order]),
            torch.from_numpy(word_ids[order]),
            lengths[order],
            torch.from_numpy(rank[index].reshape(inputs.shape)),
            _to_tensor(targets[:, :, part]),
            clean=clean,
        )

    def _add_samples(
        self,
        batches: List[Batch],
        targets: np.ndarray,
        softmax: SampledSoftmax,
        step: int,
    ) -> None:
        draw = softmax.sample(make_generator(self.seed, NEGATIVES, step))
        ids = np.concatenate([targets.ravel(), draw.words.numpy()])
        rows, index = np.unique(ids, return_inverse=True)
        true, drawn = np.split(index, [targets.size])
        true = true.reshape(targets.shape)
        columns = np.zeros(len(rows), dtype=np.int64)
        columns[drawn] = np.arange(1, len(drawn) + 1)
        row_ids = torch.from_numpy(rows)
        correction = softmax.log_expected_count(row_ids, draw.n_tries)
        for part, batch in zip(self.parts, batches):
            batch.sample = Sample(
                rows=row_ids,
                correction=correction,
                true=_to_tensor(true[:, :, part]),
                drawn=torch.from_numpy(drawn),
                columns=_to_tensor(columns[true[:, :, part]]),
            )


def _clean_text(types: np.ndarray) -> CleanText:
    distinct, index = np.unique(types, return_inverse=True)
    return CleanText(distinct, torch.from_numpy(index.reshape(types.shape)))


def _to_tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))
