"""Load a packaged pipeline from its folder and process a sentence."""

import importlib
import sys
from pathlib import Path
from typing import Annotated

import typer
from languages import LANGUAGES, find_language
from wasabi import msg


def main(
    name: Annotated[str, typer.Argument(help=f"One of {', '.join(LANGUAGES)}")],
    packages: Annotated[Path, typer.Argument(help="Folder of packages", exists=True)],
) -> None:
    """Import the package as if it were installed with pip from the archive in dist/."""
    language = find_language(name)
    package = f"{language.code}_elmo_{name}"
    versions = sorted(
        packages.glob(f"{package}-*"), key=lambda path: path.stat().st_mtime
    )
    if not versions:
        msg.fail(f"{packages}: expected {package}", "Run the command package.")
        raise typer.Exit(1)
    sys.path.insert(0, str(versions[-1]))
    nlp = importlib.import_module(package).load()
    doc = nlp(language.example)
    msg.good(f"{package}: {', '.join(nlp.pipe_names)}")
    for token in doc:
        label = token.ent_type_ or f"{token.pos_} {token.morph}".strip() or "-"
        msg.text(f"{token.text:15} {label}")
    print(f"Vectors: {doc.tensor.shape}")


if __name__ == "__main__":
    typer.run(main)
