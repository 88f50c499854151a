"""The reporter writes the log and shows progress on stderr."""

from __future__ import annotations

import errno
import math
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator

import pytest
from helpers.records import dev_record, train_record

from spacy_elmo.pretraining.output.log import Log, read_log
from spacy_elmo.pretraining.output.reporter import Reporter


def make_reporter(
    output: Path, first_step: int = 0, *, sampled: bool = False, **changes: Any
) -> Reporter:
    arguments = {
        "total_steps": 20,
        "steps_per_epoch": 8,
        "first_step": first_step,
        "show": False,
    }
    settings = {"softmax": {"type": "sampled" if sampled else "full"}, "training": {}}
    return Reporter(output, settings, **{**arguments, **changes})


def test_records_and_messages_are_logged(tmp_path: Path) -> None:
    train, dev = train_record(1, teacher_loss=0.5), dev_record(2, best=False)
    log = tmp_path / "new" / "folder" / "log.jsonl"
    with make_reporter(log.parent, sampled=True) as reporter:
        reporter.advance()
        reporter.train(train)
        reporter.say("Wörter: ¼")
        reporter.advance(2)
        reporter.dev(dev)
        # Lines are flushed while the run continues.
        entries = read_log(log)
    assert entries == [
        {"type": "train", **train._asdict(), "sampled": True},
        {"type": "message", "step": 1, "message": "Wörter: ¼"},
        {"type": "dev", **dev._asdict()},
    ]
    assert entries == read_log(log)


def test_ignored_gradients_are_reported(tmp_path: Path) -> None:
    with make_reporter(tmp_path) as reporter:
        reporter.train(train_record(1, ignored_steps=3))
    assert [
        line.get("ignored_steps", line.get("message"))
        for line in read_log(tmp_path / "log.jsonl")
    ] == [3, "Exploded gradients, ignored: 3"]


def test_an_inactive_reporter_writes_nothing(tmp_path: Path) -> None:
    """All processes but the first have one."""
    with make_reporter(tmp_path, active=False, show=True) as reporter:
        reporter.advance()
        reporter.train(train_record(1))
        reporter.dev(dev_record(1))
        reporter.say("a message")
    assert list(tmp_path.iterdir()) == []


class Terminal:
    """Looks like a terminal to tqdm."""

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
    """Replaces stderr for the block; pytest sets its own after the fixtures."""
    stream, sys.stderr = sys.stderr, Terminal()  # type: ignore[assignment]
    try:
        yield sys.stderr  # type: ignore[misc]
    finally:
        sys.stderr = stream


@pytest.mark.parametrize("sampled", [False, True])
def test_the_bar_on_a_terminal(tmp_path: Path, sampled: bool) -> None:
    with (
        terminal() as screen,
        make_reporter(tmp_path, 10, sampled=sampled, show=True) as reporter,
    ):
        reporter.train(train_record(12, loss=math.log(80.0)))
        reporter.dev(dev_record(12))
        reporter.say("a message")
        reporter.advance(2)
    lines = [line.strip() for line in screen.text.replace("\r", "\n").split("\n")]
    bar = [line for line in lines if line][-1]
    for part in (
        "epoch 1.50",
        "60%",
        "12/20",
        "loss 4.382, ",
        "forward 4.980, backward 4.780",
        "12,346 words/s",
        "held-out perplexity 63.0",
    ):
        assert part in bar, part
    # A sampled loss is always called that, and has no perplexity.
    assert ("sampled loss 4.382, " in bar) is sampled
    assert (", perplexity 80.0" in bar) is not sampled
    evaluation = (
        "step 12: held-out perplexity 63.0 (forward 81.0, backward 49.0), 2.15% of "
        "20,000 words unknown, the best so far"
    )
    assert evaluation in lines
    assert "a message" in lines


def test_the_remaining_time_counts_only_this_run(tmp_path: Path) -> None:
    with terminal() as screen, make_reporter(tmp_path, 10, show=True) as reporter:
        bar = reporter._bar.tqdm
        bar.start_t -= 100.0
        reporter.advance(5)
        bar.refresh()
    # 5 steps took 100 s, so 5 more take as long; by all 15 steps it would be 33 s.
    assert "<01:40" in screen.text


def test_without_a_terminal_there_are_few_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with make_reporter(tmp_path, show=True, total_steps=2000) as reporter:
        for step in range(1, 2001):
            reporter.advance()
            reporter.train(train_record(step))
        reporter.say("a message")
    lines = capsys.readouterr().err.split("\n")
    assert lines[0].startswith("epoch 0.00   0%|")
    assert lines[1] == "a message"
    assert lines[2].startswith("epoch 250.00 100%|")
    assert "loss -15.000" in lines[2]
    assert lines[3:] == [""]


def test_losses_that_are_not_finite(tmp_path: Path) -> None:
    with terminal() as screen, make_reporter(tmp_path, show=True) as reporter:
        reporter.train(train_record(1, loss=1e4))
        assert "perplexity inf" in screen.text
        reporter.train(train_record(2, loss=math.nan))
        assert "perplexity nan" in screen.text


def test_lines_that_cannot_be_logged_are_shown(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with make_reporter(tmp_path, show=True) as reporter:
        reporter.train(train_record(1))
        with monkeypatch.context() as patch:
            patch.setattr(Log, "write", fail)
            reporter.say("a message")
        reporter.train(train_record(2))
    printed = capsys.readouterr().err
    assert "log.jsonl: not written (" in printed
    assert "No space left on device" in printed
    assert "'message': 'a message'" in printed
    assert [line["step"] for line in read_log(tmp_path / "log.jsonl")] == [1, 2]


def test_the_log_is_closed_after_an_error(tmp_path: Path) -> None:
    reporter = make_reporter(tmp_path)

    def interrupted() -> None:
        with reporter:
            reporter.train(train_record(1))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with pytest.raises(ValueError, match="closed file"):
        reporter.say("too late")
    assert len(read_log(tmp_path / "log.jsonl")) == 1
