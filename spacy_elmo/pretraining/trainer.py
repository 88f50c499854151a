"""The training loop."""

import signal
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Generator, Iterator, List, Optional, Sequence

import torch

from ..bilm import BiLM
from ..bilm.backends import cpu as kernels
from ..bilm.precision import resolve_precision
from ..bilm.softmax import SampledSoftmax
from ..files import recover_folder
from ..scoring.perplexity import Perplexities
from .callback import Callback
from .checkpointer import Checkpointer
from .data.batches import Batch, Batches
from .data.corpus import Corpus, load_corpus
from .data.lanes import Lanes
from .data.noise import Noise
from .data.prefetch import stream_batches
from .data.random_streams import DROPOUT, make_generator
from .distillation import Teacher
from .distributed import Group
from .evaluation import evaluate
from .gradient_clipping import GradientClipper
from .initialize import add_output_layer, hash_weights, load_teacher, make_bilm
from .optimizers import Optimizer
from .output.curves import plot_curves
from .output.log import LOG
from .output.model_folder import write_model
from .output.reporter import Reporter
from .progress import Progress
from .schedules import check_length, learn_rate, total_steps
from .settings import PretrainSettings
from .signals import Interrupted, StopSignals
from .step import (
    ResultQueue,
    StepOutput,
    capture_steps,
    check_diverged,
    check_finite,
    compute_gradient,
    reset_state,
    sum_over_processes,
)
from .weight_average import WeightAverage


