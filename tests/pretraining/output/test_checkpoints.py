"""Checkpoints load bit for bit, damaged checkpoints are skipped, and a full disk does
not harm earlier checkpoints."""

from __future__ import annotations

import errno
import math
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Iterator

import pytest
import torch
from helpers.corpora import contents
from helpers.kills import kill_everywhere
from torch import Tensor

from spacy_elmo.pretraining.output import checkpoints
from spacy_elmo.pretraining.output.checkpoints import META, TENSORS, Checkpoint

KINDS = (torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int64)


def make_tensors(seed: int = 0) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    tensors = {
        f"{kind}".replace("torch.", ""): (100 * torch.randn(3, 4)).to(kind)
        for kind in KINDS
    }
    special = torch.tensor([math.nan, math.inf, -math.inf, -0.0, 1e-45])
    return {
        **tensors,
        "bool": torch.rand(5) > 0.5,
        "scalar": torch.tensor(3.0 + seed),
        "empty": torch.zeros(0, 4),
        "special": special,
        "transposed": torch.randn(4, 6).t(),
        "part": torch.randn(4, 6)[1:3, ::2],
        "grown": torch.randn(3, requires_grad=True),
    }


def make_meta(seed: int = 0) -> dict[str, Any]:
    return {
        "step": seed,
        "seconds": 0.1 + seed,
        "best": None,
        "identity": {"text": "é\u2028\U0001f600"},
        "list": [1, [2.5, True], {}],
    }


def save(folder: Path, step: int) -> None:
    checkpoints.save(folder, step, make_tensors(step), make_meta(step))


def silent(message: str) -> None:
    pytest.fail(f"unexpected warning: {message}")


def assert_is(found: Checkpoint | None, step: int) -> None:
    assert found is not None
    assert found.step == step
    assert found.meta == make_meta(step)
    expected = make_tensors(step)
    assert found.tensors.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found.tensors[name].dtype == tensor.dtype
        assert found.tensors[name].shape == tensor.shape
        assert bits(found.tensors[name]) == bits(tensor), name


def bits(tensor: Tensor) -> bytes:
    return tensor.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes()


