"""Create the environment of a peer from the package index."""

import hashlib
import platform
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import srsly
import typer
from wasabi import msg

MARK = "complete.json"


def main(
    folder: Annotated[Path, typer.Argument(help="Folder of the environment")],
    requirements: Annotated[
        Path, typer.Argument(help="Pinned packages", exists=True, dir_okay=False)
    ],
    alone: Annotated[
        Path,
        typer.Argument(
            help="Pinned packages to install without their dependencies",
            exists=True,
            dir_okay=False,
        ),
    ],
) -> None:
    """Create the environment, unless it exists with these packages already.

    The peers' own requirements exclude the newer packages that they run with here, so
    they are installed last and without dependencies (ALONE).
    """
    wanted = {
        "python": platform.python_version(),
        **{path.name: md5(path) for path in (requirements, alone)},
    }
    mark = folder / MARK
    if mark.is_file() and srsly.read_json(mark) == wanted and python_of(folder):
        msg.info(f"{folder} is complete")
        return
    mark.unlink(missing_ok=True)
    run(sys.executable, "-m", "venv", "--clear", str(folder))
    install = (python_of(folder), "-m", "pip", "install", "--quiet")
    run(*install, "--requirement", str(requirements))
    run(*install, "--no-deps", "--requirement", str(alone))
    srsly.write_json(mark, wanted)
    msg.good(f"{folder}: {', '.join(alone.read_text(encoding='utf8').split())}")


def python_of(folder: Path) -> str:
    """Get the environment's interpreter; empty if there is none."""
    for name in ("bin/python", "Scripts/python.exe"):
        if (folder / name).exists():
            return str(folder / name)
    return ""


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def run(*command: str) -> None:
    if subprocess.run(command, check=False).returncode:
        msg.fail(f"Failed: {' '.join(command)}", exits=1)


if __name__ == "__main__":
    typer.run(main)
