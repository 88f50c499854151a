"""What bfloat16 loses: cosines of the words' vectors to those in float32."""

from pathlib import Path
from typing import Annotated, Any, Dict, List

import typer
from models import HELP, parse_models
from peers import OURS, start_all, versions_of
from protocol import Team
from records import write_results
from wasabi import msg


def main(
    text: Annotated[Path, typer.Argument(help="CoNLL-U file", exists=True)],
    target: Annotated[Path, typer.Argument(help="JSON to write")],
    models: Annotated[List[str], typer.Argument(help=HELP)],
    threads: int = 2,
) -> None:
    """Mean and least cosine of each layer. The loss depends on the weights, not on the
    machine: those that were trained are a better test."""
    sizes: Dict[str, Any] = {}
    for model in parse_models(models):
        with Team(threads) as team:
            found = start_all(team, [OURS], model, text)
            layers = team.workers[OURS].ask("cosines")
        sizes[model.name] = {
            "words": found[OURS]["words"],
            "sentences": found[OURS]["sentences"],
            "cosines": layers,
        }
        msg.info(f"{model.name}: {layers}")
    write_results(target, versions_of(found), threads, sizes=sizes)


if __name__ == "__main__":
    typer.run(main)
