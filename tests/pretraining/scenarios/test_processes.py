"""Several processes with gloo: under torchrun two processes compute what one process
computes with the whole batch, and a run may resume with another number of processes."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from helpers import runs

TORCHRUN = ("-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone")
MODULE = runs.PROGRAM
STEPS: runs.Values = {
    "training": {
        "max_steps": 50,
        "eval_frequency": 25,
        "checkpoint_frequency": 20,
        "batch_size": 4,
    }
}
LONG = runs.merged(STEPS, {"training": {"max_steps": 3000, "eval_frequency": 0}})
pytestmark = pytest.mark.skipif(
    not Path("/proc/self/task").is_dir(), reason="finds processes by Linux's /proc"
)
ADAGRAD: runs.Values = {"optimizer": {"name": "adagrad", "learn_rate": 0.2}}


def start_two(config: Path, output: Path, *options: object) -> subprocess.Popen[str]:
    return runs.start(*TORCHRUN, *MODULE, config, output, *options)


def run_two(folder: Path, texts: Path, output: Path, **sections: Any) -> Path:
    config = runs.write_config(folder / "run.cfg", texts, **sections)
    status, printed = finish(start_two(config, output, "--quiet"))
    assert status == 0, printed
    return output


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    try:
        printed = process.communicate(timeout=180)
    finally:
        kill(process)
    return process.returncode, "".join(printed)


def kill(process: subprocess.Popen[str]) -> None:
    """Kill torchrun and its workers, which would outlive it."""
    workers = children(process.pid)
    process.kill()
    for worker in workers:
        with suppress(ProcessLookupError):
            os.kill(worker, signal.SIGKILL)
    while any(is_running(worker) for worker in workers):
        time.sleep(0.01)
    process.communicate()


def is_running(pid: int) -> bool:
    """A zombie, which nobody has waited for yet, does not count."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf8")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(") ")[2][0] not in "ZX"


def children(pid: int) -> list[int]:
    path = Path(f"/proc/{pid}/task/{pid}/children")
    try:
        return [int(child) for child in path.read_text().split()]
    except FileNotFoundError:
        return []


