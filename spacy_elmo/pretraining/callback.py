"""Hooks into a pretraining run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..scoring.perplexity import Perplexities
from .step import StepOutput, StepResult

if TYPE_CHECKING:
    from .trainer import Trainer


class Callback:
    """A hook into a run, to extend it, observe it, or inject faults in tests. Its
    methods do nothing: override those that you need and pass an instance to
    `pretrain(..., callbacks=[...])` or to `Trainer`.

    Callbacks run in order, in every process, on the training thread. An exception ends
    the run like a crash: run the same command again to resume from the last checkpoint.
    A callback keeps its own state, which is not part of a checkpoint.
    """

    def before_step(self, trainer: Trainer) -> None:
        """A step is about to start; `trainer.progress.step` steps are done."""

    def after_backward(self, trainer: Trainer, output: StepOutput) -> None:
        """Gradients are summed over all processes, but not yet clipped or applied."""

    def after_step(self, trainer: Trainer, result: StepResult) -> None:
        """The result of a step has arrived, on a GPU a few steps after that step."""

    def after_evaluation(self, trainer: Trainer, perplexities: Perplexities) -> None:
        """The held-out text has been scored; the model is not exported yet."""

    def before_checkpoint(self, trainer: Trainer) -> None:
        """A checkpoint is about to be written. Only the first process writes, and only
        there is this called. An OSError counts as a failure to write."""

    def after_checkpoint(self, trainer: Trainer, folder: Path) -> None:
        """A checkpoint is complete, and old ones are removed (first process only)."""

    def before_export(self, trainer: Trainer, name: str) -> None:
        """`name`, "model-best" or "model-last", is about to be written (first process
        only). An OSError counts as a failure to write."""

    def after_export(self, trainer: Trainer, folder: Path) -> None:
        """A model folder is complete (first process only)."""
