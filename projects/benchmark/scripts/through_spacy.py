"""Measure what spaCy adds to the network's own time, and how fast a pipeline starts."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any, Dict, List

import typer
from measuring import (
    MODELS,
    our_versions,
    parse_models,
    summarize_all,
    write_results,
)
from protocol import SCRIPTS, THREADS, Team, Worker
from wasabi import msg

FORMATS = {"hdf5": "", "safetensors": "-safetensors"}


def main(
    text: Annotated[Path, typer.Argument(help="CoNLL-U file", exists=True)],
    target: Annotated[Path, typer.Argument(help="JSON to write")],
    models: Annotated[List[str], typer.Argument(help=MODELS)],
    n_rounds: int = 3,
    n_runs: Annotated[int, typer.Option(help="Runs of a short doc per round")] = 50,
    threads: int = 2,
) -> None:
    """The start is also measured with the same weights in our own format, in
    FOLDER-safetensors."""
    sizes: Dict[str, Any] = {}
    for model in parse_models(models):
        with Team(threads) as team:
            worker = team.start("spacy", sys.executable, "our_worker.py")
            found = worker.ask(
                "load",
                weights=str(model.folder),
                text=str(text),
                n_sentences=model.n_sentences,
            )
            short_doc_words = worker.ask("add_component")
            for task in ("encode", "pipe"):
                worker.ask(task)
            rounds = []
            for number in range(n_rounds):
                rounds.append(one_round(worker, found["words"], n_runs))
                msg.info(f"{model.name}, round {number + 1}: {rounds[-1]}")
        starts = {}
        for name, suffix in FORMATS.items():
            folder = Path(f"{model.folder}{suffix}")
            # The first start reads the files from disk and is not counted.
            times = [start_up(folder, threads) for _ in range(n_rounds + 1)][1:]
            starts[name] = summarize_all(times)
            msg.info(f"{folder.name}: {times[-1]}")
        sizes[model.name] = {
            "words": found["words"],
            "sentences": found["sentences"],
            "short_doc_words": short_doc_words,
            "through_spacy": summarize_all(rounds),
            "start_up": starts,
        }
    write_results(target, our_versions(), threads, n_rounds=n_rounds, sizes=sizes)


def one_round(worker: Worker, words: int, n_runs: int) -> Dict[str, float]:
    alone, piped = (words / worker.ask(task)["seconds"] for task in ("encode", "pipe"))
    short = worker.ask("short_doc", n_runs=n_runs)
    return {
        "encode words_per_second": alone,
        "pipe words_per_second": piped,
        "pipe share of encode": piped / alone,
        "short doc nlp seconds": short["nlp"],
        "short doc bilm seconds": short["bilm"],
        "short doc ratio": short["nlp"] / short["bilm"],
    }


def start_up(weights: Path, threads: int) -> Dict[str, float]:
    """Time the steps of a fresh process."""
    found: Dict[str, float] = json.loads(
        subprocess.run(
            [sys.executable, str(SCRIPTS / "start_up.py"), str(weights)],
            env={**os.environ, **dict.fromkeys(THREADS, str(threads))},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
    )
    return found


if __name__ == "__main__":
    typer.run(main)
