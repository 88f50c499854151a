"""python -m spacy elmo ...: one module a command, imported by spaCy at every start, so
none of them imports PyTorch before it runs."""

import typer
from spacy.cli._util import app

from .convert import convert_cli
from .info import info_cli

elmo_cli = typer.Typer(
    name="elmo",
    help="Look at ELMo biLMs and convert them.",
    no_args_is_help=True,
    add_completion=False,
)
elmo_cli.command("convert")(convert_cli)
elmo_cli.command("info")(info_cli)
app.add_typer(elmo_cli)

__all__ = ["elmo_cli"]
