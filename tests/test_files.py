"""Atomic writes of files and folders, and hashes of their contents."""

from __future__ import annotations

import errno
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers.corpora import contents
from helpers.kills import kill_everywhere
from safetensors import SafetensorError

from spacy_elmo import BiLM, save_bilm, tensor_files
from spacy_elmo.files import (
    explain_write_errors,
    hash_files,
    part_path,
    recover_folder,
    replace_file,
    replace_folder,
    write_bytes,
    write_json,
)


def write_folder(folder: Path, text: bytes, **settings: bool) -> None:
    with replace_folder(folder, **settings) as part:
        write_bytes(part / "a", text)
        write_bytes(part / "deep" / "b", text)


def fail_halfway(path: Path) -> None:
    path.write_bytes(b"half")
    raise ZeroDivisionError


def test_replace_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    for text in (b"old", b"new"):
        write_bytes(path, text)
        assert contents(tmp_path) == {"new/a.txt": text}
    with pytest.raises(ZeroDivisionError), replace_file(path) as part:
        fail_halfway(part)
    assert contents(tmp_path) == {"new/a.txt": b"new"}


def test_replace_folder(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    for text in (b"old", b"new"):
        write_folder(folder, text)
        assert contents(tmp_path / "new") == {"folder/a": text, "folder/deep/b": text}
    with pytest.raises(ZeroDivisionError), replace_folder(folder) as part:
        fail_halfway(part / "a")
    assert contents(tmp_path / "new") == {"folder/a": b"new", "folder/deep/b": b"new"}
    assert os.listdir(folder.parent) == ["folder"]


def test_keep_an_existing_folder(tmp_path: Path) -> None:
    for text in (b"first", b"second"):
        write_folder(tmp_path / "folder", text, overwrite=False)
    assert contents(tmp_path) == {"folder/a": b"first", "folder/deep/b": b"first"}
    assert os.listdir(tmp_path) == ["folder"]


def test_a_second_rename_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_folder(tmp_path / "folder", b"old")
    replace = os.replace

    def fail(source: Path, target: Path) -> None:
        if source.suffix == ".part" and source.is_dir():
            raise OSError("Input/output error")
        replace(source, target)

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="Input/output"):
        write_folder(tmp_path / "folder", b"new")
    assert contents(tmp_path) == {"folder/a": b"old", "folder/deep/b": b"old"}


def test_killed_at_any_moment(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    write_folder(folder, b"old")
    for is_done in kill_everywhere(lambda: write_folder(folder, b"new")):
        recover_folder(folder)
        assert contents(folder) in [{"a": t, "deep/b": t} for t in (b"old", b"new")]
        if is_done:
            assert os.listdir(tmp_path) == ["folder"]


def test_parts_of_dead_processes_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts of live processes stay, and so do parts of other hosts, whose processes
    cannot be probed."""
    path = tmp_path / "[a]*.txt"
    script = "import os; print(os.getpid())"
    dead = int(subprocess.check_output([sys.executable, "-c", script]))
    parts = []
    for host, pid in (("here", dead), ("here", os.getppid()), ("there", dead)):
        monkeypatch.setattr(platform, "node", lambda host=host: host)
        monkeypatch.setattr(os, "getpid", lambda pid=pid: pid)
        parts.append(part_path(path))
        parts[-1].touch()
    monkeypatch.undo()
    monkeypatch.setattr(platform, "node", lambda: "here")
    with pytest.raises(OSError, match="only writer"):
        write_bytes(path, b"text")
    assert set(tmp_path.iterdir()) == set(parts[1:])
    parts[1].unlink()
    write_bytes(path, b"text")
    assert set(tmp_path.iterdir()) == {path, parts[2]}


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EIO])
def test_a_folder_that_cannot_be_flushed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Some network file systems have no such operation; a failing disk is an error."""
    fsync = os.fsync

    def fail(descriptor: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(number, os.strerror(number))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fail)
    expected: Any = pytest.raises(OSError, match=r"\[Errno 5\]")
    if number == errno.EINVAL:
        expected = pytest.warns(UserWarning, match="cannot flush a folder")
    with expected:
        write_folder(tmp_path / "folder", b"text")
    assert contents(tmp_path) == {"folder/a": b"text", "folder/deep/b": b"text"}


def test_json_that_other_readers_refuse(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"loss": float("nan")})
    assert not list(tmp_path.iterdir())


