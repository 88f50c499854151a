"""NLPL archives: zips, folders, and zips that must not be trusted."""

from __future__ import annotations

import json
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.refusals import refused

from spacy_elmo import load_bilm

SENTENCES = [["She", "sat", "on", "the", "bank"], ["naïve"]]


@pytest.fixture
def archive(published_folder: Path, tmp_path: Path) -> Path:
    path = tmp_path / "144.zip"
    write(path, members(published_folder))
    return path


def members(folder: Path) -> dict[str, bytes]:
    return {
        "options.json": (folder / "options.json").read_bytes(),
        "model.hdf5": (folder / "weights.hdf5").read_bytes(),
        "vocab.txt": b"the\nbank\n",
        "meta.json": b"{}",
    }


def write(path: Path, contents: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in contents.items():
            file.writestr(name, data)


def add(path: Path, name: str) -> None:
    """Add a member of any name to an archive."""
    info = zipfile.ZipInfo("placeholder")
    info.filename = name
    with zipfile.ZipFile(path, "a") as file:
        file.writestr(info, b"evil")


@pytest.mark.parametrize("inside", ["", "144/", "deep/er/"])
def test_zip_equals_the_published_pair(
    published_folder: Path, tmp_path: Path, inside: str
) -> None:
    path = tmp_path / "model.zip"
    contents = members(published_folder)
    write(path, {inside + name: data for name, data in contents.items()})
    expected = load_bilm(published_folder).encode(SENTENCES)
    for one, other in zip(load_bilm(path).encode(SENTENCES), expected):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def test_zip_without_a_suffix(archive: Path) -> None:
    path = archive.rename(archive.with_name("144"))
    assert load_bilm(path).config.dim == 6


def test_unpacked_folder(published_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "144"
    folder.mkdir()
    for name, data in members(published_folder).items():
        (folder / name).write_bytes(data)
    expected = load_bilm(published_folder).encode(SENTENCES)[0]
    found = load_bilm(folder).encode(SENTENCES)[0]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_folder_with_two_weight_files(published_folder: Path) -> None:
    (published_folder / "other.hdf5").write_bytes(b"")
    with refused(published_folder, "one *.hdf5", "other.hdf5, weights.hdf5"):
        load_bilm(published_folder)


@pytest.mark.parametrize(
    "name",
    [
        "../options.json",
        "a/../../evil.txt",
        "/etc/evil.hdf5",
        "..\\evil.txt",
        "C:\\evil.hdf5",
    ],
)
def test_paths_out_of_the_archive(archive: Path, tmp_path: Path, name: str) -> None:
    before = sorted(tmp_path.rglob("*"))
    add(archive, name)
    with refused(archive, repr(name), "Do not trust"):
        load_bilm(archive)
    assert sorted(tmp_path.rglob("*")) == before


def test_only_the_two_files_are_unpacked(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unpacked: list[str] = []
    original = zipfile.ZipFile.open

    def spy(self: Any, member: Any, *args: Any, **kwargs: Any) -> Any:
        unpacked.append(getattr(member, "filename", member))
        return original(self, member, *args, **kwargs)

    monkeypatch.setattr(zipfile.ZipFile, "open", spy)
    load_bilm(archive)
    assert sorted(unpacked) == ["model.hdf5", "options.json"]


def test_zip_with_two_weight_files(archive: Path) -> None:
    add(archive, "other.hdf5")
    with refused(archive, "one *.hdf5", "model.hdf5, other.hdf5"):
        load_bilm(archive)


@pytest.mark.parametrize("name", ["options.json", "model.hdf5"])
def test_zip_with_the_same_file_twice(archive: Path, name: str) -> None:
    add(archive, f"again/{name}")
    with refused(archive, f"one {name}", f"again/{name}"):
        load_bilm(archive)


@pytest.mark.parametrize("name", ["options.json", "model.hdf5"])
def test_missing_member(published_folder: Path, tmp_path: Path, name: str) -> None:
    contents = members(published_folder)
    del contents[name]
    path = tmp_path / "model.zip"
    write(path, contents)
    with refused(path, name if name == "options.json" else "*.hdf5"):
        load_bilm(path)


@pytest.mark.parametrize("part", [0.0, 0.1, 0.5, 0.99])
def test_truncated_zip(archive: Path, part: float) -> None:
    data = archive.read_bytes()
    archive.write_bytes(data[: int(len(data) * part)])
    with refused(archive, "zip"):
        load_bilm(archive)


@pytest.mark.parametrize("seed", range(4))
def test_damaged_zip(archive: Path, seed: int) -> None:
    """Whatever is wrong in a member, WeightsError is raised."""
    with zipfile.ZipFile(archive) as file:
        info = file.getinfo("model.hdf5")
    data, rng = bytearray(archive.read_bytes()), np.random.default_rng(seed)
    start = info.header_offset + 100
    start += int(rng.integers(info.compress_size - 200))
    data[start : start + 32] = rng.bytes(32)
    archive.write_bytes(data)
    with refused(archive):
        load_bilm(archive)


def test_encrypted_zip(archive: Path) -> None:
    """With the encryption flag set in the central directory and the local headers."""
    data = bytearray(archive.read_bytes())
    for signature, offset in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        start = data.find(signature)
        while start >= 0:
            data[start + offset] |= 1
            start = data.find(signature, start + 4)
    archive.write_bytes(data)
    with refused(archive):
        load_bilm(archive)


def test_errors_name_the_archive(published_folder: Path, tmp_path: Path) -> None:
    contents = members(published_folder)
    options = json.loads(contents["options.json"])
    options["lstm"]["dim"] = 7
    contents["options.json"] = json.dumps(options).encode()
    path = tmp_path / "model.zip"
    write(path, contents)
    with refused(path / "model.hdf5", "(8, 28)", "(8, 24)"):
        load_bilm(path)


def test_pytorch_file_is_not_an_archive(many_folder: Path) -> None:
    """PyTorch's files are zips, too."""
    with refused(many_folder / "encoder.pkl", "ELMoForManyLangs", "another kind"):
        load_bilm(many_folder / "encoder.pkl")


def test_no_warnings(archive: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_bilm(archive)


def test_zip_of_manylangs(many_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "136.zip"
    contents = {f"136/{file.name}": file.read_bytes() for file in many_folder.iterdir()}
    write(path, {**contents, "136/meta.json": b"{}"})
    assert load_bilm(path).config == load_bilm(many_folder).config


def test_damaged_lzma(archive: Path) -> None:
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_LZMA) as file:
        file.writestr("options.json", b"{}" * 1000)
    data = bytearray(archive.read_bytes())
    data[60:80] = b"\xff" * 20
    archive.write_bytes(data)
    with refused(archive):
        load_bilm(archive)


def test_zip_that_unpacks_to_an_absurd_size(archive: Path) -> None:
    with zipfile.ZipFile(archive, "a", zipfile.ZIP_DEFLATED) as file:
        file.writestr("char.dic", bytes(30_000_000))
    with refused(archive, "100 times", "Do not trust"):
        load_bilm(archive)


def test_zip_with_too_many_members(archive: Path) -> None:
    with zipfile.ZipFile(archive, "a") as file:
        for number in range(1000):
            file.writestr(f"{number}.txt", b"")
    with refused(archive, "at most 1000 members", "found 1004 members"):
        load_bilm(archive)
