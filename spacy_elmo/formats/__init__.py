"""Weight files <-> BiLM: one module per format. This one recognizes the formats."""

from pathlib import Path
from typing import List, NamedTuple, Optional, Set

from ..bilm import BiLM
from ..files import PathLike
from . import manylangs, native, nlpl, options, published
from .checks import WeightsError

__all__ = ["Recognized", "WeightsError", "load_bilm", "recognize", "save_bilm"]

FORMATS = ("safetensors", "hdf5")

EXPECTED = """\
one of
  - a folder of spacy-elmo: model.safetensors
  - the published pair: options.json and *.hdf5, as two paths or in one folder
  - an NLPL archive: a zip with such a pair or an ELMoForManyLangs model
  - a folder of ELMoForManyLangs: config.json, encoder.pkl, token_embedder.pkl, *.dic"""


class Recognized(NamedTuple):
    """Format of the weights at a path.

    name (str): Name of the format.
    by (str): The files that identify it.
    """

    name: str
    by: str


def load_bilm(path: PathLike, weights_file: Optional[PathLike] = None) -> BiLM:
    """Load a biLM in any known format, on the CPU, as float32.

    path (PathLike): Folder, zip or model.safetensors; or the options.json of the
        published pair, if `weights_file` is given.
    weights_file (Optional[PathLike]): The HDF5 file of the published pair.
    RETURNS (BiLM): The model.
    RAISES: WeightsError (a ValueError) if the path has no known format, or a file is
        missing, damaged or does not match its options. The message names file, key,
        expected and found value.
    """
    if weights_file is not None:
        return published.read(path, weights_file)
    name = recognize(path).name
    path = Path(path)
    if name == native.NAME:
        return native.read(path)
    if name == manylangs.NAME:
        return manylangs.read(path)
    if path.is_file():
        with nlpl.unpack(path) as folder:
            return load_bilm(folder)
    pair = published.find_pair(path)
    assert pair is not None  # or it would not have been recognized
    return published.read(*pair)


def save_bilm(
    model: BiLM, path: PathLike, format: str = "safetensors", dtype: str = "float32"
) -> None:
    """Write a biLM to a folder that `load_bilm` reads.

    model (BiLM): The model.
    path (PathLike): The folder, which is created if needed.
    format (str): "safetensors", our own format, which holds any model, or "hdf5" for
        the published pair (options.json, weights.hdf5), which holds models of UTF-8
        bytes.
    dtype (str): Dtype of the stored weights: "float32" or, in our own format,
        "float16" or "int8" (matrices of 8-bit integers with scales).
    RAISES: WeightsError if the format or dtype is unknown, the format cannot hold the
        model, or the folder contains weights in another format.
    """
    if format not in FORMATS:
        raise WeightsError(
            f"format: expected one of {', '.join(FORMATS)}, found {format!r}."
        )
    folder = Path(path)
    other = "*.hdf5" if format == "safetensors" else native.WEIGHTS
    others = ", ".join(sorted(entry.name for entry in folder.glob(other)))
    if others:
        raise WeightsError(
            f"{folder}: expected a folder without weights in another format, found "
            f"{others}: the folder could no longer be loaded. Choose another one."
        )
    if format == "safetensors":
        native.write(model, folder, dtype)
        return
    if dtype != "float32":
        raise WeightsError(
            f"dtype: expected float32, the only one of the published format, found "
            f"{dtype!r}."
        )
    published.write(model, folder / options.FILE_NAME, folder / published.WEIGHTS)


def recognize(path: PathLike) -> Recognized:
    """Recognize a format without reading the weights.

    RAISES: WeightsError that lists the known formats and the contents of the path.
    """
    if str(path).startswith(("http:/", "https:/", "ftp:/", "s3:/", "gs:/")):
        raise WeightsError(
            f"{path}: expected a path on this machine, found an address. Download the "
            "file first, then load it."
        )
    path = Path(path)
    if not path.exists():
        raise WeightsError(f"{path}: expected {EXPECTED}\nfound nothing there.")
    if path.is_file():
        return _recognize_file(path)
    names = {entry.name for entry in path.iterdir()}
    candidates: List[Recognized] = []
    if native.WEIGHTS in names:
        candidates.append(Recognized(native.NAME, native.WEIGHTS))
    if {manylangs.ENCODER, manylangs.EMBEDDER} <= names:
        by = f"{manylangs.ENCODER}, {manylangs.EMBEDDER}"
        candidates.append(Recognized(manylangs.NAME, by))
    pair = published.find_pair(path)
    if pair is not None:
        by = ", ".join(file.name for file in pair)
        if nlpl.META in names:
            candidates.append(Recognized(nlpl.NAME, f"{by}, {nlpl.META}"))
        else:
            candidates.append(Recognized(published.NAME, by))
    if len(candidates) == 1:
        return candidates[0]
    if candidates:
        several = "; ".join(f"{c.name} ({c.by})" for c in candidates)
        raise WeightsError(
            f"{path}: expected weights in one format, found several: {several}. Move "
            "all but one out of the folder, or name the files."
        )
    listing = ", ".join(sorted(names)[:10]) or "nothing"
    raise WeightsError(
        f"{path}: expected {EXPECTED}\nfound a folder with {listing}."
        f"{_folder_advice(path, names)}"
    )


def _recognize_file(path: Path) -> Recognized:
    if path.suffix == ".safetensors":
        return Recognized(native.NAME, "the file's name")
    if nlpl.is_archive(path):
        return Recognized(nlpl.NAME, "a zip file")
    advice = ""
    if path.suffix in (".hdf5", ".h5") or path.name.endswith(options.FILE_NAME):
        advice = "\nThe published pair is two paths: load_bilm(options, weights)."
    elif path.name in (manylangs.CONFIG, manylangs.ENCODER, manylangs.EMBEDDER):
        advice = f"\nLoad the folder that contains it: {path.parent}."
    raise WeightsError(
        f"{path}: expected {EXPECTED}\nfound a file of another kind.{advice}"
    )


def _folder_advice(path: Path, names: Set[str]) -> str:
    """Say what to do about folders that are often mistaken for weights."""
    for name in ("model-best", "model-last"):
        if name in names:
            return f"\nThis is the output of a training: load {path / name}."
    if {"config.cfg", "meta.json"} <= names:
        return (
            "\nThis is a spaCy pipeline. If it has an elmo component, its biLM is "
            f'spacy.load("{path}").get_pipe("elmo").bilm; save it with '
            f"`python -m spacy elmo convert {path} OUT`."
        )
    weights = (native.WEIGHTS, manylangs.ENCODER, "*.hdf5")
    models = sorted({f.parent for name in weights for f in path.glob(f"*/{name}")})
    return f"\nDid you mean {' or '.join(map(str, models[:3]))}?" if models else ""
