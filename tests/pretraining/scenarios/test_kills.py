"""Processes that are killed or asked to stop, and how their runs resume."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Callable

import pytest
from helpers import kills, runs

from spacy_elmo.lock import lock_folder
from spacy_elmo.pretraining.pretrain import pretrain

SECTIONS: runs.Values = {"training": {"max_steps": 14, "dropout": 0.2}}
LONG: runs.Values = {
    "training": {"max_steps": 300, "eval_frequency": 120, "checkpoint_frequency": 20}
}
"""Takes a second or more."""


@pytest.fixture
def whole(reference: Callable[..., Path]) -> Path:
    """A long, undisturbed run."""
    return reference(**LONG)


@pytest.fixture
def config(texts: Path, tmp_path: Path) -> Path:
    return runs.write_config(tmp_path / "run.cfg", texts, **LONG)


def test_killed_at_every_file_operation(
    texts: Path, tmp_path: Path, reference: Callable[..., Path]
) -> None:
    """Killed before its first file operation, resumed and killed before the second one,
    and so on."""
    whole, killed = reference(**SECTIONS), tmp_path / "killed"
    processes = 0
    for _ in kills.kill_everywhere(lambda: runs.run(texts, killed, **SECTIONS)):
        processes += 1
    assert processes > 20
    runs.assert_same(killed, whole)
    names = {path.name for path in killed.iterdir()}
    assert names == {path.name for path in whole.iterdir()}


@pytest.mark.parametrize(
    ("program", "options", "number", "status"),
    [
        (runs.COMMAND, (), signal.SIGTERM, 143),
        (runs.PROGRAM, ("--quiet",), signal.SIGINT, 130),
    ],
)
def test_a_signal_stops_a_process(
    config: Path,
    texts: Path,
    whole: Path,
    tmp_path: Path,
    program: tuple[str, ...],
    options: tuple[str, ...],
    number: int,
    status: int,
) -> None:
    output = tmp_path / "out"
    process = runs.start(*program, config, output, *options)
    runs.wait_for_step(process, output, 23)
    process.send_signal(number)
    found, printed = runs.finish(process)
    assert found == status, printed
    assert "Traceback" not in printed
    assert printed.count("run the same command again to resume") == 1
    step = runs.log(output, "train")[-1]["step"]
    assert 23 < step < 300
    assert runs.checkpoints(output)[-1] == step
    assert runs.weights(output / "model-last")
    runs.run(texts, output, **LONG)
    assert [line["step"] for line in runs.log(output, "resume")] == [step]
    runs.assert_same(output, whole)


def test_one_run_at_a_time_in_a_folder(
    config: Path, texts: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    process = runs.start(*runs.PROGRAM, config, output)
    runs.wait_for_step(process, output, 5)
    settings = runs.settings(texts)
    with pytest.raises(OSError, match="expected a folder without a run in progress"):
        pretrain(settings, output, show=False)
    process.kill()
    runs.finish(process)
    with lock_folder(output):
        pass  # The lock ends with its process.