@pytest.mark.parametrize(
    "sections",
    [
        {},
        pytest.param({"training": ADAGRAD}, marks=pytest.mark.slow),
        pytest.param({"softmax": {"type": "full"}}, marks=pytest.mark.slow),
        pytest.param(
            # Many steps have no word of the last cluster.
            {"softmax": {"type": "adaptive", "cutoffs": [6, 17], "div_value": 2.0}},
            marks=pytest.mark.slow,
        ),
        pytest.param({"training": {"batch_size": 2}}, marks=pytest.mark.slow),
        pytest.param({"training": {"accumulate_gradient": 2}}, marks=pytest.mark.slow),
        pytest.param({"training": {"patience": 1}}, marks=pytest.mark.slow),
        pytest.param({"initialize": {"teacher": "bundled"}}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_two_processes_equal_one(
    texts: Path, tmp_path: Path, sections: runs.Values
) -> None:
    chosen = runs.merged(STEPS, sections)
    alone = runs.run(texts, tmp_path / "alone", **chosen)
    two = run_two(tmp_path, texts, tmp_path / "two", **chosen)
    assert len(runs.losses(two)) == 50
    assert runs.losses(two) == pytest.approx(runs.losses(alone), abs=1e-4)
    runs.assert_close(two, alone, rel=1e-3)
    assert runs.checkpoints(two) == runs.checkpoints(alone)
    found, expected = runs.tensors(two, 50), runs.tensors(alone, 50)
    assert found.keys() == expected.keys()
    assert {n: t.shape for n, t in found.items()} == {
        n: t.shape for n, t in expected.items()
    }


@pytest.mark.slow
def test_two_processes_resume_the_run_of_one(texts: Path, tmp_path: Path) -> None:
    """The state of its lanes is divided between them."""
    alone = runs.run(texts, tmp_path / "alone", **STEPS)
    output = tmp_path / "out"
    runs.stop_at(texts, output, 33, **STEPS)
    run_two(tmp_path, texts, output, **STEPS)
    assert [line["step"] for line in runs.log(output, "resume")] == [25]
    assert runs.losses(output) == pytest.approx(runs.losses(alone), abs=1e-4)
    runs.assert_close(output, alone, rel=1e-3)


@pytest.mark.slow
def test_one_process_resumes_the_killed_run_of_two(texts: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    config = runs.write_config(tmp_path / "run.cfg", texts, **LONG)
    process = start_two(config, output)
    runs.wait_for_step(process, output, 23)
    kill(process)
    step = runs.checkpoints(output)[-1]
    assert_resumes_as_one(texts, tmp_path, output, step)


def assert_resumes_as_one(texts: Path, folder: Path, output: Path, step: int) -> None:
    """Resumed by one process, the run has the losses of a run by one process."""
    last = runs.merged(LONG, {"training": {"max_steps": step + 10}})
    alone = runs.run(texts, folder / "alone", **last)
    runs.run(texts, output, **last)
    assert [line["step"] for line in runs.log(output, "resume")] == [step]
    assert len(runs.losses(output)) == step + 10
    assert runs.losses(output) == pytest.approx(runs.losses(alone), abs=1e-4)


@pytest.mark.slow
def test_lanes_that_cannot_be_divided(texts: Path, tmp_path: Path) -> None:
    config = runs.write_config(tmp_path / "run.cfg", texts, training={"batch_size": 5})
    status, printed = finish(start_two(config, tmp_path / "out"))
    assert status == 1
    assert "training.batch_size: expected a multiple of 2 processes" in printed
    assert not (tmp_path / "out" / "checkpoints").exists()


@pytest.mark.slow
def test_a_missing_text(texts: Path, tmp_path: Path) -> None:
    """The first process fails, and both end."""
    config = runs.write_config(tmp_path / "run.cfg", texts)
    none = tmp_path / "none.txt"
    process = start_two(config, tmp_path / "out", "--corpus.train", none)
    status, printed = finish(process)
    assert status == 1
    assert str(none) in printed
    # torchrun prints its own traceback.
    assert "trainer.py" not in printed


@pytest.mark.slow
@pytest.mark.parametrize("receiver", ["torchrun", "worker"])
def test_sigterm_stops_with_a_checkpoint(
    texts: Path, tmp_path: Path, receiver: str
) -> None:
    """torchrun forwards it to both workers; a single worker receives it when one of
    several machines is shut down. One process resumes the run."""
    output = tmp_path / "out"
    config = runs.write_config(tmp_path / "run.cfg", texts, **LONG)
    process = start_two(config, output)
    runs.wait_for_step(process, output, 23)
    pids = {"torchrun": process.pid, "worker": children(process.pid)[-1]}
    os.kill(pids[receiver], signal.SIGTERM)
    status, printed = finish(process)
    assert status != 0
    assert "run the same command again to resume" in printed
    step = runs.log(output, "train")[-1]["step"]
    assert runs.checkpoints(output)[-1] == step
    assert runs.weights(output / "model-last")
    assert_resumes_as_one(texts, tmp_path, output, step)


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, -1], ids=["first", "last"])
def test_torchrun_restarts_a_killed_run(
    texts: Path, tmp_path: Path, victim: int
) -> None:
    """With --max-restarts, both processes start again from the last checkpoint, and the
    run equals one that was never interrupted: no text is lost or repeated."""
    training = {"max_steps": 400, "eval_frequency": 100, "checkpoint_frequency": 10}
    sections = runs.merged(STEPS, {"training": training})
    whole = run_two(tmp_path, texts, tmp_path / "whole", **sections)
    config = runs.write_config(tmp_path / "run.cfg", texts, **sections)
    output = tmp_path / "out"
    restarting = (*TORCHRUN, "--max-restarts", "1", *MODULE, config, output, "--quiet")
    process = runs.start(*restarting, TORCH_DISABLE_SHARE_RDZV_TCP_STORE="1")
    runs.wait_for_step(process, output, 23)
    os.kill(children(process.pid)[victim], signal.SIGKILL)
    status, printed = finish(process)
    assert status == 0, printed
    (resumed,) = runs.log(output, "resume")
    assert resumed["step"] >= 20
    assert runs.losses(output) == runs.losses(whole)
    assert runs.weights(output / "model-last") == runs.weights(whole / "model-last")
    assert runs.weights(output / "model-best") == runs.weights(whole / "model-best")