class Trainer:
    """A pretraining run: its model, its text and its progress.

    settings (PretrainSettings): Settings of the run.
    output (Path): Folder of the run. A run that is in it is resumed. `pretrain` also
        locks the folder; Trainer does not.
    group (Optional[Group]): The processes that train together. By default a single one,
        on the CPU.
    show (bool): Show progress on stderr.
    callbacks (Sequence[Callback]): Hooks into the run.
    """

    def __init__(
        self,
        settings: PretrainSettings,
        output: Path,
        *,
        group: Optional[Group] = None,
        show: bool = True,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        training = settings.training
        self.settings, self.training = settings, training
        self.output, self.show = Path(output), show
        self.group = group or Group(0, 1, torch.device("cpu"))
        self.callbacks = list(callbacks)
        self.notes: List[str] = []

        # The random state must be the same whether or not text has to be tokenized, and
        # loading a tokenizer or a teacher may draw random numbers. All weights are
        # loaded first: tokenizing the text can take hours.
        bilm = make_bilm(settings)
        with torch.random.fork_rng(devices=[]):
            teacher_bilm = load_teacher(settings.initialize)
            self.corpus = self.load_corpus(bilm)
        teacher = None
        if teacher_bilm is not None:
            types = self.corpus.train.shards.types()
            teacher = Teacher(teacher_bilm.to(self.group.device), types)
        self.model = add_output_layer(
            bilm, self.corpus.vocabulary, settings.softmax, teacher
        ).to(self.group.device)
        self.dtype = resolve_precision(training.precision, self.group.device)
        self.optimizer = Optimizer(self.model, training.optimizer)
        self.clipper = GradientClipper(training.optimizer, self.group.device)
        self.average = WeightAverage(self.model, training.ema_decay)

        self.own_lanes = self.group.own_lanes(
            training.batch_size, training.accumulate_gradient
        )
        self.n_own_lanes = self.own_lanes.stop - self.own_lanes.start
        self.lanes = Lanes(
            self.corpus.train.shards,
            training.batch_size,
            training.unroll_steps,
            training.seed,
        )
        self.notes += self.lanes.notes()
        self.batches = self.make_batches()
        self.n_steps = total_steps(
            training.max_steps, training.max_epochs, self.lanes.steps_per_epoch
        )
        self.state = self.model.zero_state(self.n_own_lanes)
        identity = {**self.corpus.identity(), **hash_weights(settings.initialize)}
        self.progress = Progress.new(settings, identity, self.lanes.steps_per_epoch)
        self.checkpointer = Checkpointer(
            self.output / "checkpoints",
            self.model,
            self.optimizer,
            self.average,
            self.clipper,
            group=self.group,
            own_lanes=self.own_lanes,
        )
        resumed = self.checkpointer.resume(self.progress, self.notes.append)
        if resumed is not None:
            self.progress, self.state = resumed
        self.results = ResultQueue(self.group.device)
        self.signals = StopSignals()
        self.stop_requested = False
        self.reporter = Reporter(
            self.output,
            settings.to_dict(),
            total_steps=self.n_steps,
            steps_per_epoch=self.lanes.steps_per_epoch,
            first_step=self.progress.step,
            show=show,
            active=self.group.is_first,
        )

    def load_corpus(self, bilm: BiLM) -> Corpus:
        """Load the texts and the output vocabulary. The first process prepares them."""
        return load_corpus(
            self.settings.corpus,
            self.settings.vocabulary,
            bilm.characters,
            self.output / "corpus",
            group=self.group,
            show=self.show,
            say=self.notes.append,
        )

    def make_batches(self) -> Batches:
        """Create the batches of this process."""
        softmax, text, noise = self.model.softmax, self.corpus.train, None
        if self.training.noise:
            noise = Noise(
                self.training.noise,
                text.shards.types(),
                text.shards.counts,
                self.model.bilm.characters,
            )
        return Batches(
            self.lanes,
            self.own_lanes,
            text.table,
            self.corpus.vocabulary,
            softmax if isinstance(softmax, SampledSoftmax) else None,
            noise=noise,
            seed=self.training.seed,
            n_parts=self.training.accumulate_gradient,
            with_clean=self.model.teacher is not None,
        )

    # The loop

    def run(self) -> None:
        """Train until the last step, until held-out perplexity has not improved for
        `training.patience` steps, or until a signal asks to stop.

        RAISES: Interrupted after such a signal, when everything is written.
        """
        # Before this line, a signal ends the process at once: nothing has to be saved.
        with self.reporter, self.signals, closing(self.steps()) as steps:
            self.start()
            for parts in steps:
                self.train_step(parts)
                self.report()
                if self.evaluation_due() or self.checkpoint_due():
                    self.report(wait=True)
                    if self.evaluation_due():
                        self.evaluate()
                    if self.checkpoint_due():
                        self.save()
                if self.stop_requested:
                    self.stop()
            last = self.progress.last_evaluation()
            self.export("model-last", last, must_succeed=True)
            self.draw_curves()

    def start(self) -> None:
        """Prepare the first step: capture steps on a GPU, report the notes so far and
        start the clock."""
        if self.group.is_first:
            for name in ("model-best", "model-last"):
                recover_folder(self.output / name)
        if self.group.device.type == "cuda":
            self.notes += capture_steps(
                self.model, self.training, self.n_own_lanes, self.dtype
            )
        elif missing := kernels.why_absent():
            self.notes.append(
                f"Training is slower without compiled kernels: {missing}."
            )
        too_long = check_length(
            self.training.schedule,
            self.n_steps,
            self.settings.initialize.softmax_steps,
        )
        if too_long:
            self.notes.append(too_long)
        if self.is_finished():
            self.notes.append(f"Training already ended at step {self.progress.step}.")
        for note in self.notes:
            self.reporter.say(note)
        self.clock = self.progress.start_clock()

    def steps(self) -> Generator[List[Batch], None, None]:
        """Yield the batches of each remaining step, on this process's device."""
        device = self.group.device
        make = self.batches.__getitem__
        with closing(
            stream_batches(make, self.progress.step, self.n_steps, device)
        ) as source:
            while not self.is_finished():
                yield [part.to(device) for part in next(source)]

    def train_step(self, parts: List[Batch]) -> None:
        """Compute a step's gradient and update the weights; on a GPU, without waiting
        for either."""
        step = self.progress.step
        if step % self.lanes.steps_per_epoch == 0:
            self.state = self.model.zero_state(self.n_own_lanes)
        self.notify("before_step")
        rate = learn_rate(
            self.training.optimizer.learn_rate,
            self.training.schedule,
            step,
            self.n_steps,
            self.settings.initialize.softmax_steps,
        )
        if step == self.settings.initialize.softmax_steps:
            self.clipper.start_over()
        output = self.forward_backward(parts)
        self.notify("after_backward", output)
        clipped = self.clipper.clip(self.optimizer.gradients(output.rows))
        # The state may have caused the explosion, and would cause the next one.
        self.state = reset_state(output.state, clipped.is_ignored)
        self.optimizer.step(rate, step, output.rows)
        self.average.update(output.rows)
        self.results.put(step, parts[0].window, rate, output, clipped)
        self.progress.step += 1
        self.reporter.advance()

    def forward_backward(self, parts: List[Batch]) -> StepOutput:
        """Compute the gradient of a step, summed over all processes."""
        step = self.progress.step
        self.model.freeze_bilm(step < self.settings.initialize.softmax_steps)
        if self.training.dropout:
            seeds = self.training.seed, DROPOUT, step, self.group.rank
            torch.manual_seed(make_generator(*seeds).initial_seed())
        output = compute_gradient(
            self.model,
            parts,
            self.state,
            self.training,
            self.dtype,
            stop_requested=self.signals.received is not None,
        )
        sum_over_processes(self.model, output, self.group)
        return output

    def report(self, *, wait: bool = False) -> None:
        """Check and log the results that have arrived.

        wait (bool): Wait for the results of all steps so far.
        RAISES: TrainingError if a loss or gradient is not finite, or too many gradients
            in a row had exploded.
        """
        n_words = self.training.batch_size * self.training.unroll_steps
        for result in self.results.pop(wait=wait):
            check_finite(result, self.lanes, self.own_lanes)
            self.progress.add(result, n_words)
            check_diverged(result, self.progress.ignored_in_a_row)
            if self.progress.unlogged_steps >= self.training.log_frequency:
                self.reporter.train(self.progress.train_record(self.clock()))
            self.stop_requested |= result.stop_requests > 0
            self.notify("after_step", result)

    # Schedule of evaluations and checkpoints

    def is_finished(self) -> bool:
        # Patience may only run out after an evaluation, not when a run is resumed
        # between two evaluations.
        patience = self.training.patience
        evaluated = _is_due(self.progress.step, self.training.eval_frequency)
        return self.progress.is_finished(self.n_steps, patience if evaluated else 0)

    def evaluation_due(self) -> bool:
        step = self.progress.step
        return step == self.n_steps or _is_due(step, self.training.eval_frequency)

    def checkpoint_due(self) -> bool:
        step = self.progress.step
        return (
            self.stop_requested
            or self.is_finished()
            or self.progress.best_step == step
            or _is_due(step, self.training.checkpoint_frequency)
        )

    # Evaluation and output

    def evaluate(self) -> None:
        """Measure held-out perplexity, and export the model if it is the best so far.

        A best model that cannot be written does not count as best, so that the next one
        that beats the exported one replaces it.
        """
        if self.corpus.dev is None:
            return
        perplexities = self.measure()
        self.notify("after_evaluation", perplexities)
        # After the last evaluation there is no other chance to export the best model.
        must_succeed = self.stop_requested or self.progress.step == self.n_steps
        seconds, is_best = self.clock(), False

        def export_best() -> bool:
            return self.progress.is_best(perplexities) and self.export(
                "model-best", perplexities, must_succeed=must_succeed
            )

        try:
            is_best = self.group.from_first(export_best)
            self.progress.evaluated(perplexities, best=is_best)
        finally:
            record = self.progress.dev_record(perplexities, seconds, best=is_best)
            self.reporter.dev(record)

    def measure(self) -> Perplexities:
        """Compute the perplexities of the held-out text."""
        assert self.corpus.dev is not None
        with self.average.applied():
            return evaluate(
                self.model,
                self.corpus.dev.shards,
                self.corpus.dev.table,
                self.corpus.vocabulary,
                group=self.group,
                n_words=self.training.n_evaluated,
            )

    def save(self) -> None:
        """Write a checkpoint, and remove old checkpoints."""
        tensors = self.checkpointer.tensors(self.state)
        if not self.group.is_first:
            return
        must_succeed = self.stop_requested or self.is_finished()
        with self.writing("checkpoint", must_succeed):
            self.notify("before_checkpoint")
            self.progress.seconds = self.clock()
            path = self.checkpointer.save(
                tensors, self.progress, keep=self.training.keep_checkpoints
            )
            self.notify("after_checkpoint", path)

    def export(
        self, name: str, perplexities: Optional[Perplexities], *, must_succeed: bool
    ) -> bool:
        """Write the model as a folder that `load_bilm` reads.

        name (str): Name of the folder.
        perplexities (Optional[Perplexities]): Its last evaluation, stored with it.
        must_succeed (bool): Whether a failure to write ends the run.
        RETURNS (bool): Whether it was written; only the first process writes.
        """
        if not self.group.is_first:
            return False
        meta = {
            **self.corpus.tokenization.to_json(),
            "step": self.progress.step,
            "words": self.progress.words,
            "held_out": None if perplexities is None else perplexities.to_json(),
        }
        with self.writing(name, must_succeed), self.average.applied():
            self.notify("before_export", name)
            write_model(
                self.output / name,
                self.model,
                self.corpus.vocabulary,
                self.settings.softmax,
                meta,
                hdf5=self.settings.export.hdf5,
            )
            self.notify("after_export", self.output / name)
            return True
        return False

    @contextmanager
    def writing(self, what: str, must_succeed: bool) -> Iterator[None]:
        """Report a failure to write instead of raising it, unless it `must_succeed`: a
        full disk does not end a run that has more steps to do."""
        try:
            yield
        except OSError as error:
            if must_succeed:
                raise
            self.reporter.say(
                f"No {what} was written at step {self.progress.step}: {error}. "
                "Training continues."
            )

    def draw_curves(self) -> None:
        """Plot the log; a run without matplotlib or with an empty log only says so."""
        if self.group.is_first:
            try:
                plot_curves(self.output / LOG, self.output / "curves.png")
            except (ImportError, OSError, ValueError) as error:
                self.reporter.say(f"No curves.png: {error}")

    def stop(self) -> None:
        """End the run early; the checkpoint is written."""
        last = self.progress.last_evaluation()
        self.export("model-last", last, must_succeed=True)
        number = self.signals.received or signal.SIGTERM
        message = (
            f"Stopped on request at step {self.progress.step}; run the same command "
            "again to resume."
        )
        self.reporter.say(message)
        raise Interrupted(number, message)

    def notify(self, hook: str, *arguments: Any) -> None:
        """Call a hook of each callback."""
        for callback in self.callbacks:
            getattr(callback, hook)(self, *arguments)


def _is_due(step: int, frequency: int) -> bool:
    return bool(frequency) and step % frequency == 0
