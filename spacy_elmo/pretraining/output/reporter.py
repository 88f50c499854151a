"""Reports a run in its log, on a progress bar and to a spaCy logger."""

import math
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Dict, Mapping, Optional, TextIO

from tqdm import tqdm  # type: ignore[import-untyped]

from .log import DEV, LOG, MESSAGE, TRAIN, DevRecord, Log, TrainRecord
from .spacy_loggers import RecordLogger, make_logger

_BAR = (
    "{desc} {percentage:3.0f}%|{bar:6}| {n_fmt}/{total_fmt} "
    "[{elapsed}<{remaining}{postfix}]"
)
_SECONDS_BETWEEN_LINES = 30.0
"""Interval for files and pipes, in which the bar cannot overwrite itself."""


class Reporter:
    """Reports a run while it is entered.

    output (Path): Folder of the run, for the log.
    settings (Mapping[str, Any]): Settings of the run, as `PretrainSettings.to_dict`
        gives them, for the configured logger.
    total_steps (int): Number of steps of the whole training.
    steps_per_epoch (int): Number of steps of an epoch.
    first_step (int): Number of steps done by earlier runs.
    show (bool): Show progress on stderr.
    active (bool): False in all processes but the first, which report nothing.
    RAISES: On entering, ValueError if the log holds lines of another kind, and what
        `make_logger` raises.
    """

    def __init__(
        self,
        output: Path,
        settings: Mapping[str, Any],
        *,
        total_steps: int,
        steps_per_epoch: int,
        first_step: int,
        show: bool,
        active: bool = True,
    ) -> None:
        self.output = Path(output)
        self.settings = settings
        self.step = first_step
        # A sampled loss is labelled as such, and has no perplexity.
        self.sampled = settings["softmax"]["type"] == "sampled"
        self.active = active
        self._bar = ProgressBar(total_steps, steps_per_epoch, first_step, show)
        self._logger: Optional[RecordLogger] = None
        self._stack = ExitStack()

    def __enter__(self) -> "Reporter":
        if self.active:
            config = self.settings["training"].get("logger")
            if config is not None:
                self._logger = make_logger(config, self.settings, self.output)
                self._stack.callback(self._logger.close)
            try:
                self._log = Log(self.output / LOG, self.step)
                self._stack.callback(self._log.close)
                self._stack.enter_context(self._bar)
            except BaseException:
                self._stack.close()
                raise
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def advance(self, n_steps: int = 1) -> None:
        """Count steps."""
        self.step += n_steps
        if self.active:
            self._bar.advance(n_steps)

    def train(self, record: TrainRecord) -> None:
        """Report training steps."""
        if self.active:
            fields = {**record._asdict(), "sampled": self.sampled}
            if record.teacher_loss is None:
                del fields["teacher_loss"]
            self._write(TRAIN, fields)
            self._bar.show_loss(record, self.sampled)
            if self._logger is not None:
                self._logger.train(record)
            if record.ignored_steps:
                self.say(f"Exploded gradients, ignored: {record.ignored_steps}")

    def dev(self, record: DevRecord) -> None:
        """Report an evaluation."""
        if self.active:
            self._write(DEV, record._asdict())
            self._bar.show_evaluation(record)
            if self._logger is not None:
                self._logger.dev(record)

    def say(self, message: str) -> None:
        """Report a message: a line in the log, and one above the bar."""
        if self.active:
            self._write(MESSAGE, {"step": self.step, "message": message})
            self._bar.print(message)

    def _write(self, kind: str, fields: Dict[str, Any]) -> None:
        try:
            self._log.write(kind, fields)
        except OSError as error:
            # A full disk does not end a training; the line is shown instead.
            path = self.output / LOG
            self._bar.print(f"{path}: not written ({error}): {fields}")


class ProgressBar:
    """A tqdm bar on stderr while it is entered, with the latest figures.

    total_steps (int): Number of steps of the whole training.
    steps_per_epoch (int): Number of steps of an epoch.
    first_step (int): Number of steps done by earlier runs, which do not count for the
        remaining time.
    show (bool): If False, nothing is printed.
    """

    def __init__(
        self, total_steps: int, steps_per_epoch: int, first_step: int, show: bool
    ) -> None:
        self.total_steps = total_steps
        self.steps_per_epoch = steps_per_epoch
        self.first_step = self.step = first_step
        self.show = show
        # In the order in which a narrow terminal shows them.
        self._figures = {"loss": "", "held out": "", "both": "", "speed": ""}

    def __enter__(self) -> "ProgressBar":
        self._stream = sys.stderr
        self._terminal = self._stream.isatty()
        interval = 0.2 if self._terminal else _SECONDS_BETWEEN_LINES
        self.tqdm = tqdm(
            total=self.total_steps,
            initial=self.first_step,
            desc=self._epoch(),
            disable=not self.show,
            file=self._stream if self._terminal else _Lines(self._stream),
            dynamic_ncols=self._terminal,
            mininterval=interval,
            # By default tqdm's monitor would print a line every ten seconds.
            maxinterval=max(interval, 10.0),
            bar_format=_BAR,
        )
        return self

    def __exit__(self, *error: object) -> None:
        self.tqdm.close()

    def advance(self, n_steps: int) -> None:
        self.step += n_steps
        self.tqdm.set_description_str(self._epoch(), refresh=False)
        self.tqdm.update(n_steps)

    def show_loss(self, record: TrainRecord, sampled: bool) -> None:
        loss = f"loss {record.loss:.3f}"
        if sampled:
            loss = f"sampled {loss}"
        else:
            loss += f", perplexity {_number(_exp(record.loss))}"
        if record.teacher_loss is not None:
            loss += f", teacher loss {record.teacher_loss:.3f}"
        forward, backward = record.forward_loss, record.backward_loss
        self._update(
            {
                "loss": loss,
                "both": f"forward {forward:.3f}, backward {backward:.3f}",
                "speed": f"{record.words_per_second:,.0f} words/s",
            }
        )

    def show_evaluation(self, record: DevRecord) -> None:
        perplexity = f"held-out perplexity {_number(record.perplexity)}"
        best = ", the best so far" if record.best else ""
        self.print(
            f"step {record.step:,}: {perplexity} "
            f"(forward {_number(record.forward_perplexity)}, backward "
            f"{_number(record.backward_perplexity)}), {record.oov_rate:.2%} of "
            f"{record.n_words:,} words unknown{best}"
        )
        self._update({"held out": perplexity})

    def print(self, message: str) -> None:
        """Print a line above the bar."""
        if self.show and self._terminal:
            tqdm.write(message, file=self._stream)
        elif self.show:
            self._stream.write(message + "\n")
            self._stream.flush()

    def _update(self, figures: Dict[str, str]) -> None:
        self._figures.update(figures)
        line = ", ".join(figure for figure in self._figures.values() if figure)
        self.tqdm.set_postfix_str(line, refresh=False)
        if self._terminal:
            self.tqdm.refresh()

    def _epoch(self) -> str:
        return f"epoch {self.step / max(self.steps_per_epoch, 1):.2f}"


class _Lines:
    """A stream that prints each state of the bar as a line, for files and pipes."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.encoding = getattr(stream, "encoding", None)

    def write(self, text: str) -> None:
        text = text.strip()
        if text:
            self.stream.write(text + "\n")

    def flush(self) -> None:
        self.stream.flush()


def _exp(value: float) -> float:
    return math.inf if value > 700.0 else math.exp(value)


def _number(value: float) -> str:
    """Format with at least three digits, and no more than needed."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.1f}"
