"""load_bilm and save_bilm: recognizing formats."""

from __future__ import annotations

import shutil
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest
from helpers.refusals import refused

from spacy_elmo import BiLM, load_bilm, save_bilm
from spacy_elmo.formats import Recognized, WeightsError, recognize

KNOWN = ("model.safetensors", "options.json", "zip", "ELMoForManyLangs")


def test_native_folder(tiny_bilm: BiLM, tmp_path: Path) -> None:
    save_bilm(tiny_bilm, tmp_path)
    name = "spacy-elmo (safetensors)"
    assert recognize(tmp_path) == Recognized(name, "model.safetensors")
    assert recognize(tmp_path / "model.safetensors").name == name


def test_published_folder(published_folder: Path) -> None:
    assert recognize(published_folder) == Recognized(
        "published (bilm-tf, AllenNLP)", "options.json, weights.hdf5"
    )


def test_nlpl_folder(published_folder: Path) -> None:
    (published_folder / "meta.json").write_text("{}")
    assert recognize(str(published_folder)) == Recognized(
        "NLPL archive", "options.json, weights.hdf5, meta.json"
    )


@pytest.mark.parametrize("name", ["144.zip", "144"])
def test_nlpl_zip(tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / name, "w") as file:
        file.writestr("options.json", "{}")
    assert recognize(tmp_path / name) == Recognized("NLPL archive", "a zip file")


def test_manylangs_folder(many_folder: Path) -> None:
    assert recognize(many_folder) == Recognized(
        "ELMoForManyLangs", "encoder.pkl, token_embedder.pkl"
    )


@pytest.mark.parametrize("as_text", [True, False])
def test_published_pair_as_two_paths(published_folder: Path, as_text: bool) -> None:
    pair = published_folder / "options.json", published_folder / "weights.hdf5"
    options, weights = map(str, pair) if as_text else pair
    model = load_bilm(options, weights)
    assert (model.config.dim, model.device.type) == (6, "cpu")
    assert all(p.dtype.is_floating_point for p in model.parameters())


def test_published_pair_in_different_folders(
    published_folder: Path, tmp_path: Path
) -> None:
    weights = shutil.move(published_folder / "weights.hdf5", tmp_path / "w.h5")
    assert load_bilm(published_folder / "options.json", weights).config.dim == 6


@pytest.mark.parametrize("name", ["weights.hdf5", "options.json"])
def test_half_a_pair(published_folder: Path, name: str) -> None:
    with refused(published_folder / name, *KNOWN, "load_bilm(options, weights)"):
        load_bilm(published_folder / name)


def test_missing_path(tmp_path: Path) -> None:
    with refused(tmp_path / "gone", *KNOWN, "found nothing there"):
        load_bilm(tmp_path / "gone")


def test_unknown_file(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with refused(tmp_path / "notes.txt", *KNOWN, "a file of another kind"):
        load_bilm(tmp_path / "notes.txt")


def test_empty_folder(tmp_path: Path) -> None:
    with refused(tmp_path, *KNOWN, "found a folder with nothing"):
        load_bilm(tmp_path)


@pytest.mark.parametrize("name", ["options.json", "weights.hdf5", "README.md"])
def test_unknown_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("{}")
    with refused(tmp_path, *KNOWN, f"found a folder with {name}"):
        load_bilm(tmp_path)


def test_several_formats_in_one_folder(
    published_folder: Path, many_folder: Path, tiny_bilm: BiLM, tmp_path: Path
) -> None:
    shutil.copy(published_folder / "weights.hdf5", many_folder)
    shutil.copy(published_folder / "options.json", many_folder)
    with refused(many_folder, "several", "published", "ELMoForManyLangs (encoder.pkl"):
        load_bilm(many_folder)
    shutil.copytree(published_folder, tmp_path / "both")
    shutil.copy(many_folder / "encoder.pkl", tmp_path / "both")
    assert load_bilm(tmp_path / "both").config.dim == 6
    save_bilm(tiny_bilm, tmp_path / "ours")
    shutil.copy(tmp_path / "ours" / "model.safetensors", tmp_path / "both")
    with refused(tmp_path / "both", "several", "published", "spacy-elmo (safetensors)"):
        load_bilm(tmp_path / "both")


@pytest.mark.parametrize("formats", [("safetensors", "hdf5"), ("hdf5", "safetensors")])
def test_saving_another_format_keeps_the_folder_loadable(
    tiny_bilm: BiLM, tmp_path: Path, formats: tuple[str, str]
) -> None:
    save_bilm(tiny_bilm, tmp_path, format=formats[0])
    with suppress(WeightsError):
        save_bilm(tiny_bilm, tmp_path, format=formats[1])
    load_bilm(tmp_path)


def test_saving_an_unknown_format(tiny_bilm: BiLM, tmp_path: Path) -> None:
    with refused("format", "safetensors, hdf5", "'pickle'"):
        save_bilm(tiny_bilm, tmp_path, format="pickle")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("format", "dtype", "allowed"),
    [
        ("safetensors", "bfloat16", "float32, float16, int8"),
        ("hdf5", "float16", "float32"),
    ],
)
def test_saving_an_unknown_dtype(
    tiny_bilm: BiLM, tmp_path: Path, format: str, dtype: str, allowed: str
) -> None:
    with refused("dtype", allowed, repr(dtype)):
        save_bilm(tiny_bilm, tmp_path, format=format, dtype=dtype)
    assert not list(tmp_path.iterdir())


def test_folders_are_created(tiny_bilm: BiLM, tmp_path: Path) -> None:
    for format in ("safetensors", "hdf5"):
        save_bilm(tiny_bilm, tmp_path / "a" / format, format=format)
        assert load_bilm(tmp_path / "a" / format).config == tiny_bilm.config


def test_published_names(published_folder: Path) -> None:
    """The files can keep the names under which they are published."""
    for name in ("options.json", "weights.hdf5"):
        path = published_folder / name
        path.rename(path.with_name(f"elmo_2x4096_512_{name}"))
    assert load_bilm(published_folder).config.dim == 6


def test_advice_for_other_folders(tiny_bilm: BiLM, tmp_path: Path) -> None:
    run, pipeline = tmp_path / "run", tmp_path / "pipeline"
    save_bilm(tiny_bilm, run / "model-best")
    with refused(run, *KNOWN, f"load {run / 'model-best'}"):
        load_bilm(run)
    pipeline.mkdir()
    for name in ("config.cfg", "meta.json"):
        (pipeline / name).touch()
    with refused(pipeline, 'get_pipe("elmo").bilm'):
        load_bilm(pipeline)
    with refused(tmp_path / "other", f"Did you mean {tmp_path / 'other' / 'en'}?"):
        save_bilm(tiny_bilm, tmp_path / "other" / "en")
        load_bilm(tmp_path / "other")


def test_advice_for_a_file_of_manylangs(many_folder: Path) -> None:
    with refused("Load the folder that contains it"):
        load_bilm(many_folder / "config.json")


def test_address() -> None:
    with refused("https://example.org/144.zip", "Download the file first"):
        load_bilm("https://example.org/144.zip")
