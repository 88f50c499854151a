"""What a pretraining run shows while it runs, and the log that it leaves behind."""

import json
import math
import sys
from pathlib import Path
from types import TracebackType
from typing import (
    Any,
    BinaryIO,
    Dict,
    List,
    NamedTuple,
    Optional,
    TextIO,
    Tuple,
    Type,
    Union,
)

from tqdm import tqdm  # type: ignore[import-untyped]

from ...files import write_bytes

LOG = "log.jsonl"

TRAIN, DEV, MESSAGE, RESUME = "train", "dev", "message", "resume"
"""The types of the log's lines."""

NOT_FINITE = "not_finite"
"""JSON has neither NaN nor infinity: such a field is null, and its name stands under
this key with what it was, as in {"loss": null, "not_finite": {"loss": "nan"}}."""

_BAR = (
    "{desc} {percentage:3.0f}%|{bar:6}| {n_fmt}/{total_fmt} "
    "[{elapsed}<{remaining}{postfix}]"
)
_SECONDS_BETWEEN_LINES = 30.0
"""Where nothing can be overwritten: in a file, in a pipe."""


class TrainRecord(NamedTuple):
    """Some training steps, up to `step`.

    step: steps done. epoch: epochs done, with a fraction: 1.25.
    loss: mean of both directions, nats a word; of a sampled softmax, the sampled loss.
    forward_loss, backward_loss: of one direction, nats a word.
    learn_rate: of the last step. grad_norm: before clipping.
    words_per_second: since the last record. words: seen in all.
    seconds: of training in this output folder, over all its runs.
    """

    step: int
    epoch: float
    loss: float
    forward_loss: float
    backward_loss: float
    learn_rate: float
    grad_norm: float
    words_per_second: float
    words: int
    seconds: float


class DevRecord(NamedTuple):
    """An evaluation on held-out text, with the full softmax, after `step` steps.

    epoch, seconds: as in `TrainRecord`.
    forward_perplexity, backward_perplexity: of one direction, a word.
    perplexity: exp of the mean of both directions' nats a word.
    oov_rate: share of the text's words that the output layer does not know, in [0, 1].
    n_words: of the held-out text. best: the lowest perplexity so far.
    """

    step: int
    epoch: float
    forward_perplexity: float
    backward_perplexity: float
    perplexity: float
    oov_rate: float
    n_words: int
    seconds: float
    best: bool


