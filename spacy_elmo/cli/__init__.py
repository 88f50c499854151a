"""python -m spacy elmo: one command a module. spaCy imports them at every start, so
none imports PyTorch before it runs."""

import typer
from spacy.cli._util import app

from ..pretraining.command import EXTRA, pretrain_cli
from .convert import convert_cli
from .embed import embed_cli
from .evaluate import evaluate_cli
from .explore import explore_cli
from .info import info_cli
from .neighbors import neighbors_cli
from .pairs import pairs_cli
from .score import score_cli

elmo_cli = typer.Typer(
    name="elmo",
    help="Pretrain, evaluate, convert and inspect ELMo biLMs, and embed text.",
    no_args_is_help=True,
    add_completion=False,
)
elmo_cli.command("pretrain", context_settings=EXTRA)(pretrain_cli)
elmo_cli.command("evaluate")(evaluate_cli)
elmo_cli.command("convert")(convert_cli)
elmo_cli.command("info")(info_cli)
elmo_cli.command("embed")(embed_cli)
elmo_cli.command("neighbors")(neighbors_cli)
elmo_cli.command("pairs")(pairs_cli)
elmo_cli.command("explore")(explore_cli)
elmo_cli.command("score")(score_cli)
app.add_typer(elmo_cli)

__all__ = ["elmo_cli"]
