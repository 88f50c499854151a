"""Copy a project's assets from a local folder instead of the network."""

import bz2
import gzip
import hashlib
import lzma
import tarfile
from pathlib import Path
from typing import Annotated, Any, Dict, Iterator, Optional, Tuple

import srsly
import typer
from wasabi import msg

OPENERS: Dict[str, Any] = {
    "": open,
    ".xz": lzma.open,
    ".gz": gzip.open,
    ".bz2": bz2.open,
}
BROKEN = (OSError, EOFError, lzma.LZMAError, tarfile.TarError)


def main(
    folder: Annotated[
        Path,
        typer.Argument(
            help="Folder that contains the files, at any depth.",
            exists=True,
            file_okay=False,
        ),
    ],
    below: Annotated[
        str, typer.Option(help="Folder of the project, to leave out other assets.")
    ] = ".",
) -> None:
    """Find each asset of ./project.yml by its name below FOLDER: as it is, compressed
    (.xz, .gz, .bz2), or in an archive (.tar, .tar.xz, ...). Check its checksum, if it
    has one, and copy it, uncompressed."""
    assets = [
        asset
        for asset in srsly.read_yaml("project.yml")["assets"]
        if Path(below) in Path(asset["dest"]).parents
    ]
    if not assets:
        msg.fail(f"project.yml: expected assets below {below}, found none", exits=1)
    placed = [place(folder, asset["dest"], asset.get("checksum")) for asset in assets]
    if not all(placed):
        missing = len(placed) - sum(placed)
        msg.fail(f"{missing} of {len(placed)} assets are not in place", exits=1)


def place(folder: Path, name: str, checksum: Optional[str]) -> bool:
    """Put one asset in place.

    RETURNS (bool): Whether it is in place.
    """
    target = Path(name)
    if target.is_file() and checksum in (None, md5(target.read_bytes())):
        msg.good(f"{name}: already in place")
        return True
    for source, content in candidates(folder, target.name):
        if checksum not in (None, md5(content)):
            msg.warn(f"{source}: MD5 is {md5(content)}, expected {checksum}")
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        msg.good(f"{name}: from {source}")
        return True
    msg.fail(f"{name}: not found below {folder}, neither as a file nor in a .tar")
    return False


def candidates(folder: Path, name: str) -> Iterator[Tuple[str, bytes]]:
    """Find the files that could be the asset, with their uncompressed contents."""
    for suffix, opener in OPENERS.items():
        for path in sorted(folder.rglob(name + suffix)):
            try:
                with opener(path, "rb") as file:
                    yield str(path), file.read()
            except BROKEN as error:
                msg.warn(f"{path}: cannot be read ({error})")
    for path in sorted(folder.rglob("*.tar*")):
        try:
            with tarfile.open(path) as archive:
                for member in archive:
                    file = archive.extractfile(member)
                    if file and Path(member.name).name == name:
                        yield f"{path}, {member.name}", file.read()
        except BROKEN as error:
            msg.warn(f"{path}: cannot be read ({error})")


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


if __name__ == "__main__":
    typer.run(main)
