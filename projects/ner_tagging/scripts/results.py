"""Gather the results of all trainings by task and variant."""

import statistics
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Sequence

import srsly
import typer
from variants import TASKS, VARIANTS
from wasabi import msg

Runs = Dict[str, Dict[str, List[Dict[str, Any]]]]


class Spread(NamedTuple):
    """Mean and sample standard deviation, which is 0 for a single value."""

    mean: float
    deviation: float


def read_results(folder: Path) -> Runs:
    """Read the runs by task, variant and seed, in the order of variants.py. Exits if
    there are none."""
    runs: Runs = {}
    for task in TASKS:
        for variant in VARIANTS:
            paths = folder.glob(f"{task}-{variant}-*.json")
            found = [srsly.read_json(path) for path in paths]
            if found:
                found.sort(key=lambda run: run["seed"])
                runs.setdefault(task, {})[variant] = found
    if not runs:
        msg.fail(f"Expected results in {folder}, found none", "Run compare first.")
        raise typer.Exit(1)
    return runs


def spread(values: Sequence[float]) -> Spread:
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return Spread(statistics.mean(values), deviation)


def scores(runs: Sequence[Dict[str, Any]], part: str, metric: str) -> Spread:
    return spread([run[part][metric] for run in runs])


def heads(runs: Sequence[Dict[str, Any]]) -> Dict[str, List[Dict[str, Any]]]:
    """Average the mixes of each head, weights and gamma, over the runs."""
    means: Dict[str, List[Dict[str, Any]]] = {}
    for head, mixes in runs[0]["mixes"].items():
        for index in range(len(mixes)):
            same = [run["mixes"][head][index] for run in runs]
            weights = zip(*(mix["weights"] for mix in same))
            means.setdefault(head, []).append(
                {
                    "weights": [statistics.mean(layer) for layer in weights],
                    "gamma": statistics.mean(mix["gamma"] for mix in same),
                }
            )
    return means
