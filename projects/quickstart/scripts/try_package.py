"""Load a packaged pipeline from its folder and tag some sentences."""

import importlib
import sys
from pathlib import Path
from typing import Annotated, List, Optional

import typer
from wasabi import msg

TEXTS = (
    "Paris Walker asked for a Solvex lamp.",
    "We take the night train from Paris to Florence.",
    "Florence has moved to Porto and left her Wexley bicycle here.",
)


def main(
    folder: Annotated[
        Path, typer.Argument(help="Folder written by `spacy package`", exists=True)
    ],
    text: Annotated[
        Optional[List[str]], typer.Argument(help="Your own sentences")
    ] = None,
) -> None:
    """Import the package as if it were installed with pip from the archive in dist/."""
    name = folder.resolve().name.rsplit("-", 1)[0]
    sys.path.insert(0, str(folder))
    nlp = importlib.import_module(name).load()
    msg.good(f"{name}: {', '.join(nlp.pipe_names)}")
    for doc in nlp.pipe(text or TEXTS):
        found = ", ".join(f"{entity.text} ({entity.label_})" for entity in doc.ents)
        msg.text(doc.text, found or "no entities")


if __name__ == "__main__":
    typer.run(main)
