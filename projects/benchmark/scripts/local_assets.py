"""Lay the project's assets in place from a local folder, without a network."""

import bz2
import gzip
import hashlib
import lzma
from pathlib import Path
from typing import Annotated, Any, Dict, Iterator, Optional

import srsly
import typer
from wasabi import msg

PROJECT = Path(__file__).resolve().parent.parent
OPENERS: Dict[str, Any] = {
    "": open,
    ".xz": lzma.open,
    ".gz": gzip.open,
    ".bz2": bz2.open,
}
BROKEN = (OSError, EOFError, lzma.LZMAError)


def main(
    folder: Annotated[
        Path,
        typer.Argument(
            help="Folder that holds the files, at any depth.",
            exists=True,
            file_okay=False,
        ),
    ],
) -> None:
    """Find each asset of project.yml by its name below FOLDER, as it is or packed
    (.xz, .gz, .bz2), compare its checksum and lay it in place, unpacked."""
    assets = srsly.read_yaml(PROJECT / "project.yml")["assets"]
    placed = [place(folder, asset["dest"], asset["checksum"]) for asset in assets]
    if not all(placed):
        missing = len(placed) - sum(placed)
        msg.fail(f"{missing} of {len(placed)} assets are not in place")
        raise typer.Exit(1)


def place(folder: Path, name: str, checksum: str) -> bool:
    """Lay one asset in place and say what was done. Returns whether it is there."""
    target = PROJECT / name
    if target.is_file() and md5(target.read_bytes()) == checksum:
        msg.good(f"{name}: already in place")
        return True
    found = 0
    for source in candidates(folder, target.name):
        found += 1
        content = unpack(source)
        if content is None:
            continue
        if md5(content) != checksum:
            msg.warn(f"{source}: MD5 is {md5(content)}, expected {checksum}")
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        msg.good(f"{name}: {'copied' if not packed(source) else 'unpacked'} {source}")
        return True
    if found:
        msg.fail(f"{name}: none of the files of this name is the one expected")
    else:
        names = ", ".join(target.name + suffix for suffix in OPENERS)
        msg.fail(f"{name}: not below {folder}", f"Looked for {names}.")
    return False


def candidates(folder: Path, name: str) -> Iterator[Path]:
    """Files below a folder that could be the asset, unpacked ones first."""
    for suffix in OPENERS:
        yield from sorted(p for p in folder.rglob(name + suffix) if p.is_file())


def packed(path: Path) -> bool:
    return path.suffix in OPENERS


def unpack(path: Path) -> Optional[bytes]:
    """Read a file, packed or not; None, with a warning, where it is broken."""
    try:
        with OPENERS.get(path.suffix, open)(path, "rb") as file:
            content: bytes = file.read()
            return content
    except BROKEN as error:
        msg.warn(f"{path}: cannot be read ({error})")
        return None


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


if __name__ == "__main__":
    typer.run(main)
