"""The NLPL repository's archives: a zip or folder with options.json and model.hdf5 in
the published format, and the training's vocabulary, which encoding has no use for."""

import tempfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import Dict

from ..bilm import BiLM
from . import options, published
from .checks import PathLike, WeightsError

NAME = "NLPL archive"


def read_folder(folder: PathLike) -> BiLM:
    """Load options.json and the one *.hdf5 of a folder.

    Raises WeightsError where there is none or more than one.
    """
    folder = Path(folder)
    found = sorted(folder.glob("*.hdf5"))
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise WeightsError(
            f"{folder}: expected one *.hdf5 beside {options.FILE_NAME}, found "
            f"{names}. Name the pair instead: load_bilm(options_file, weights_file)."
        )
    return published.read(folder / options.FILE_NAME, found[0])


def read_zip(path: PathLike) -> BiLM:
    """Load an archive, of which nothing but the two files is unpacked.

    Raises WeightsError for a damaged archive, one with paths that lead out of it, and
    one without the two files.
    """
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            members = _members(archive, path)
            with tempfile.TemporaryDirectory() as folder:
                for name, member in members.items():
                    target = Path(folder) / name
                    with archive.open(member) as source, target.open("wb") as out:
                        while chunk := source.read(1 << 20):
                            out.write(chunk)
                try:
                    return read_folder(folder)
                except WeightsError as error:
                    # The user knows the archive, not the folder that is gone by now.
                    message = str(error).replace(folder, str(path))
                    raise WeightsError(message) from error
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        NotImplementedError,  # a method of compression that Python does not know
        RuntimeError,  # an encrypted member
    ) as error:
        raise WeightsError(
            f"{path}: expected a zip archive, found one that cannot be read ({error}). "
            "It is truncated or of another format: fetch it again."
        ) from error


def is_archive(path: PathLike) -> bool:
    """Whether it is named as a zip, or is one with options.json in it (a torch pickle
    is a zip too)."""
    if Path(path).suffix == ".zip":
        return True
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(
            PurePosixPath(name).name == options.FILE_NAME for name in archive.namelist()
        )


def _members(archive: zipfile.ZipFile, path: Path) -> Dict[str, zipfile.ZipInfo]:
    members: Dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        name = PurePosixPath(info.filename.replace("\\", "/"))
        if name.is_absolute() or ".." in name.parts or ":" in info.filename:
            raise WeightsError(
                f"{path}: expected members inside the archive, found the path "
                f"{info.filename!r}, which leads out of it. Do not trust this file."
            )
        if name.name == options.FILE_NAME or name.suffix == ".hdf5":
            if name.name in members:
                raise WeightsError(
                    f"{path}: expected one {name.name}, found two: "
                    f"{members[name.name].filename} and {info.filename}."
                )
            members[name.name] = info
    return members
