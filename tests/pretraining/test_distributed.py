"""Process groups: a single process, and two processes with gloo."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import gloo_worker
from helpers.language_models import make_model, make_text
from hypothesis import given
from hypothesis import strategies as st

from spacy_elmo.pretraining.distributed import Group
from spacy_elmo.pretraining.evaluation import evaluate

CPU = torch.device("cpu")
ALONE = Group(0, 1, CPU)
WORKER = Path(gloo_worker.__file__)


@pytest.fixture(autouse=True)
def _no_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)


# own


@given(
    size=st.integers(1, 6), n_parts=st.integers(1, 4), lanes_a_part=st.integers(1, 5)
)
def test_lanes_are_divided_evenly(size: int, n_parts: int, lanes_a_part: int) -> None:
    n_lanes = size * n_parts * lanes_a_part
    dealt = [Group(rank, size, CPU).own_lanes(n_lanes, n_parts) for rank in range(size)]
    lanes = [lane for own in dealt for lane in range(n_lanes)[own]]
    assert lanes == list(range(n_lanes))
    assert {own.stop - own.start for own in dealt} == {n_parts * lanes_a_part}


@pytest.mark.parametrize(
    ("n_lanes", "size", "n_parts"), [(9, 2, 1), (8, 1, 3), (12, 4, 2), (1, 2, 1)]
)
def test_lanes_that_cannot_be_divided(n_lanes: int, size: int, n_parts: int) -> None:
    for rank in range(size):
        with pytest.raises(ValueError, match="expected a multiple of") as caught:
            Group(rank, size, CPU).own_lanes(n_lanes, n_parts)
        message = str(caught.value)
        assert "training.batch_size" in message
        assert f"{size} processes times accumulate_gradient ({n_parts})" in message
        assert f"found {n_lanes}" in message


# A single process


def test_a_single_process() -> None:
    group = Group.join()
    assert group == ALONE
    assert group.is_first
    tensor = torch.randn(2, 3)
    expected = tensor.clone()
    group.add_up([tensor])
    assert torch.equal(tensor, expected)
    assert group.gather_lanes(tensor) is tensor
    assert group.first_then_others(lambda: "loaded") == "loaded"
    with pytest.raises(KeyError, match="broken"):
        group.first_then_others(lambda: {}["broken"])
    group.leave()
    assert not torch.distributed.is_initialized()


def test_a_missing_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = torch.cuda.device_count()
    with pytest.raises(ValueError, match="gpu_id: expected") as caught:
        Group.join(seen + 3)
    message = str(caught.value)
    assert f"one of the {seen} GPUs that PyTorch sees, found {seen + 3}" in message
    assert "--gpu-id -1" in message
    # Under torchrun the local rank counts.
    monkeypatch.setenv("LOCAL_RANK", str(seen + 5))
    with pytest.raises(ValueError, match=f"found {seen + 5}"):
        Group.join(0)


# Two processes with gloo


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The results of each process."""
    folder = tmp_path_factory.mktemp("group")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = []
    for rank in range(2):
        environment = {
            **os.environ,
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": "2",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join(
                [str(WORKER.parents[2]), str(WORKER.parents[1])]
            ),
        }
        command = [sys.executable, str(WORKER), str(folder)]
        processes.append(
            subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)
        )
    try:
        for process in processes:
            errors = process.communicate(timeout=120)[1].decode()
            assert process.returncode == 0, errors
    finally:
        for process in processes:
            process.kill()
            process.wait()
    return [
        json.loads((folder / f"{rank}.json").read_text(encoding="utf8"))
        for rank in range(2)
    ]


def test_ranks(found: list[dict[str, Any]]) -> None:
    assert found[0]["group"] == [0, 2, "cpu", True]
    assert found[1]["group"] == [1, 2, "cpu", False]
    assert [part["own"] for part in found] == [[0, 4], [4, 8]]


def test_sums(found: list[dict[str, Any]]) -> None:
    pairs = zip(gloo_worker.numbers(0), gloo_worker.numbers(1))
    expected = [(one + other).tolist() for one, other in pairs]
    for part in found:
        assert part["sums"] == expected


def test_lanes_are_gathered_by_rank(found: list[dict[str, Any]]) -> None:
    pairs = zip(gloo_worker.lanes(0), gloo_worker.lanes(1))
    expected = [torch.cat(pair, dim=1).tolist() for pair in pairs]
    for part in found:
        assert part["lanes"] == expected


def test_the_others_load_what_the_first_wrote(found: list[dict[str, Any]]) -> None:
    assert [part["loaded"] for part in found] == ["complete 0", "complete 1"]


def test_a_failure_of_the_first_ends_all(found: list[dict[str, Any]]) -> None:
    first, other = (part["failure in 0"] for part in found)
    assert first == "KeyError: 'broken in 0'"
    assert other.startswith("ValueError: The first process has failed")


def test_a_failure_of_another_is_its_own(found: list[dict[str, Any]]) -> None:
    first, other = (part["failure in 1"] for part in found)
    assert first == "loaded"
    assert other == "KeyError: 'broken in 1'"


@pytest.mark.skipif(
    not Path("/proc/self/task").is_dir(), reason="finds threads by Linux's /proc"
)
def test_leaving_ends_the_threads(found: list[dict[str, Any]]) -> None:
    """A thread that is left when Python exits may abort the process."""
    for part in found:
        before, after = part["threads"]
        assert before > 0
        assert after == 0


def test_perplexities_equal_those_of_one_process(
    found: list[dict[str, Any]], tmp_path: Path
) -> None:
    text = make_text(tmp_path, gloo_worker.SENTENCES)
    model = make_model(len(text.vocabulary))
    expected = evaluate(model, text.shards, text.table, text.vocabulary, group=ALONE)
    for part in found:
        assert part["perplexities"] == pytest.approx(list(expected), rel=1e-6)
