"""Words per second of training a biLM that is not frozen, forward and back, and
AllenNLP's."""

from pathlib import Path
from typing import Annotated, Any, Dict, List

import typer
from models import HELP, parse_models
from peers import ALLENNLP, OURS, start_all, versions_of
from protocol import Team
from records import write_results
from rounds import ratios, summarise_all
from treebank import BATCH_SIZE
from wasabi import msg


def main(
    text: Annotated[Path, typer.Argument(help="CoNLL-U file", exists=True)],
    target: Annotated[Path, typer.Argument(help="JSON to write")],
    models: Annotated[List[str], typer.Argument(help=HELP)],
    n_batches: Annotated[int, typer.Option(help="Evenly spread; 0: all")] = 4,
    n_rounds: int = 3,
    threads: int = 2,
) -> None:
    """The loss is a fixed random projection of all layers; no optimizer is run, it
    would be the same for both."""
    sizes: Dict[str, Any] = {}
    options: Dict[str, Dict[str, Any]] = {
        OURS: {"n_batches": n_batches},
        ALLENNLP: {"n_batches": n_batches, "trainable": True},
    }
    for model in parse_models(models):
        with Team(threads) as team:
            found = start_all(team, [OURS, ALLENNLP], model, text, options)
            ours = found[OURS]
            precisions = ["float32"] + ["bfloat16"] * ours["native_bfloat16"]
            rounds, peaks = [], []
            for number in range(n_rounds):
                peaks.append({"float32": team.workers[OURS].ask("peak")})
                rounds.append(one_round(team, ours["words"], precisions))
                speeds = (f"{k} {v:,.0f}" for k, v in rounds[-1].items())
                msg.info(f"{model.name}, round {number + 1}: {', '.join(speeds)}")
        sizes[model.name] = {
            "words": ours["words"],
            "sentences": ours["sentences"],
            "words_per_second": summarise_all(rounds),
            "ratios": ratios(rounds, precisions, [ALLENNLP]),
            "peak_gflops": summarise_all(peaks),
        }
    write_results(
        target,
        versions_of(found),
        threads,
        n_rounds=n_rounds,
        batch_size=BATCH_SIZE,
        sizes=sizes,
    )


def one_round(team: Team, words: int, precisions: List[str]) -> Dict[str, float]:
    """Words per second."""
    ours, other = team.workers[OURS], team.workers[ALLENNLP]
    speeds: Dict[str, float] = {}
    for precision in precisions:
        ours.ask("warm_up_training", precision=precision)
        speeds[precision] = words / ours.ask("train", precision=precision)["seconds"]
    other.ask("warm_up_training")
    speeds[ALLENNLP] = words / other.ask("train")["seconds"]
    return speeds


if __name__ == "__main__":
    typer.run(main)
