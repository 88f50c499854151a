"""How far a run is: what a checkpoint holds beside tensors."""

import math
import time
from dataclasses import dataclass, field, fields
from typing import Any, Callable, Dict, Optional

import torch

from .data.lanes import Lanes
from .evaluation import Perplexities
from .output.checkpoints import Checkpoint
from .output.log import TrainRecord
from .schedules import course
from .settings import PretrainSettings, changes
from .step import StepResult, TrainingError


@dataclass
class Progress:
    """settings, identity: of the run and of its texts; those of a resumed one must be
    the same.

    step: steps done. words: seen. seconds: of training, in all runs.
    best_step, best: of the best evaluation. last: perplexities of the last one.
    unlogged_*: sums over the steps since the last record of the log.
    """

    settings: Dict[str, Any]
    identity: Dict[str, Any]
    step: int = 0
    words: int = 0
    seconds: float = 0.0
    best_step: Optional[int] = None
    best: Optional[float] = None
    last: Optional[Dict[str, Any]] = None
    unlogged_steps: int = 0
    unlogged_forward: float = 0.0
    unlogged_backward: float = 0.0
    unlogged_since: float = 0.0
    unlogged_words: int = 0
    _latest: Optional[StepResult] = field(default=None, repr=False)

    @classmethod
    def new(cls, settings: PretrainSettings, identity: Dict[str, Any]) -> "Progress":
        return cls(settings.to_dict(), identity)

    def resumed(self, checkpoint: Checkpoint, steps_per_epoch: int) -> "Progress":
        """What a checkpoint says, under the present settings. The end of the run and
        its schedule may be others, as long as no step that is done would have had
        another learning rate.

        Raises TrainingError where the run's settings or texts have changed.
        """
        before = checkpoint.meta
        # Settings that the checkpoint's version did not have are at their defaults.
        settings = PretrainSettings.from_dict(before["settings"]).to_dict()
        same_course = course(settings, checkpoint.step, steps_per_epoch) == course(
            self.settings, checkpoint.step, steps_per_epoch
        )
        found = changes(settings, self.settings, same_course=same_course)
        for name in sorted({*before["identity"], *self.identity}):
            old, new = before["identity"].get(name), self.identity.get(name)
            if old != new and name != "corpus.dev":
                found.append(f"{name}: different contents ({old} -> {new})")
        if found:
            lines = "\n".join(f"  {line}" for line in found)
            raise TrainingError(
                f"The run in this folder is at step {checkpoint.step}; expected the "
                f"settings and texts that it started with, found changes:\n{lines}\n"
                "Restore them, or name another output folder."
            )
        kept = {name: value for name, value in before.items() if name in _KEPT}
        ours, theirs = self.settings["training"], settings["training"]
        if (
            before["identity"].get("corpus.dev") != self.identity.get("corpus.dev")
            or ours["n_evaluated"] != theirs["n_evaluated"]
        ):
            # Perplexities of another text are no measure for this one's.
            kept.update(best=None, best_step=None, last=None)
        return Progress(self.settings, self.identity, **kept)

    def to_meta(self) -> Dict[str, Any]:
        """As JSON has it."""
        meta = {name: getattr(self, name) for name in _KEPT}
        return {**meta, "settings": self.settings, "identity": self.identity}

    def start_clock(self) -> Callable[[], float]:
        """A function that tells the seconds of training in all runs."""
        start = time.perf_counter() - self.seconds
        return lambda: time.perf_counter() - start

    def check(self, result: StepResult, lanes: Lanes, own: slice) -> None:
        """Raises TrainingError where a loss or the gradient is NaN or infinite."""
        numbers = (result.forward_loss, result.backward_loss, result.grad_norm)
        if all(abs(number) < float("inf") for number in numbers):
            return
        bad = torch.nonzero(~torch.isfinite(result.lane_losses))
        where = "the gradient alone; each loss of this process is finite"
        if len(bad):
            direction, lane = bad[0].tolist()
            place = int(result.window.starts[direction, own.start + lane])
            first = place if direction == 0 else place - lanes.unroll_steps + 1
            name = ("forward", "backward")[direction]
            where = (
                f"lane {own.start + lane}, {name} LM, from "
                f"{lanes.describe(first % lanes.n_ids, lanes.unroll_steps)}"
            )
        raise TrainingError(
            f"step {result.step + 1} (batch {result.window.step} of epoch "
            f"{result.window.epoch}): expected finite losses and gradients, found "
            f"forward {result.forward_loss}, backward {result.backward_loss}, gradient "
            f"norm {result.grad_norm}: {where}. The last checkpoint is from before. "
            "Lower the learning rate or grad_clip, or use float32, in a new output "
            "folder."
        )

    def add(self, result: StepResult, n_words: int) -> None:
        self.words += n_words
        self.unlogged_steps += 1
        self.unlogged_words += n_words
        self.unlogged_forward += result.forward_loss
        self.unlogged_backward += result.backward_loss
        self._latest = result

    def record(self, steps_per_epoch: int, seconds: float) -> TrainRecord:
        """The mean of what was added since the last record."""
        assert self._latest is not None
        step = self._latest.step + 1
        forward = self.unlogged_forward / self.unlogged_steps
        backward = self.unlogged_backward / self.unlogged_steps
        record = TrainRecord(
            step=step,
            epoch=step / steps_per_epoch,
            loss=(forward + backward) / 2,
            forward_loss=forward,
            backward_loss=backward,
            learn_rate=self._latest.rate,
            grad_norm=self._latest.grad_norm,
            words_per_second=self.unlogged_words
            / max(seconds - self.unlogged_since, 1e-9),
            words=self.words,
            seconds=seconds,
        )
        self.unlogged_steps = self.unlogged_words = 0
        self.unlogged_forward = self.unlogged_backward = 0.0
        self.unlogged_since = seconds
        return record

    def is_best(self, found: Perplexities) -> bool:
        """Whether it is better than all that were noted as such."""
        return found.mean < (math.inf if self.best is None else self.best)

    def evaluated(self, found: Perplexities, *, best: bool) -> None:
        """Note an evaluation, and whether its model is the best that was kept."""
        self.last = found.to_json()
        if best:
            self.best, self.best_step = found.mean, self.step

    def last_evaluation(self) -> Optional[Perplexities]:
        return None if self.last is None else Perplexities.from_json(self.last)

    def is_finished(self, total_steps: int, patience: int) -> bool:
        waited = 0 if self.best_step is None else self.step - self.best_step
        return self.step >= total_steps or bool(patience and waited >= patience)


_KEPT = [
    item.name
    for item in fields(Progress)
    if item.name not in ("settings", "identity", "_latest")
]