def test_save_and_load(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "checkpoints"
    assert checkpoints.load_newest(folder, silent) is None
    path = checkpoints.save(folder, 7, make_tensors(7), make_meta(7))
    assert path == folder / "step-00000007"
    assert sorted(contents(folder)) == [
        "step-00000007/state.json",
        "step-00000007/state.safetensors",
    ]
    assert_is(checkpoints.load_newest(folder, silent), 7)


def test_the_newest_has_the_highest_step(tmp_path: Path) -> None:
    for step in (100_000_000, 2, 99_999_999, 10):
        save(tmp_path, step)
    assert_is(checkpoints.load_newest(tmp_path, silent), 100_000_000)


def test_the_same_step_is_replaced(tmp_path: Path) -> None:
    save(tmp_path, 3)
    checkpoints.save(tmp_path, 3, {"other": torch.ones(2)}, {"other": 1})
    found = checkpoints.load_newest(tmp_path, silent)
    assert found is not None
    assert found.tensors.keys() == {"other"}
    assert found.meta == {"other": 1}
    assert len(list(tmp_path.iterdir())) == 1


# Damage


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def assert_falls_back(folder: Path, *, to: int | None = 1) -> None:
    said: list[str] = []
    found = checkpoints.load_newest(folder, said.append)
    if to is None:
        assert found is None
    else:
        assert_is(found, to)
    assert len(said) == 1
    assert f"Checkpoint {folder / 'step-00000002'} is damaged (" in said[0]
    assert "it is now damaged-step-00000002" in said[0]
    assert (folder / "damaged-step-00000002").exists()
    assert not (folder / "step-00000002").exists()
    # The next time there is no warning.
    again = checkpoints.load_newest(folder, silent)
    assert (again and again.step) == to


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save(tmp_path, 1)
    save(tmp_path, 2)
    return tmp_path


DAMAGES: dict[str, Callable[[Path], object]] = {
    "missing": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "a list": lambda path: path.write_bytes(b"[]"),
    "nested": lambda path: path.write_bytes(b"[" * 100_000),
    "from another step": lambda path: shutil.copy(
        path.parent.with_name("step-00000001") / path.name, path
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", [TENSORS, META])
def test_damaged_files(folder: Path, name: str, damage: str) -> None:
    path = folder / "step-00000002" / name
    if (name, damage) == (META, "longer"):
        path.write_bytes(path.read_bytes() + b"}")
    else:
        DAMAGES[damage](path)
    assert_falls_back(folder)


@pytest.mark.parametrize("name", [TENSORS, META])
def test_truncated_files(folder: Path, name: str) -> None:
    path = folder / "step-00000002" / name
    data = path.read_bytes()
    whole = len(data) - (name == META)  # the last byte is a line end
    assert whole > 200
    for size in {0, 1, 7, 8, 9, whole // 3, whole // 2, whole - 8, whole - 1}:
        path.write_bytes(data[:size])
        assert_falls_back(folder)
        shutil.move(folder / "damaged-step-00000002", path.parent)


def test_flipped_bits(folder: Path) -> None:
    """Every bit of the tensors counts, and every bit of state.json but white space."""
    for name in (TENSORS, META):
        path = folder / "step-00000002" / name
        data = path.read_bytes()
        for bit in range(0, 8 * len(data), 61 if name == TENSORS else 7):
            path.write_bytes(flipped(data, bit))
            found = checkpoints.load_newest(folder, lambda message: None)
            damaged = folder / "damaged-step-00000002"
            if damaged.exists():
                assert found is not None
                assert found.step == 1
                shutil.move(damaged, path.parent)
            else:
                assert name == META
                assert_is(found, 2)
        path.write_bytes(data)
    assert_is(checkpoints.load_newest(folder, silent), 2)


def test_several_damaged_checkpoints(tmp_path: Path) -> None:
    for step in range(1, 5):
        save(tmp_path, step)
    for step in (3, 4):
        (tmp_path / f"step-{step:08}" / TENSORS).write_bytes(b"")
    said: list[str] = []
    assert_is(checkpoints.load_newest(tmp_path, said.append), 2)
    assert ["00000004" in said[0], "00000003" in said[1], len(said)] == [True, True, 2]


def test_a_checkpoint_is_damaged_twice(folder: Path) -> None:
    """It was skipped, written again, and damaged again."""
    for _ in range(2):
        (folder / "step-00000002" / META).unlink()
        assert_falls_back(folder)
        save(folder, 2)
    assert_is(checkpoints.load_newest(folder, silent), 2)


def test_a_checkpoint_that_cannot_be_read_is_kept(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with a network file system that is down, or too many open files."""

    def fail(path: Path) -> Any:
        raise OSError(errno.EIO, "Input/output error", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "load_file", fail)
        with pytest.raises(OSError, match="Try again") as error:
            checkpoints.load_newest(folder, silent)
    assert error.value.errno == errno.EIO
    assert_is(checkpoints.load_newest(folder, silent), 2)


# Killed processes


def test_killed_at_every_file_operation(tmp_path: Path) -> None:
    """There is always an intact checkpoint, and never a damaged one."""
    folder, found_steps = tmp_path / "checkpoints", []

    def work() -> None:
        save(folder, 3)
        checkpoints.prune(folder, 1, None)

    for step in (1, 2):
        save(folder, step)
    for is_done in kill_everywhere(work):
        found = checkpoints.load_newest(folder, silent)
        assert found is not None
        assert_is(found, found.step)
        found_steps.append(found.step)
        if is_done:
            assert [path.name for path in folder.iterdir()] == ["step-00000003"]
        shutil.rmtree(folder)
        for step in (1, 2):
            save(folder, step)
    assert len(found_steps) > 20
    assert found_steps == sorted(found_steps)
    assert set(found_steps) == {2, 3}


# A full disk


@contextmanager
def largest_file(n_bytes: int) -> Iterator[None]:
    """The operating system refuses to write larger files."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("n_bytes", [0, 100, 1000])
def test_a_file_that_cannot_be_written(folder: Path, n_bytes: int) -> None:
    before = contents(folder)
    assert n_bytes < (folder / "step-00000002" / TENSORS).stat().st_size
    with largest_file(n_bytes), pytest.raises(OSError, match="File too large"):
        save(folder, 3)
    assert contents(folder) == before
    assert sorted(path.name for path in folder.iterdir()) == [
        "step-00000001",
        "step-00000002",
    ]
    assert_is(checkpoints.load_newest(folder, silent), 2)
    save(folder, 3)
    assert_is(checkpoints.load_newest(folder, silent), 3)


def test_metadata_that_cannot_be_written(folder: Path) -> None:
    before = contents(folder)
    tensors = {"a": torch.zeros(3)}
    with largest_file(1000), pytest.raises(OSError, match="File too large"):
        checkpoints.save(folder, 3, tensors, {"long": "x" * 2000})
    assert contents(folder) == before
    with largest_file(1000):
        checkpoints.save(folder, 3, tensors, {})


def test_metadata_that_json_cannot_represent(folder: Path) -> None:
    before = contents(folder)
    with pytest.raises(ValueError, match="JSON"):
        checkpoints.save(folder, 3, make_tensors(), {"best": math.inf})
    assert contents(folder) == before
    assert len(list(folder.iterdir())) == 2


# prune


@pytest.mark.parametrize(
    ("keep", "best", "expected"),
    [
        (1, None, [12]),
        (2, None, [11, 12]),
        (2, 3, [3, 11, 12]),
        (2, 12, [11, 12]),
        (1, 1, [1, 12]),
        (2, 99, [11, 12]),
        (9, 1, [1, 2, 3, 11, 12]),
    ],
)
def test_prune(
    tmp_path: Path, keep: int, best: int | None, expected: list[int]
) -> None:
    for step in (3, 1, 12, 11, 2):
        checkpoints.save(tmp_path, step, {"a": torch.zeros(1)}, {})
    others = ["step-00000004.part", ".step-00000004.00000000.1.part"]
    others += ["damaged-step-00000004", "step-x", "notes"]
    for name in others:
        (tmp_path / name).mkdir()
    checkpoints.prune(tmp_path, keep, best)
    left = {f"step-{step:08}" for step in expected}
    assert {path.name for path in tmp_path.iterdir()} == {*left, *others[3:]}
