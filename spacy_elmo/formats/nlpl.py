"""Archives of the NLPL repository: zips with a model in the published format or in that
of ELMoForManyLangs."""

import struct
import tempfile
import zipfile
import zlib
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Dict, Iterator

from ..files import PathLike
from . import options
from .checks import WeightsError

NAME = "NLPL archive"
META = "meta.json"

MAX_MEMBERS = 1000
MAX_RATIO = 100
"""Maximum ratio of compression: trained weights hardly compress at all."""
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)

SUFFIXES = (".json", ".hdf5", ".dic", ".pkl")
"""Suffixes of the files that loading may need."""


@contextmanager
def unpack(path: PathLike) -> Iterator[Path]:
    """Unpack the files of a model, without their folders.

    path (PathLike): The zip.
    YIELDS (Path): A temporary folder. In the message of a WeightsError raised by the
        block, it is replaced by the zip's path.
    RAISES: WeightsError if the archive is damaged, has paths that lead out of it, has
        several files of the same name, or would unpack to an absurd size.
    """
    path = Path(path)
    with tempfile.TemporaryDirectory() as folder:
        try:
            with zipfile.ZipFile(path) as archive:
                for name, member in _members(archive, path).items():
                    target = Path(folder) / name
                    with archive.open(member) as source, target.open("wb") as out:
                        while chunk := source.read(1 << 20):
                            out.write(chunk)
        except WeightsError:
            raise
        except (
            zipfile.BadZipFile,
            zlib.error,
            struct.error,
            ValueError,  # for example, a name that is not UTF-8
            EOFError,
            NotImplementedError,  # unknown compression method
            RuntimeError,  # encrypted member
        ) as error:
            raise WeightsError(
                f"{path}: expected a zip archive, found one that cannot be read "
                f"({error}). It is truncated or of another format: fetch it again."
            ) from error
        try:
            yield Path(folder)
        except WeightsError as error:
            raise WeightsError(str(error).replace(folder, str(path))) from error


def is_archive(path: PathLike) -> bool:
    """Whether the file is named as a zip, or is a zip with a model's options or config.
    (PyTorch's files are zips, too.)"""
    if Path(path).suffix.lower() == ".zip":
        return True
    try:
        with zipfile.ZipFile(path) as archive:
            names = {PurePosixPath(name).name for name in archive.namelist()}
    except (zipfile.BadZipFile, struct.error, ValueError):
        return False
    return not names.isdisjoint((options.FILE_NAME, "config.json"))


def _members(archive: zipfile.ZipFile, path: Path) -> Dict[str, zipfile.ZipInfo]:
    members: Dict[str, zipfile.ZipInfo] = {}
    infos = archive.infolist()
    size = sum(info.file_size for info in infos)
    if len(infos) > MAX_MEMBERS or size > MAX_RATIO * path.stat().st_size:
        raise WeightsError(
            f"{path}: expected a model of at most {MAX_MEMBERS} members, whose sizes "
            f"add up to at most {MAX_RATIO} times that of the archive, found "
            f"{len(infos)} members of {size} bytes. Do not trust this file."
        )
    for info in infos:
        name = PurePosixPath(info.filename.replace("\\", "/"))
        if name.is_absolute() or ".." in name.parts or ":" in info.filename:
            raise WeightsError(
                f"{path}: expected members inside the archive, found the path "
                f"{info.filename!r}, which leads out of it. Do not trust this file."
            )
        if name.suffix in SUFFIXES and name.name != META:
            if name.name in members:
                raise WeightsError(
                    f"{path}: expected one {name.name}, found two: "
                    f"{members[name.name].filename} and {info.filename}."
                )
            if info.compress_type not in METHODS:
                raise WeightsError(
                    f"{path}: {info.filename}: expected a member that is stored or "
                    f"deflated, found compression method {info.compress_type}. Pack "
                    "the archive again."
                )
            members[name.name] = info
    return members
