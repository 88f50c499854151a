"""Weight files <-> BiLM. One module a format; here they are told apart."""

from pathlib import Path
from typing import List, NamedTuple, Optional

from ..bilm import BiLM
from . import manylangs, native, nlpl, options, published
from .checks import PathLike, WeightsError

__all__ = ["Recognised", "WeightsError", "load_bilm", "recognise", "save_bilm"]

FORMATS = ("safetensors", "hdf5")

_EXPECTED = """\
one of
  - a folder of spacy-elmo: model.safetensors
  - the published pair: options.json and *.hdf5, as two paths or in one folder
  - an NLPL archive: a zip with options.json and model.hdf5, or its folder
  - a folder of ELMoForManyLangs: config.json, encoder.pkl, token_embedder.pkl, *.dic"""


class Recognised(NamedTuple):
    """What lies at a path: the format's name and by what it was told."""

    name: str
    by: str


def load_bilm(path: PathLike, weights_file: Optional[PathLike] = None) -> BiLM:
    """Load a biLM of any known format, on the CPU, in float32.

    path: a folder, an NLPL zip, a model.safetensors; or, with `weights_file`, the
        options.json of the published pair.
    weights_file: the HDF5 file of the published pair.

    Raises WeightsError (a ValueError) where nothing known lies there, or where a file
    is missing, damaged, or not what its options say: file, key, expected, found.
    """
    if weights_file is not None:
        return published.read(path, weights_file)
    recognised = recognise(path)
    path = Path(path)
    if recognised.name == native.NAME:
        return native.read(path)
    if recognised.name == manylangs.NAME:
        return manylangs.read(path)
    return nlpl.read_zip(path) if path.is_file() else nlpl.read_folder(path)


def save_bilm(
    model: BiLM, path: PathLike, format: str = "safetensors", dtype: str = "float32"
) -> None:
    """Write a biLM into a folder that `load_bilm` reads.

    format: "safetensors", our own, for every model; or "hdf5", the published pair
        (options.json, weights.hdf5), for models of the byte scheme.
    dtype: of the stored weights, "float32" or, in our own format, "float16".

    Raises WeightsError for an unknown format or dtype, for a model that the published
    format cannot hold, and for a folder with weights of another format.
    """
    if format not in FORMATS:
        raise WeightsError(
            f"format: expected one of {', '.join(FORMATS)}, found {format!r}."
        )
    folder = Path(path)
    other = "*.hdf5" if format == "safetensors" else native.WEIGHTS
    found = ", ".join(sorted(entry.name for entry in folder.glob(other)))
    if found:
        raise WeightsError(
            f"{folder}: expected a folder without weights of another format, found "
            f"{found}: the folder could not be loaded any more. Name another one."
        )
    if format == "safetensors":
        native.write(model, folder, dtype)
        return
    if dtype != "float32":
        raise WeightsError(
            f"dtype: expected float32, which is what the published format holds, found "
            f"{dtype!r}."
        )
    published.write(model, folder / options.FILE_NAME, folder / published.WEIGHTS)


def recognise(path: PathLike) -> Recognised:
    """Tell a format by what lies at a path, without reading the weights.

    Raises WeightsError that lists the known formats and what was found.
    """
    path = Path(path)
    if not path.exists():
        raise WeightsError(f"{path}: expected {_EXPECTED}\nfound nothing there.")
    if path.is_file():
        if path.suffix == ".safetensors":
            return Recognised(native.NAME, "the file's name")
        if nlpl.is_archive(path):
            return Recognised(nlpl.NAME, "a zip file")
        hint = ""
        if path.suffix in (".hdf5", ".h5", ".json"):
            hint = "\nThe published pair is two paths: load_bilm(options, weights)."
        raise WeightsError(
            f"{path}: expected {_EXPECTED}\nfound a file of another kind.{hint}"
        )
    names = {entry.name for entry in path.iterdir()}
    candidates: List[Recognised] = []
    if native.WEIGHTS in names:
        candidates.append(Recognised(native.NAME, native.WEIGHTS))
    if {manylangs.ENCODER, manylangs.EMBEDDER} <= names:
        candidates.append(
            Recognised(manylangs.NAME, f"{manylangs.ENCODER}, {manylangs.EMBEDDER}")
        )
    hdf5 = sorted(name for name in names if name.endswith(".hdf5"))
    if hdf5 and options.FILE_NAME in names:
        is_nlpl = "meta.json" in names
        candidates.append(
            Recognised(
                nlpl.NAME if is_nlpl else published.NAME,
                f"{options.FILE_NAME}, {hdf5[0]}{', meta.json' if is_nlpl else ''}",
            )
        )
    if len(candidates) == 1:
        return candidates[0]
    if candidates:
        found = "; ".join(f"{c.name} ({c.by})" for c in candidates)
        raise WeightsError(
            f"{path}: expected weights of one format, found several: {found}. Move all "
            "but one out of the folder, or name the files."
        )
    found = ", ".join(sorted(names)[:10]) or "nothing"
    raise WeightsError(f"{path}: expected {_EXPECTED}\nfound a folder with {found}.")
