"""An environment of its own for a peer, from the package index."""

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
            help="Pinned packages to install without what they ask for",
            exists=True,
            dir_okay=False,
        ),
    ],
) -> None:
    """Make the environment, unless it is there with these packages already.

    The peers are older than the packages that they run beside here, and would refuse
    them: they are installed ALONE, after all others.
    """
    wanted = {
        "python": platform.python_version(),
        **{path.name: md5(path) for path in (requirements, alone)},
    }
    mark = folder / MARK
    if mark.is_file() and srsly.read_json(mark) == wanted and python_of(folder):
        msg.info(f"{folder} is complete and is left as it is")
        return
    mark.unlink(missing_ok=True)
    run(sys.executable, "-m", "venv", "--clear", str(folder))
    install = (python_of(folder), "-m", "pip", "install", "--quiet")
    run(*install, "--requirement", str(requirements))
    run(*install, "--no-deps", "--requirement", str(alone))
    srsly.write_json(mark, wanted)
    msg.good(f"{folder}: {', '.join(alone.read_text(encoding='utf8').split())}")


def python_of(folder: Path) -> str:
    """The environment's interpreter; an empty text where there is none."""
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
