"""The log is that of one uninterrupted run wherever a run was cut, and the bar says
what is what."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator, List

import numpy as np
import pytest

from spacy_elmo.pretraining.output import reporter as reporting
from spacy_elmo.pretraining.output.reporter import (
    DevRecord,
    Reporter,
    TrainRecord,
    read_log,
)


def train_record(step: int, **changes: Any) -> TrainRecord:
    record = TrainRecord(
        step=step,
        epoch=step / 8,
        loss=5.0 - step / 100,
        forward_loss=5.1 - step / 100,
        backward_loss=4.9 - step / 100,
        learn_rate=1e-3,
        grad_norm=2.5,
        words_per_second=12345.6,
        words=step * 1000,
        seconds=step * 0.5,
    )
    return record._replace(**changes)


def dev_record(step: int, **changes: Any) -> DevRecord:
    record = DevRecord(
        step=step,
        epoch=step / 8,
        forward_perplexity=81.0,
        backward_perplexity=49.0,
        perplexity=63.0,
        oov_rate=0.0215,
        n_words=20000,
        seconds=step * 0.5,
        best=True,
    )
    return record._replace(**changes)


def reporter(output: Path, first_step: int = 0, **changes: Any) -> Reporter:
    arguments = {
        "total_steps": 20,
        "steps_per_epoch": 8,
        "first_step": first_step,
        "sampled": False,
        "show": False,
    }
    return Reporter(output, **{**arguments, **changes})


def run(output: Path, first_step: int = 0, last_step: int = 20) -> None:
    """Training with records every second step, an evaluation every fourth."""
    with reporter(output, first_step) as report:
        for step in range(first_step + 1, last_step + 1):
            report.advance()
            if step % 2 == 0:
                report.train(train_record(step))
            if step % 4 == 0:
                report.dev(dev_record(step))


def records(log: Path) -> List[bytes]:
    lines = log.read_bytes().splitlines(keepends=True)
    return [line for line in lines if json.loads(line)["type"] in ("train", "dev")]


def test_lines_are_the_records(tmp_path: Path) -> None:
    train, dev = train_record(1), dev_record(2, best=False)
    with reporter(tmp_path / "new" / "folder", sampled=True) as report:
        report.advance()
        report.train(train)
        report.say("Wörter: ¼")
        report.advance(2)
        report.dev(dev)
        # Flushed already, while the run goes on.
        read = read_log(tmp_path / "new" / "folder" / "log.jsonl")
    assert read == [
        {"type": "train", **train._asdict(), "sampled": True},
        {"type": "message", "step": 1, "message": "Wörter: ¼"},
        {"type": "dev", **dev._asdict()},
    ]
    assert read == read_log(tmp_path / "new" / "folder" / "log.jsonl")


def test_log_of_a_resumed_run_is_that_of_one_run(tmp_path: Path) -> None:
    run(tmp_path / "one")
    run(tmp_path / "two", last_step=15)  # killed some steps after the checkpoint
    before = (tmp_path / "two" / "log.jsonl").read_bytes()
    run(tmp_path / "two", first_step=8)
    log = tmp_path / "two" / "log.jsonl"
    assert records(log) == records(tmp_path / "one" / "log.jsonl")
    # What the first run wrote up to there is as it was, byte for byte.
    kept, _, _ = log.read_bytes().partition(b'{"type": "resume", "step": 8}\n')
    assert kept == before[: len(kept)]
    assert [json.loads(line)["step"] for line in kept.splitlines()] == [
        2,
        4,
        4,
        6,
        8,
        8,
    ]


def test_log_can_be_cut_at_any_byte(tmp_path: Path) -> None:
    run(tmp_path / "one")
    whole = records(tmp_path / "one" / "log.jsonl")
    log = tmp_path / "two" / "log.jsonl"
    log.parent.mkdir()
    with reporter(log.parent) as report:
        report.say("wörd")
    message = log.read_bytes()
    data = message + b"".join(whole[:3])  # steps 2, 4, 4
    for cut in range(len(data) + 1):
        log.write_bytes(data[:cut])
        n_whole = data[:cut].count(b"\n")
        if data[cut : cut + 1] == b"\n":
            n_whole += 1  # a whole line but for its end
        n_records = max(n_whole - 1, 0)
        assert (
            read_log(log) == [json.loads(line) for line in data.splitlines()][:n_whole]
        )
        with reporter(log.parent, first_step=2) as report:
            report.train(train_record(4))
        # Of the evaluation and the training step after step 2 nothing stays.
        kept = whole[: min(n_records, 1)]
        assert records(log) == [*kept, whole[1]], cut
        assert log.read_bytes().startswith(message * (n_whole > 0))


def test_a_new_run_keeps_messages_only(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    with reporter(tmp_path) as report:
        report.dev(dev_record(0))
        report.say("an error")
        report.train(train_record(1))
    with reporter(tmp_path, first_step=1):
        pass
    with reporter(tmp_path) as report:
        report.train(train_record(1))
    kinds = [entry["type"] for entry in read_log(log)]
    assert kinds == ["message", "resume", "train"]


def test_evaluation_before_the_first_step_survives(tmp_path: Path) -> None:
    with reporter(tmp_path) as report:
        report.dev(dev_record(0))
        report.train(train_record(1))
        report.train(train_record(2))
    with reporter(tmp_path, first_step=1):
        pass
    entries = read_log(tmp_path / "log.jsonl")
    assert [(entry["type"], entry["step"]) for entry in entries] == [
        ("dev", 0),
        ("train", 1),
        ("resume", 1),
    ]


def test_an_interrupted_clean_up_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path)
    before = (tmp_path / "log.jsonl").read_bytes()

    def fail(*_: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("spacy_elmo.files.os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        reporter(tmp_path, first_step=4).__enter__()
    assert (tmp_path / "log.jsonl").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["log.jsonl"]


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
def test_other_lines_are_refused(tmp_path: Path, line: bytes) -> None:
    log = tmp_path / "log.jsonl"
    with reporter(tmp_path) as report:
        report.train(train_record(1))
    log.write_bytes(log.read_bytes() + line + b"\n")
    before = log.read_bytes()
    with pytest.raises(ValueError, match=r"line 2: expected .*, found"):
        read_log(log)
    with pytest.raises(ValueError, match=r"line 2: expected .*, found"):
        reporter(tmp_path, first_step=1).__enter__()
    assert log.read_bytes() == before


def test_no_nan_in_json(tmp_path: Path) -> None:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    with reporter(tmp_path) as report:
        report.train(train_record(1, loss=math.nan, grad_norm=np.float32("-inf")))
        report.dev(dev_record(1, perplexity=math.inf))
    log = tmp_path / "log.jsonl"
    strict = [
        json.loads(line, parse_constant=refuse)
        for line in log.read_text("utf8").splitlines()
    ]
    assert strict[0]["loss"] is None
    assert strict[0]["not_finite"] == {"loss": "nan", "grad_norm": "-inf"}
    assert strict[1]["not_finite"] == {"perplexity": "inf"}
    train, dev = read_log(log)
    assert math.isnan(train["loss"])
    assert train["grad_norm"] == -math.inf
    assert dev["perplexity"] == math.inf
    assert "not_finite" not in train


def test_numbers_of_numpy_and_torch(tmp_path: Path) -> None:
    import torch

    with reporter(tmp_path) as report:
        report.train(
            train_record(1, loss=torch.tensor(4.5), words=np.int64(7), seconds=2)
        )
        report.dev(dev_record(1, best=np.bool_(True), n_words=torch.tensor(3)))
    train, dev = read_log(tmp_path / "log.jsonl")
    assert (train["loss"], train["words"], train["seconds"]) == (4.5, 7, 2)
    assert dev["best"] is True
    assert dev["n_words"] == 3


def test_messages_with_file_names_that_are_no_text(tmp_path: Path) -> None:
    with reporter(tmp_path) as report:
        report.say("corpus/\udcff.txt\nis no UTF-8")
    (entry,) = read_log(tmp_path / "log.jsonl")
    assert entry["message"] == "corpus/\udcff.txt\nis no UTF-8"


class Terminal:
    """What a terminal is to tqdm."""

    encoding = "utf8"

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> None:
        self.text += text

    def flush(self) -> None:
        pass

    def isatty(self) -> bool:
        return True


@contextmanager
def terminal() -> Iterator[Terminal]:
    """stderr, for the block: pytest puts its own there after the fixtures."""
    stream, sys.stderr = sys.stderr, Terminal()  # type: ignore[assignment]
    try:
        yield sys.stderr  # type: ignore[misc]
    finally:
        sys.stderr = stream


@pytest.mark.parametrize("sampled", [False, True])
def test_bar_on_a_terminal(tmp_path: Path, sampled: bool) -> None:
    with (
        terminal() as screen,
        reporter(tmp_path, first_step=10, sampled=sampled, show=True) as report,
    ):
        report.train(train_record(12, loss=math.log(80.0)))
        report.dev(dev_record(12))
        report.say("a message")
        report.advance(2)
    shown = screen.text.replace("\r", "\n")
    last = [line for line in shown.split("\n") if line.strip()][-1]
    loss = "loss 4.382, "
    for part in (
        "epoch 1.50",
        "60%",
        "12/20",
        loss,
        "forward 4.980, backward 4.780",
        "12,346 words/s",
    ):
        assert part in last, part
    assert "held-out perplexity 63.0" in last
    # A sampled loss has no perplexity, and is never called a loss alone.
    assert (f"sampled {loss}" in last) is sampled
    assert (", perplexity 80.0" in last) is not sampled
    evaluation = (
        "step 12: held-out perplexity 63.0 (forward 81.0, backward 49.0), 2.15% of "
        "20,000 words unknown, the best so far"
    )
    lines = [line.strip() for line in shown.split("\n")]
    assert evaluation in lines
    assert "a message" in lines


def test_time_left_counts_this_run_only(tmp_path: Path) -> None:
    with terminal() as screen, reporter(tmp_path, 10, show=True) as report:
        report._bar.start_t -= 100.0
        report.advance(5)
        report._bar.refresh()
    # 5 steps in 100 s: 5 more take as long; by all 15 it would be 33 s.
    assert "<01:40" in screen.text


def test_without_a_terminal_lines_are_few_and_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with reporter(tmp_path, show=True, total_steps=2000) as report:
        for step in range(1, 2001):
            report.advance()
            report.train(train_record(step))
        report.say("a message")
    lines = capsys.readouterr().err.split("\n")
    assert lines[1] == "a message"
    assert lines[2].startswith("epoch 250.00 100%|")
    assert "loss -15.000" in lines[2]
    assert lines[0].startswith("epoch 0.00   0%|")
    assert lines[3:] == [""]


def test_nothing_is_shown_if_not_wanted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with reporter(tmp_path) as report:
        report.advance()
        report.train(train_record(1))
        report.dev(dev_record(1))
        report.say("a message")
    assert capsys.readouterr() == ("", "")
    assert len(read_log(tmp_path / "log.jsonl")) == 3


def test_losses_that_are_not_finite_are_shown(tmp_path: Path) -> None:
    with terminal() as screen, reporter(tmp_path, show=True) as report:
        report.train(train_record(1, loss=1e4))
        assert "perplexity inf" in screen.text
        report.train(train_record(2, loss=math.nan))
        assert "perplexity nan" in screen.text


def test_log_is_closed_after_an_error(tmp_path: Path) -> None:
    report = reporter(tmp_path)

    def interrupted() -> None:
        with report:
            report.train(train_record(1))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert report._file.closed
    assert len(read_log(tmp_path / "log.jsonl")) == 1


@pytest.mark.parametrize("name", ["reporter", "curves", "spacy_loggers"])
def test_modules_load_without_spacy_and_matplotlib(name: str) -> None:
    code = (
        "import sys\n"
        "for module in ('spacy', 'thinc', 'matplotlib', 'catalogue', 'srsly'):\n"
        "    sys.modules[module] = None\n"
        f"import {reporting.__package__}.{name}\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
