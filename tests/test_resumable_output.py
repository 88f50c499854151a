"""Output in parts: killed at any moment, a run resumes without losing or doubling."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.kills import kill_everywhere

from spacy_elmo.lock import lock_folder
from spacy_elmo.resumable_output import STATE, open_dataset, open_parts

ITEMS = ["one", "two", "three", "four", "five"]


def write(
    output: Path, items: list[str] = ITEMS, force: bool = False, **settings: str
) -> None:
    """Copy items to the output, two per part."""
    with open_parts(output, settings, str.encode, force=force) as parts:
        remaining = list(parts.remaining(items))
        for start in range(0, len(remaining), 2):
            group = remaining[start : start + 2]
            with parts.add(group) as path:
                path.write_text(" ".join(group))
        with parts.join(output) as path:
            path.write_text("\n".join(part.read_text() for part in parts.paths))


def interrupt(output: Path, **settings: str) -> Path:
    """Write the first part only."""
    with open_parts(output, settings, str.encode) as parts:
        list(parts.remaining([]))
        with parts.add(ITEMS[:2]) as path:
            path.write_text(" ".join(ITEMS[:2]))
    return output.with_name(f"{output.name}.parts")


def test_runs_killed_anywhere_resume(tmp_path: Path) -> None:
    output = tmp_path / "out" / "items.txt"

    def run_again() -> None:
        if not output.exists():
            write(output)

    n_kills = sum(not finished for finished in kill_everywhere(run_again))
    assert n_kills > 5
    assert output.read_text() == "one two\nthree four\nfive"


def test_nothing_is_left_but_the_output(tmp_path: Path) -> None:
    write(tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_kill_before_the_removal_of_the_parts(tmp_path: Path) -> None:
    output = tmp_path / "out"
    folder = interrupt(output)
    with open_parts(output, {}, str.encode) as parts:
        list(parts.remaining(ITEMS))
        with parts.join(output) as path:
            path.write_text("one two")
        state = (folder / STATE).read_bytes()
    folder.mkdir()
    (folder / STATE).write_bytes(state)
    with pytest.raises(FileExistsError, match="--force"):
        write(output)
    assert not folder.exists()


def test_other_settings_or_input_are_refused(tmp_path: Path) -> None:
    output = tmp_path / "out"
    folder = interrupt(output, model="a")
    with pytest.raises(ValueError, match=re.escape("model = a (now b)")):
        write(output, model="b")
    with pytest.raises(ValueError, match="its first 2 items have changed"):
        write(output, ["one", "TWO", "three"], model="a")
    with pytest.raises(ValueError, match=r"remove .*out\.parts"):
        write(output, ["one"], model="a")
    write(output, model="a")
    assert output.read_text() == "one two\nthree four\nfive"
    assert not folder.exists()


@pytest.mark.parametrize("text", ["", "[" * 100_000, "[]", '{"settings": 1}'])
def test_damaged_state_is_refused(tmp_path: Path, text: str) -> None:
    folder = interrupt(tmp_path / "out")
    (folder / STATE).write_text(text)
    with pytest.raises(ValueError, match=r"state\.json: expected the JSON"):
        write(tmp_path / "out")


def test_missing_part_is_refused(tmp_path: Path) -> None:
    folder = interrupt(tmp_path / "out")
    (folder / "000000").unlink()
    with pytest.raises(ValueError, match="some are missing"):
        write(tmp_path / "out")


def test_failed_part_is_not_counted(tmp_path: Path) -> None:
    def fail() -> None:
        with open_parts(tmp_path / "out", {}, str.encode) as parts, parts.add(ITEMS):
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_existing_output_is_kept_without_force(tmp_path: Path) -> None:
    output = tmp_path / "out"
    output.write_text("mine")
    with pytest.raises(FileExistsError, match="--force"):
        write(output)
    assert output.read_text() == "mine"
    write(output, force=True)
    assert output.read_text() == "one two\nthree four\nfive"
    with pytest.raises(FileExistsError, match="found a folder"):
        write(tmp_path)


def test_second_writer_is_refused(tmp_path: Path) -> None:
    output = tmp_path / "out"
    folder = interrupt(output)
    with lock_folder(folder):
        code = f"""
from pathlib import Path
from spacy_elmo.resumable_output import open_parts
with open_parts(Path({str(output)!r}), {{}}, str.encode):
    pass
"""
        second = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False
        )
    assert "another process is using it" in second.stderr
    write(output)
    assert output.read_text() == "one two\nthree four\nfive"


def test_settings_may_change_before_the_first_part(tmp_path: Path) -> None:
    """As after a run that stopped at an input that it could not read."""
    for model in "a", "b":
        with open_dataset(
            tmp_path / "out", {"model": model}, str.encode, ".txt"
        ) as parts:
            assert parts.n_items == 0


def test_a_complete_dataset_is_not_resumed(tmp_path: Path) -> None:
    """Whatever the settings: nothing says that repeating a command resumes it."""

    def write_dataset(model: str, *, force: bool = False) -> None:
        with open_dataset(
            tmp_path / "out", {"model": model}, str.encode, ".txt", force=force
        ) as parts:
            with parts.add(ITEMS) as path:
                path.write_text(model)
            parts.finish()

    write_dataset("a")
    for model in "a", "b":
        with pytest.raises(FileExistsError, match=r"complete.*--force"):
            write_dataset(model)
    write_dataset("b", force=True)
    assert (tmp_path / "out" / "part-000000.txt").read_text() == "b"


def read_dataset(folder: Path) -> list[str]:
    return [path.read_text() for path in sorted(folder.glob("part-*.txt"))]


def write_two_parts(folder: Path, word: str, *, force: bool = False) -> None:
    with open_dataset(folder, {"word": word}, str.encode, ".txt", force=force) as parts:
        for number in parts.remaining(["0", "1"]):
            with parts.add([number]) as path:
                path.write_text(f"{word}{number}")
        parts.finish()


def test_a_dataset_is_kept_until_its_replacement_has_a_part(tmp_path: Path) -> None:
    """The input of the replacement may be missing."""
    write_two_parts(tmp_path, "a")
    with (
        pytest.raises(FileNotFoundError),
        open_dataset(tmp_path, {}, str.encode, ".txt", force=True),
    ):
        raise FileNotFoundError
    assert read_dataset(tmp_path) == ["a0", "a1"]
    with pytest.raises(FileExistsError, match="complete"):
        write_two_parts(tmp_path, "b")
    with open_dataset(tmp_path, {}, str.encode, ".txt", force=True) as parts:
        parts.finish()  # an input without items
    assert read_dataset(tmp_path) == []


def test_a_replacement_killed_anywhere_can_be_repeated(tmp_path: Path) -> None:
    write_two_parts(tmp_path, "a")
    for _ in kill_everywhere(lambda: write_two_parts(tmp_path, "b", force=True)):
        assert read_dataset(tmp_path) in (["a0", "a1"], [], ["b0"], ["b0", "b1"])
    assert read_dataset(tmp_path) == ["b0", "b1"]


def test_force_replaces_parts_of_other_settings(tmp_path: Path) -> None:
    output = tmp_path / "out"
    interrupt(output, model="a")
    with pytest.raises(ValueError, match="model = a"):
        write(output, model="b")
    write(output, model="b", force=True)
    assert output.read_text() == "one two\nthree four\nfive"
