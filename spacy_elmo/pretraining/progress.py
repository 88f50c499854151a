"""Progress of a run: the part of a checkpoint that is not tensors."""

import math
import time
from dataclasses import dataclass, field, fields, replace
from typing import Any, Callable, Dict, Optional

from ..scoring.perplexity import Perplexities
from .output.checkpoints import Checkpoint
from .output.log import DevRecord, TrainRecord
from .schedules import course
from .settings import PretrainSettings, changes
from .step import StepResult, TrainingError


@dataclass
class Progress:
    """Progress of a run. The names of the fields are keys of checkpoints.

    settings (Dict[str, Any]): Settings of the run.
    identity (Dict[str, Any]): Hashes of the texts and of the initial weights.
    steps_per_epoch (int): Number of steps of an epoch. Not stored.
    step (int): Number of steps done.
    words (int): Number of words seen.
    seconds (float): Training time over all runs in this output folder.
    best_step (Optional[int]): Step of the best evaluation.
    best (Optional[float]): Perplexity of the best evaluation.
    last (Optional[Dict[str, Any]]): Perplexities of the last evaluation.
    unlogged_steps (int): Number of steps since the last record of the log.
    unlogged_forward (float): Sum of the forward losses of these steps.
    unlogged_backward (float): Sum of the backward losses of these steps.
    unlogged_teacher (float): Sum of the teacher losses of these steps.
    unlogged_since (float): Training time at the last record.
    unlogged_words (int): Number of words of these steps.
    unlogged_ignored (int): Number of these steps with an ignored gradient.
    ignored_in_a_row (int): Number of consecutive steps, up to the last one, whose
        gradients were ignored.
    """

    settings: Dict[str, Any]
    identity: Dict[str, Any]
    steps_per_epoch: int
    step: int = 0
    words: int = 0
    seconds: float = 0.0
    best_step: Optional[int] = None
    best: Optional[float] = None
    last: Optional[Dict[str, Any]] = None
    unlogged_steps: int = 0
    unlogged_forward: float = 0.0
    unlogged_backward: float = 0.0
    unlogged_teacher: float = 0.0
    unlogged_since: float = 0.0
    unlogged_words: int = 0
    unlogged_ignored: int = 0
    ignored_in_a_row: int = 0
    _latest: Optional[StepResult] = field(default=None, repr=False)

    @classmethod
    def new(
        cls, settings: PretrainSettings, identity: Dict[str, Any], steps_per_epoch: int
    ) -> "Progress":
        return cls(settings.to_dict(), identity, steps_per_epoch)

    def resumed(self, checkpoint: Checkpoint) -> "Progress":
        """The progress of a checkpoint, with the present settings. The length of the
        run and its schedule may change if the steps that are done would have had the
        same learning rates.

        checkpoint (Checkpoint): The checkpoint, of this or an earlier version.
        RAISES: TrainingError if any other setting that affects training, a text or the
            initial weights changed.
        """
        before = checkpoint.meta
        # Adds defaults for settings that the version of the checkpoint did not have.
        settings = PretrainSettings.from_dict(before["settings"]).to_dict()
        done = checkpoint.step, self.steps_per_epoch
        same_course = course(settings, *done) == course(self.settings, *done)
        changed = changes(settings, self.settings, same_course=same_course)
        for name in sorted({*before["identity"], *self.identity}):
            old, new = before["identity"].get(name), self.identity.get(name)
            if old != new and name != "corpus.dev":
                changed.append(f"{name}: different contents ({old} -> {new})")
        if changed:
            lines = "\n".join(f"  {line}" for line in changed)
            raise TrainingError(
                f"The run in this folder is at step {checkpoint.step}; expected the "
                f"settings and texts that it started with, found changes:\n{lines}\n"
                "Restore them, or name another output folder."
            )
        values = {name: before[name] for name in _STORED if name in before}
        ours, theirs = self.settings["training"], settings["training"]
        if (
            before["identity"].get("corpus.dev") != self.identity.get("corpus.dev")
            or ours["n_evaluated"] != theirs["n_evaluated"]
        ):
            # Perplexities of different texts cannot be compared.
            values.update(best=None, best_step=None, last=None)
        return replace(self, **values)

    def to_meta(self) -> Dict[str, Any]:
        """Everything but the tensors of a checkpoint, for JSON."""
        meta = {name: getattr(self, name) for name in _STORED}
        return {**meta, "settings": self.settings, "identity": self.identity}

    def start_clock(self) -> Callable[[], float]:
        """Start measuring.

        RETURNS (Callable[[], float]): Gives the training time over all runs in seconds.
        """
        start = time.perf_counter() - self.seconds
        return lambda: time.perf_counter() - start

    def add(self, result: StepResult, n_words: int) -> None:
        """Count a step.

        n_words (int): Number of words of a step, over all processes.
        """
        self.words += n_words
        self.unlogged_steps += 1
        self.unlogged_words += n_words
        self.unlogged_forward += result.forward_loss
        self.unlogged_backward += result.backward_loss
        self.unlogged_teacher += result.teacher_loss or 0.0
        self.unlogged_ignored += result.is_ignored
        self.ignored_in_a_row = self.ignored_in_a_row + 1 if result.is_ignored else 0
        self._latest = result

    def train_record(self, seconds: float) -> TrainRecord:
        """Average the steps since the last record, and start over."""
        assert self._latest is not None
        step = self._latest.step + 1
        forward = self.unlogged_forward / self.unlogged_steps
        backward = self.unlogged_backward / self.unlogged_steps
        has_teacher = self._latest.teacher_loss is not None
        teacher_loss = self.unlogged_teacher / self.unlogged_steps
        record = TrainRecord(
            step=step,
            epoch=step / self.steps_per_epoch,
            loss=(forward + backward) / 2,
            forward_loss=forward,
            backward_loss=backward,
            learn_rate=self._latest.rate,
            grad_norm=self._latest.grad_norm,
            words_per_second=self.unlogged_words
            / max(seconds - self.unlogged_since, 1e-9),
            words=self.words,
            seconds=seconds,
            ignored_steps=self.unlogged_ignored,
            teacher_loss=teacher_loss if has_teacher else None,
        )
        self.unlogged_steps = self.unlogged_words = self.unlogged_ignored = 0
        self.unlogged_forward = self.unlogged_backward = self.unlogged_teacher = 0.0
        self.unlogged_since = seconds
        return record

    def dev_record(
        self, perplexities: Perplexities, seconds: float, *, best: bool
    ) -> DevRecord:
        """Describe an evaluation after the present step.

        best (bool): Whether its model was exported as the best.
        """
        return DevRecord(
            step=self.step,
            epoch=self.step / self.steps_per_epoch,
            forward_perplexity=perplexities.forward,
            backward_perplexity=perplexities.backward,
            perplexity=perplexities.mean,
            oov_rate=perplexities.oov_rate,
            n_words=perplexities.n_words,
            seconds=seconds,
            best=best,
        )

    def is_best(self, perplexities: Perplexities) -> bool:
        """Whether an evaluation beats the best one."""
        return perplexities.mean < (math.inf if self.best is None else self.best)

    def evaluated(self, perplexities: Perplexities, *, best: bool) -> None:
        """Remember an evaluation.

        best (bool): Whether its model was exported as the best.
        """
        self.last = perplexities.to_json()
        if best:
            self.best, self.best_step = perplexities.mean, self.step

    def last_evaluation(self) -> Optional[Perplexities]:
        return None if self.last is None else Perplexities.from_json(self.last)

    def is_finished(self, total_steps: int, patience: int) -> bool:
        """Whether a run is at its end, or has not improved for too long.

        total_steps (int): Number of steps of the run.
        patience (int): Number of steps to wait for a better evaluation, or 0.
        """
        waited = 0 if self.best_step is None else self.step - self.best_step
        return self.step >= total_steps or bool(patience and waited >= patience)


_STORED = [
    item.name
    for item in fields(Progress)
    if item.name not in ("settings", "identity", "steps_per_epoch", "_latest")
]