class Reporter:
    """A progress bar on stderr, and OUTPUT/log.jsonl: one JSON object a line, each with
    its "type", all flushed at once.

    * "train" and "dev": the fields of the records; "train" also has "sampled".
    * "message": "step" and "message".
    * "resume": "step", from which a run went on.

    On entering, the log becomes that of one uninterrupted run: records after first_step
    go, for those steps are about to be done again, and so does a last line that was cut
    short. With first_step 0 all records go. Messages and the other lines stay, byte for
    byte. The checkpoint of a step must be written after the step's records, else they
    come twice or never.

    output: folder of the run.
    total_steps: of the whole training.
    steps_per_epoch: for the share of epochs done.
    first_step: steps done by earlier runs.
    sampled: the training loss is that of a sampled softmax: it is called so, and has no
        perplexity.
    show: False: nothing on stderr, the log alone.

    Raises ValueError on entering for a log that holds anything but such lines.
    """

    def __init__(
        self,
        output: Path,
        *,
        total_steps: int,
        steps_per_epoch: int,
        first_step: int,
        sampled: bool,
        show: bool,
    ) -> None:
        self.path = Path(output) / LOG
        self.total_steps = total_steps
        self.steps_per_epoch = steps_per_epoch
        self.first_step = first_step
        self.sampled = sampled
        self.show = show
        self.step = first_step
        # The bar's parts, in the order in which a narrow terminal keeps them.
        self._parts = {"loss": "", "held out": "", "both": "", "speed": ""}

    def __enter__(self) -> "Reporter":
        self.path.parent.mkdir(parents=True, exist_ok=True)
        _rewind(self.path, self.first_step)
        self._file: BinaryIO = self.path.open("ab")
        self._stream = sys.stderr
        self._terminal = self._stream.isatty()
        self._bar = self._make_bar()
        if self.first_step:
            self._write(RESUME, {"step": self.first_step})
        return self

    def __exit__(
        self,
        error_type: Optional[Type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self._bar.close()
        self._file.close()

    def advance(self, n_steps: int = 1) -> None:
        """That many more steps are done."""
        self.step += n_steps
        self._bar.set_description_str(self._describe(), refresh=False)
        self._bar.update(n_steps)

    def train(self, record: TrainRecord) -> None:
        self._write(TRAIN, {**record._asdict(), "sampled": self.sampled})
        name = "sampled loss" if self.sampled else "loss"
        loss = f"{name} {record.loss:.3f}"
        if not self.sampled:
            loss += f", perplexity {_number(_exp(record.loss))}"
        self._parts["loss"] = loss
        forward, backward = record.forward_loss, record.backward_loss
        self._parts["both"] = f"forward {forward:.3f}, backward {backward:.3f}"
        self._parts["speed"] = f"{record.words_per_second:,.0f} words/s"
        self._refresh()

    def dev(self, record: DevRecord) -> None:
        self._write(DEV, record._asdict())
        self._parts["held out"] = f"held-out perplexity {_number(record.perplexity)}"
        best = ", the best so far" if record.best else ""
        self._print(
            f"step {record.step:,}: held-out perplexity {_number(record.perplexity)} "
            f"(forward {_number(record.forward_perplexity)}, backward "
            f"{_number(record.backward_perplexity)}), {record.oov_rate:.2%} of "
            f"{record.n_words:,} words unknown{best}"
        )
        self._refresh()

    def say(self, message: str) -> None:
        """A line above the bar, and one in the log."""
        self._write(MESSAGE, {"step": self.step, "message": message})
        self._print(message)

    def _write(self, kind: str, fields: Dict[str, Any]) -> None:
        try:
            self._file.write(_to_line({"type": kind, **fields}))
            self._file.flush()
        except OSError as error:
            # A full disk ends no training; what the line says stands on stderr.
            self._print(f"{self.path}: not written ({error}): {fields}")

    def _print(self, message: str) -> None:
        if not self.show:
            return
        if self._terminal:
            tqdm.write(message, file=self._stream)
        else:
            self._stream.write(message + "\n")
            self._stream.flush()

    def _describe(self) -> str:
        return f"epoch {self.step / max(self.steps_per_epoch, 1):.2f}"

    def _refresh(self) -> None:
        shown = ", ".join(part for part in self._parts.values() if part)
        self._bar.set_postfix_str(shown, refresh=False)
        if self._terminal:
            self._bar.refresh()

    def _make_bar(self) -> Any:
        slow = not self._terminal
        interval = _SECONDS_BETWEEN_LINES if slow else 0.2
        return tqdm(
            total=self.total_steps,
            initial=self.first_step,
            desc=self._describe(),
            disable=not self.show,
            file=_Lines(self._stream) if slow else self._stream,
            dynamic_ncols=not slow,
            mininterval=interval,
            # tqdm's monitor would else write a line each ten seconds.
            maxinterval=max(interval, 10.0),
            bar_format=_BAR,
        )


def read_log(path: Union[str, Path]) -> List[Dict[str, Any]]:
    """The lines of a log, in their order, NaN and infinities put back. A last line that
    is cut short is left out, so a log can be read at any moment of a run.

    Raises ValueError for any other line that is not a JSON object with a "type".
    """
    entries = []
    for _, entry in _read_lines(Path(path)):
        for key, value in entry.pop(NOT_FINITE, {}).items():
            entry[key] = float(value)
        entries.append(entry)
    return entries


class _Lines:
    """A stream in which each state of the bar is a line of its own: a file keeps what a
    terminal overwrites."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.encoding = getattr(stream, "encoding", None)

    def write(self, text: str) -> None:
        text = text.strip()
        if text:
            self.stream.write(text + "\n")

    def flush(self) -> None:
        self.stream.flush()


def _to_line(entry: Dict[str, Any]) -> bytes:
    plain: Dict[str, Any] = {}
    not_finite: Dict[str, str] = {}
    for key, value in entry.items():
        value = value.item() if hasattr(value, "item") else value
        if isinstance(value, float) and not math.isfinite(value):
            not_finite[key] = str(value)
            value = None
        plain[key] = value
    if not_finite:
        plain[NOT_FINITE] = not_finite
    text = json.dumps(plain, ensure_ascii=False, allow_nan=False)
    # What came from a file name may hold bytes that are no text.
    return text.encode("utf8", errors="backslashreplace") + b"\n"


def _read_lines(path: Path) -> List[Tuple[bytes, Dict[str, Any]]]:
    """Each line as it stands and as what it means."""
    *lines, unfinished = path.read_bytes().split(b"\n")
    result = []
    for number, line in enumerate(lines, 1):
        entry = _parse(line)
        if entry is None:
            found = line[:60].decode("utf8", errors="replace")
            raise ValueError(
                f"{path}, line {number}: expected a JSON object with a type, found "
                f"{found!r}. Remove that line, or move the file away."
            )
        result.append((line, entry))
    # It may lack no more than its end.
    entry = _parse(unfinished)
    if entry is not None:
        result.append((unfinished, entry))
    return result


def _parse(line: bytes) -> Optional[Dict[str, Any]]:
    try:
        entry = json.loads(line.decode("utf8"))
    except ValueError:
        return None
    if not isinstance(entry, dict) or "type" not in entry:
        return None
    is_record = entry["type"] in (TRAIN, DEV)
    return None if is_record and not isinstance(entry.get("step"), int) else entry


def _rewind(path: Path, step: int) -> None:
    if not path.is_file():
        return
    kept = [
        line
        for line, entry in _read_lines(path)
        if entry["type"] not in (TRAIN, DEV) or (step and entry["step"] <= step)
    ]
    data = b"".join(line + b"\n" for line in kept)
    if data != path.read_bytes():
        write_bytes(path, data)


def _exp(value: float) -> float:
    return math.inf if value > 700.0 else math.exp(value)


def _number(value: float) -> str:
    """Three or more digits, no needless ones."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.1f}"
