"""Words per second of all systems on the table's work, and of our LSTMs alone."""

from pathlib import Path
from typing import Annotated, Any, Dict, List

import typer
from models import HELP, parse_models
from peers import ALLENNLP, OURS, SIMPLE_ELMO, SYSTEMS, start_all, versions_of
from protocol import Team, Worker
from records import write_results
from rounds import ratios, summarise_all
from treebank import BATCH_SIZE
from wasabi import msg

PASSES = ("batches", "cold", "warm")
PEERS = ("allennlp", "allennlp from words", "allennlp cached", "simple_elmo")
"""AllenNLP from character ids that were formed before, from words, and with all words'
vectors formed before; simple_elmo from words."""

Figures = Dict[str, Dict[str, float]]


def main(
    text: Annotated[Path, typer.Argument(help="CoNLL-U file", exists=True)],
    target: Annotated[Path, typer.Argument(help="JSON to write")],
    models: Annotated[List[str], typer.Argument(help=HELP)],
    n_rounds: int = 3,
    threads: int = 2,
) -> None:
    """In each round every system makes its passes, one after the other, and the machine
    tells its limit of that minute."""
    sizes: Dict[str, Any] = {}
    for model in parse_models(models):
        with Team(threads) as team:
            found = start_all(team, SYSTEMS, model, text)
            ours = found[OURS]
            precisions = ["float32"] + ["bfloat16"] * ours["native_bfloat16"]
            team.workers[SIMPLE_ELMO].ask("warm_up")
            rounds = []
            for number in range(n_rounds):
                rounds.append(one_round(team, ours["words"], precisions))
                msg.info(f"{model.name}, round {number + 1}: {shown(rounds[-1])}")
        sizes[model.name] = {
            "words": ours["words"],
            "sentences": ours["sentences"],
            "parameters": ours["parameters"],
            **gather(rounds, precisions),
        }
    write_results(
        target,
        versions_of(found),
        threads,
        n_rounds=n_rounds,
        batch_size=BATCH_SIZE,
        sizes=sizes,
    )


def one_round(team: Team, words: int, precisions: List[str]) -> Figures:
    """Words per second of each pass, the LSTMs' GFLOP/s, and the machine's peaks: all
    of them once, and float32's once more right before each pass."""
    mine, other = team.workers[OURS], team.workers[ALLENNLP]
    speeds: Dict[str, float] = {}
    beside: Dict[str, float] = {}
    lstms: Dict[str, float] = {}
    peaks: Dict[str, float] = {}

    def measure(
        name: str, worker: Worker, task: str, **options: str
    ) -> Dict[str, float]:
        beside[name] = mine.ask("peak")
        worker.ask("warm_up", **options)
        answer: Dict[str, float] = worker.ask(task, **options)
        speeds[name] = words / answer["seconds"]
        return answer

    for precision in precisions:
        for name in PASSES:
            measure(f"{name} {precision}", mine, f"encode_{name}", precision=precision)
        peaks[precision] = mine.ask("peak", precision=precision)
        packed = mine.ask("peak", precision=precision, is_packed=True)
        answer = mine.ask("lstms", precision=precision)
        gflops = answer["gflop"] / answer["seconds"]
        lstms[f"{precision} gflops"] = gflops
        lstms[f"{precision} rows a product"] = answer["rows"]
        if packed:
            peaks[f"{precision} packed"] = packed
            lstms[f"{precision} share of packed peak"] = gflops / packed
    answer = measure("allennlp", other, "encode")
    speeds["allennlp from words"] = words / (answer["seconds"] + answer["id_seconds"])
    measure("allennlp cached", other, "encode_cached")
    measure("simple_elmo", team.workers[SIMPLE_ELMO], "encode")
    return {"speeds": speeds, "beside": beside, "lstms": lstms, "peaks": peaks}


def gather(rounds: List[Figures], precisions: List[str]) -> Dict[str, Any]:
    """Medians and spreads of all rounds."""
    speeds = [one["speeds"] for one in rounds]
    ours = [f"{name} {precision}" for precision in precisions for name in PASSES]
    gathered: Dict[str, Any] = {
        "words_per_second": summarise_all(speeds),
        "ratios": ratios(speeds, ours, PEERS),
    }
    if "bfloat16" in precisions:
        gathered["bfloat16_to_float32"] = summarise_all(
            [
                {n: one[f"{n} bfloat16"] / one[f"{n} float32"] for n in PASSES}
                for one in speeds
            ]
        )
    return {
        **gathered,
        "lstms": summarise_all([one["lstms"] for one in rounds]),
        "peak_gflops": summarise_all([one["peaks"] for one in rounds]),
        "float32_peak_gflops_beside": summarise_all([one["beside"] for one in rounds]),
    }


def shown(one: Figures) -> str:
    speeds = (f"{name} {speed:,.0f}" for name, speed in one["speeds"].items())
    return f"{', '.join(speeds)} words/s"


if __name__ == "__main__":
    typer.run(main)
