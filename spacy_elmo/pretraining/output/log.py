"""log.jsonl: the training records, evaluations and messages of a run."""

import json
import math
from pathlib import Path
from typing import (
    Any,
    BinaryIO,
    Dict,
    Iterator,
    List,
    NamedTuple,
    Optional,
    Tuple,
    Union,
)

from ...files import explain_write_errors, write_bytes

LOG = "log.jsonl"
TRAIN, DEV, MESSAGE, RESUME = "train", "dev", "message", "resume"
"""Types of the lines."""

NOT_FINITE = "not_finite"
"""JSON has neither NaN nor infinity. Such a field is null, and its value is a string
under this key: {"loss": null, "not_finite": {"loss": "nan"}}."""


class TrainRecord(NamedTuple):
    """The training steps since the last record.

    step (int): Number of steps done.
    epoch (float): Number of epochs done, e.g. 1.25.
    loss (float): Mean loss of both directions, in nats per word. With a sampled
        softmax, it is the sampled loss.
    forward_loss (float): Mean loss of the forward LM, in nats per word.
    backward_loss (float): Mean loss of the backward LM, in nats per word.
    learn_rate (float): Learning rate of the last step.
    grad_norm (float): Norm of the last step's gradient before clipping.
    words_per_second (float): Speed since the last record.
    words (int): Number of words seen so far.
    seconds (float): Training time over all runs in this output folder.
    ignored_steps (int): Number of steps whose gradients had exploded and were ignored.
    teacher_loss (Optional[float]): Mean distance between the layers and the teacher's.
        None, and not in the log, without a teacher.
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
    ignored_steps: int = 0
    teacher_loss: Optional[float] = None


class DevRecord(NamedTuple):
    """An evaluation on the held-out text, with the full softmax.

    step (int): Number of steps done.
    epoch (float): Number of epochs done.
    forward_perplexity (float): Perplexity per word of the forward LM.
    backward_perplexity (float): Perplexity per word of the backward LM.
    perplexity (float): Exponential of the mean loss of both directions.
    oov_rate (float): Fraction of the words that are not in the output vocabulary.
    n_words (int): Number of words of the held-out text.
    seconds (float): Training time over all runs in this output folder.
    best (bool): Whether this is the lowest perplexity so far.
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


class Log:
    """Appends lines to a log, each a JSON object, and flushes them.

    * "train" and "dev": the fields of a record. "train" also has "sampled".
    * "message": "step" and "message".
    * "resume": "step", at which a run was resumed.

    Opening a log makes it equal to the log of an uninterrupted run: records after
    `first_step` are removed, because their steps are about to be repeated, and so is a
    truncated last line. If `first_step` is 0, all records are removed. Other lines are
    kept, byte for byte. The records of a step must be written before its checkpoint;
    otherwise they would be repeated or missing.

    path (Path): The file; its folder is created if needed.
    first_step (int): Number of steps done by earlier runs.
    RAISES: ValueError if the file holds other lines.
    """

    def __init__(self, path: Path, first_step: int) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        _rewind(path, first_step)
        self._file: BinaryIO = path.open("ab")
        if first_step:
            self.write(RESUME, {"step": first_step})

    def write(self, kind: str, fields: Dict[str, Any]) -> None:
        """Append a line.

        kind (str): Its type.
        RAISES: OSError if the disk is full.
        """
        with explain_write_errors(self.path):
            self._file.write(_to_line({"type": kind, **fields}))
            self._file.flush()

    def close(self) -> None:
        self._file.close()


def read_log(path: Union[str, Path]) -> List[Dict[str, Any]]:
    """Read a log, which may still be growing: a truncated last line is skipped.

    RETURNS (List[Dict[str, Any]]): The lines in order, with NaN and infinity restored.
    RAISES: ValueError if any other line is not a JSON object with a "type".
    """
    entries = []
    for _, entry in _read_lines(Path(path)):
        for key, value in entry.pop(NOT_FINITE, {}).items():
            entry[key] = float(value)
        entries.append(entry)
    return entries


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
    # Messages may contain file names that are not valid UTF-8.
    return text.encode("utf8", errors="backslashreplace") + b"\n"


def _read_lines(path: Path) -> Iterator[Tuple[bytes, Dict[str, Any]]]:
    """Each line, as it is in the file and parsed."""
    *lines, last = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines, 1):
        entry = _parse(line)
        if entry is None:
            start = line[:60].decode("utf8", errors="replace")
            raise ValueError(
                f"{path}, line {number}: expected a JSON object with a type, found "
                f"{start!r}. Remove that line, or move the file away."
            )
        yield line, entry
    # The last line may lack nothing but its line end.
    entry = _parse(last)
    if entry is not None:
        yield last, entry


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
    lines = [
        line + b"\n"
        for line, entry in _read_lines(path)
        if entry["type"] not in (TRAIN, DEV) or (step and entry["step"] <= step)
    ]
    data = b"".join(lines)
    if data != path.read_bytes():
        write_bytes(path, data)