def test_hashes_depend_on_contents_and_order(tmp_path: Path) -> None:
    texts = ["ab", "c", "a", "bc"]
    files = [tmp_path / f"{number}.txt" for number in range(len(texts))]
    for file, text in zip(files, texts):
        file.write_text(text)
    copy = tmp_path / "copy"
    copy.write_text(texts[0])
    assert hash_files([copy, files[1]]) == hash_files(files[:2])
    ab, c, a, bc = files
    orders = [(ab, c), (c, ab), (a, bc), (ab,), (ab, ab), (ab, c, c)]
    assert len({hash_files(order) for order in orders}) == len(orders)


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX permissions")
def test_permissions_are_those_of_a_new_file(tmp_path: Path) -> None:
    """Even if the writer puts a private file in place, as safetensors does."""
    expected = tmp_path / "expected"
    expected.touch()
    with replace_file(tmp_path / "target") as part:
        part.unlink(missing_ok=True)
        part.write_bytes(b"content")
        part.chmod(0o600)
    assert (tmp_path / "target").stat().st_mode == expected.stat().st_mode


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "No space left on device. Free some space"),
        (errno.EROFS, "Read-only file system. Choose a folder that you may write to"),
    ],
)
def test_errors_name_the_path_and_say_what_to_do(
    tmp_path: Path, number: int, advice: str
) -> None:
    target = tmp_path / "folder"
    with pytest.raises(OSError, match=advice) as caught:  # noqa: SIM117
        with replace_folder(target) as part, replace_file(part / "file"):
            raise OSError(number, os.strerror(number))
    assert caught.value.errno == number
    assert f"{target}: expected" in str(caught.value)
    assert not target.exists()


def test_a_path_below_a_file(tmp_path: Path, tiny_bilm: BiLM) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("mine", encoding="utf8")
    for format in ("safetensors", "hdf5"):
        for folder in (file, file / "below"):
            with pytest.raises(OSError, match="whose parents are folders") as caught:
                save_bilm(tiny_bilm, folder, format=format)
            assert str(folder) in str(caught.value)
    assert file.read_text(encoding="utf8") == "mine"


def test_errors_of_files_that_are_read_are_not_changed(tmp_path: Path) -> None:
    error = PermissionError(errno.EACCES, "Permission denied", "/elsewhere/text.txt")
    with pytest.raises(PermissionError) as caught, replace_file(tmp_path / "file"):
        raise error
    assert caught.value is error


def test_an_input_next_to_the_output(tmp_path: Path) -> None:
    """An input that cannot be read is not reported as an output."""
    text = tmp_path / "text.txt"
    text.touch()
    error = PermissionError(errno.EACCES, "Permission denied", str(text))
    with pytest.raises(PermissionError) as caught, replace_file(tmp_path / "file"):
        raise error
    assert caught.value is error
    below = PermissionError(errno.EACCES, "Permission denied", str(text))
    with (
        pytest.raises(OSError, match="Choose a folder"),
        explain_write_errors(tmp_path),
    ):
        raise below


def test_tensors_on_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """safetensors has its own error."""

    def save(tensors: Any, path: str) -> None:
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(tensor_files, "save_file", save)
    target = tmp_path / "x.safetensors"
    with pytest.raises(OSError, match="No space left on device") as caught:
        tensor_files.save_tensors({}, target)
    assert f"{target}: expected" in str(caught.value)


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    """Another process, or another thread; the first one is undisturbed."""
    code = "import sys; from spacy_elmo.files import *; write_bytes(sys.argv[1], b'b')"
    path = tmp_path / "file"
    with replace_file(path) as part:
        part.write_bytes(b"first")
        command = [sys.executable, "-c", code, str(path)]
        second = subprocess.run(command, capture_output=True, text=True, check=False)
        assert "expected to be its only writer" in second.stderr
        with pytest.raises(OSError, match="only writer"):
            write_bytes(path, b"third")
    assert contents(tmp_path) == {"file": b"first"}
