"""Put the weights of a biLM into a project."""

from pathlib import Path
from typing import Annotated

import typer
from wasabi import msg

from spacy_elmo import load_bilm, save_bilm
from spacy_elmo.formats.bundled import bundled_folder


def main(
    source: Annotated[
        str, typer.Argument(help="Weights of any known format; null: those that ship")
    ],
    target: Annotated[Path, typer.Argument(help="Folder to write")],
) -> None:
    """Convert weights to spacy-elmo's own format, so that every step depends on one
    folder and runs again if the weights change."""
    try:
        bilm = load_bilm(bundled_folder() if source == "null" else source)
    except (OSError, ValueError) as error:
        typer.echo(f"\u2718 {error}", err=True)
        raise typer.Exit(1) from error
    save_bilm(bilm, target)
    msg.good(f"{target}: {bilm.n_parameters:,} weights", str(source))


if __name__ == "__main__":
    typer.run(main)
