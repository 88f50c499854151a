"""All that a run tells: progress bar, log, a spaCy logger if one is configured, the
curves at the end. Only the first process tells anything."""

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Optional, Type

from ..distributed import Group
from ..settings import PretrainSettings
from .curves import plot_curves
from .reporter import LOG, DevRecord, Reporter, TrainRecord
from .spacy_loggers import make_logger


class Records:
    """A context manager; the arguments are `Reporter`'s."""

    def __init__(
        self,
        output: Path,
        group: Group,
        settings: PretrainSettings,
        *,
        total_steps: int,
        steps_per_epoch: int,
        first_step: int,
        show: bool,
    ) -> None:
        self.output = output
        self._stack = ExitStack()
        self._reporter: Optional[Reporter] = None
        self._logger: Any = None
        self._settings = settings
        if group.is_first:
            self._reporter = Reporter(
                output,
                total_steps=total_steps,
                steps_per_epoch=steps_per_epoch,
                first_step=first_step,
                sampled=settings.softmax.type == "sampled",
                show=show,
            )

    def __enter__(self) -> "Records":
        config = self._settings.training.logger
        if self._reporter is not None:
            if config is not None:
                # First: a name that is wrong must leave nothing open.
                self._logger = make_logger(
                    config, self._settings.to_dict(), self.output
                )
                self._stack.callback(self._logger.close)
            self._stack.enter_context(self._reporter)
        return self

    def __exit__(
        self,
        error_type: Optional[Type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self._stack.close()

    def advance(self) -> None:
        if self._reporter is not None:
            self._reporter.advance()

    def train(self, record: TrainRecord) -> None:
        for target in (self._reporter, self._logger):
            if target is not None:
                target.train(record)

    def dev(self, record: DevRecord) -> None:
        for target in (self._reporter, self._logger):
            if target is not None:
                target.dev(record)

    def say(self, message: str) -> None:
        if self._reporter is not None:
            self._reporter.say(message)

    def finish(self) -> None:
        """Draw the curves."""
        if self._reporter is None:
            return
        try:
            plot_curves(self.output / LOG, self.output / "curves.png")
        except (ImportError, OSError, ValueError) as error:
            self.say(f"No curves.png: {error}")
