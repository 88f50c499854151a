"""The log of an interrupted and resumed run equals the log of an uninterrupted run."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any, Callable

import numpy as np
import pytest
import torch
from helpers.records import dev_record, train_record

from spacy_elmo.pretraining.output import log as logs
from spacy_elmo.pretraining.output.log import DEV, LOG, MESSAGE, TRAIN, Log, read_log


def write(
    folder: Path, *lines: tuple[str, dict[str, Any]], first_step: int = 0
) -> Path:
    with closing(Log(folder / LOG, first_step)) as log:
        for kind, fields in lines:
            log.write(kind, fields)
    return folder / LOG


def train(step: int, **changes: Any) -> tuple[str, dict[str, Any]]:
    return TRAIN, train_record(step, **changes)._asdict()


def dev(step: int, **changes: Any) -> tuple[str, dict[str, Any]]:
    return DEV, dev_record(step, **changes)._asdict()


def message(text: str) -> tuple[str, dict[str, Any]]:
    return MESSAGE, {"step": 0, "message": text}


def write_run(folder: Path, first_step: int = 0, last_step: int = 20) -> Path:
    """A training record every second step, an evaluation every fourth."""
    lines = []
    for step in range(first_step + 1, last_step + 1):
        if step % 2 == 0:
            lines.append(train(step))
        if step % 4 == 0:
            lines.append(dev(step))
    return write(folder, *lines, first_step=first_step)


def records(log: Path) -> list[bytes]:
    lines = log.read_bytes().splitlines(keepends=True)
    return [line for line in lines if json.loads(line)["type"] in (TRAIN, DEV)]


def kinds_and_steps(log: Path) -> list[tuple[str, int]]:
    return [(entry["type"], entry["step"]) for entry in read_log(log)]


def test_the_log_of_a_resumed_run_is_that_of_one_run(tmp_path: Path) -> None:
    expected = write_run(tmp_path / "one")
    log = write_run(tmp_path / "two", last_step=15)  # killed after its checkpoint
    before = log.read_bytes()
    write_run(tmp_path / "two", first_step=8)
    assert records(log) == records(expected)
    # The lines before the checkpoint are unchanged, byte for byte.
    start, _, _ = log.read_bytes().partition(b'{"type": "resume", "step": 8}\n')
    assert before.startswith(start)
    assert [json.loads(line)["step"] for line in start.splitlines()] == [
        2,
        4,
        4,
        6,
        8,
        8,
    ]


def test_a_log_truncated_at_any_byte(tmp_path: Path) -> None:
    whole = records(write_run(tmp_path / "one"))
    log = write(tmp_path / "two", message("wörd"))
    first = log.read_bytes()
    data = first + b"".join(whole[:3])  # steps 2, 4, 4
    for size in range(0, len(data) + 1, 3):
        log.write_bytes(data[:size])
        # A last line that lacks only its line end counts.
        n_lines = (data[:size] + data[size : size + 1]).count(b"\n")
        lines = [json.loads(line) for line in data.splitlines()]
        assert read_log(log) == lines[:n_lines]
        write(log.parent, train(4), first_step=2)
        # Records after step 2 are removed.
        assert records(log) == [*whole[: min(max(n_lines - 1, 0), 1)], whole[1]], size
        assert log.read_bytes().startswith(first * (n_lines > 0))


def test_a_new_run_keeps_only_messages(tmp_path: Path) -> None:
    write(tmp_path, dev(0), message("an error"), train(1))
    write(tmp_path, first_step=1)
    log = write(tmp_path, train(1))
    assert [kind for kind, _ in kinds_and_steps(log)] == ["message", "resume", "train"]


def test_an_evaluation_before_the_first_step_is_kept(tmp_path: Path) -> None:
    write(tmp_path, dev(0), train(1), train(2))
    log = write(tmp_path, first_step=1)
    assert kinds_and_steps(log) == [("dev", 0), ("train", 1), ("resume", 1)]


def test_an_interrupted_rewind_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = write_run(tmp_path)
    before = log.read_bytes()

    def fail(*_: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("spacy_elmo.files.os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write(tmp_path, first_step=4)
    assert log.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [LOG]


@pytest.mark.parametrize(
    "line",
    [
        b"loss 4.0",
        b'{"type": "train", "st',
        b"",
        b"[1]",
        b'{"step": 1}',
        b'{"type": "dev"}',
        b"\xff",
    ],
)
def test_foreign_lines_are_refused(tmp_path: Path, line: bytes) -> None:
    log = write(tmp_path, train(1))
    log.write_bytes(log.read_bytes() + line + b"\n")
    before = log.read_bytes()
    readers: list[Callable[[], object]] = [lambda: read_log(log), lambda: Log(log, 1)]
    for read in readers:
        with pytest.raises(ValueError, match=r"line 2: expected .*, found"):
            read()
    assert log.read_bytes() == before


def test_nan_and_infinity_in_strict_json(tmp_path: Path) -> None:
    log = write(
        tmp_path,
        train(1, loss=math.nan, grad_norm=np.float32("-inf")),
        dev(1, perplexity=math.inf),
    )

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    lines = log.read_text("utf8").splitlines()
    strict = [json.loads(line, parse_constant=refuse) for line in lines]
    assert strict[0]["loss"] is None
    assert strict[0]["not_finite"] == {"loss": "nan", "grad_norm": "-inf"}
    assert strict[1]["not_finite"] == {"perplexity": "inf"}
    first, second = read_log(log)
    assert math.isnan(first["loss"])
    assert first["grad_norm"] == -math.inf
    assert second["perplexity"] == math.inf
    assert "not_finite" not in first


def test_numpy_and_torch_numbers(tmp_path: Path) -> None:
    log = write(
        tmp_path,
        train(1, loss=torch.tensor(4.5), words=np.int64(7), seconds=2),
        dev(1, best=np.bool_(True), n_words=torch.tensor(3)),
    )
    first, second = read_log(log)
    assert (first["loss"], first["words"], first["seconds"]) == (4.5, 7, 2)
    assert second["best"] is True
    assert second["n_words"] == 3


def test_file_names_that_are_not_utf8(tmp_path: Path) -> None:
    text = "corpus/\udcff.txt\nis not UTF-8"
    (entry,) = read_log(write(tmp_path, message(text)))
    assert entry["message"] == text


@pytest.mark.parametrize("name", ["log", "reporter", "curves", "spacy_loggers"])
def test_modules_load_without_spacy_and_matplotlib(name: str) -> None:
    code = (
        "import sys\n"
        "for module in ('spacy', 'thinc', 'matplotlib', 'srsly'):\n"
        "    sys.modules[module] = None\n"
        f"import {logs.__package__}.{name}\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
