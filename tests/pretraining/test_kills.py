"""Runs as processes that are killed or asked to end, and how they go on."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import pytest
from helpers import kills, runs

SECTIONS: runs.Values = {"training": {"max_steps": 14, "dropout": 0.2}}
LONG: runs.Values = {
    "training": {"max_steps": 400, "eval_frequency": 150, "checkpoint_frequency": 20}
}
"""A second or more."""


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runs.make_texts(tmp_path_factory.mktemp("texts"))


@pytest.fixture(scope="module")
def whole(texts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A long run that nobody has disturbed."""
    return runs.run(texts, tmp_path_factory.mktemp("whole"), **LONG)


@pytest.fixture(scope="module")
def config(texts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "run.cfg"
    return runs.write_config(path, texts, **LONG)


def wait_for_step(
    process: subprocess.Popen[str], output: Path, step: int, timeout: float = 60.0
) -> None:
    """Until the log tells of that many steps."""
    end = time.monotonic() + timeout
    while time.monotonic() < end and process.poll() is None:
        if (output / "log.jsonl").is_file():
            lines = runs.log(output, "train")
            if lines and lines[-1]["step"] >= step:
                return
        time.sleep(0.01)
    raise AssertionError(f"not at step {step}: {runs.finish(process, 5.0)}")


def test_killed_at_any_operation_on_files(texts: Path, tmp_path: Path) -> None:
    """The same run, killed before its first operation, then, resumed, before its second
    one, and so on."""
    whole, killed = runs.run(texts, tmp_path / "whole", **SECTIONS), tmp_path / "killed"
    processes = 0
    for _ in kills.kill_everywhere(lambda: runs.run(texts, killed, **SECTIONS)):
        processes += 1
    assert processes > 20
    runs.assert_same(killed, whole)
    names = {path.name for path in killed.iterdir()}
    assert names == {path.name for path in whole.iterdir()}


@pytest.mark.parametrize("program", [runs.PROGRAM, runs.COMMAND], ids="-".join)
@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)]
)
def test_a_signal_ends_a_process(
    config: Path,
    texts: Path,
    whole: Path,
    tmp_path: Path,
    program: tuple[str, ...],
    number: int,
    status: int,
) -> None:
    output = tmp_path / "out"
    process = runs.start(*program, config, output)
    wait_for_step(process, output, 23)
    process.send_signal(number)
    found, shown = runs.finish(process)
    assert found == status, shown
    assert "Traceback" not in shown
    assert "run it again to go on" in shown
    step = runs.log(output, "train")[-1]["step"]
    assert 23 < step < 400
    assert runs.checkpoints(output)[-1] == step
    assert runs.weights(output / "model-last")
    runs.run(texts, output, **LONG)
    assert [line["step"] for line in runs.log(output, "resume")] == [step]
    runs.assert_same(output, whole)


def test_sigkill(config: Path, whole: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    for step in (30, 90, 150, 290):
        process = runs.start(*runs.PROGRAM, config, output, "--quiet")
        wait_for_step(process, output, step)
        process.kill()
        status, shown = runs.finish(process)
        assert status == -signal.SIGKILL, shown
    assert runs.complete(*runs.PROGRAM, config, output, "--quiet").count("\n") == 1
    assert len(runs.log(output, "resume")) == 4
    runs.assert_same(output, whole)


def test_a_folder_has_one_run_at_a_time(
    config: Path, texts: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    process = runs.start(*runs.PROGRAM, config, output)
    wait_for_step(process, output, 5)
    with pytest.raises(OSError, match="expected a folder that no run is at work in"):
        runs.run(texts, output, **LONG)
    process.kill()
    runs.finish(process)
    runs.run(texts, output, **LONG)
