"""Results as JSON, with how sure their figures are."""

import hashlib
import time
from pathlib import Path
from typing import Any, Dict, List, Sequence, Tuple

import numpy as np
import srsly
from wasabi import msg

from spacy_elmo import BiLM
from spacy_elmo.files import write_json

TASKS = ("upos", "wsd", "wic", "nouns")
N_SAMPLES = 2000


def interval(values: np.ndarray, groups: Sequence[Any]) -> List[float]:
    """The 95 % interval of the values' mean, by bootstrap: whole groups (documents,
    sentences) are drawn with replacement, since what is in one of them is alike.

    values: (n,). groups: a name or number of each.
    """
    _, numbers = np.unique(np.asarray(groups), return_inverse=True)
    sizes = np.bincount(numbers)
    sums = np.bincount(numbers, weights=values)
    generator = np.random.default_rng(0)
    means = np.empty(N_SAMPLES)
    for sample in range(N_SAMPLES):
        drawn = generator.integers(len(sizes), size=len(sizes))
        means[sample] = sums[drawn].sum() / sizes[drawn].sum()
    return [round(float(value), 5) for value in np.quantile(means, (0.025, 0.975))]


def figure(values: np.ndarray, groups: Sequence[Any]) -> Dict[str, Any]:
    mean = round(float(values.mean()), 5)
    return {"mean": mean, "interval": interval(values, groups)}


def figures(
    right: Dict[str, np.ndarray], groups: Sequence[Any]
) -> Dict[str, Dict[str, Any]]:
    """Of each layer, and of the differences between one and the next ("1 - 0").

    right: by layer, in order, whether each example is right (n,), or in what share of
        the runs.
    """
    names = list(right)
    return {
        "layers": {name: figure(right[name], groups) for name in names},
        "differences": {
            f"{one} - {other}": figure(
                right[one].astype(float) - right[other].astype(float), groups
            )
            for one, other in zip(names[1:], names)
        },
    }


def describe(bilm: BiLM, weights: Path) -> Dict[str, Any]:
    """Which weights the figures are of."""
    content = (weights / "model.safetensors").read_bytes()
    return {
        "parameters": bilm.n_parameters,
        "layers": bilm.config.n_layers + 1,
        "width": bilm.config.width,
        "md5": hashlib.md5(content, usedforsecurity=False).hexdigest(),
    }


def save(path: Path, values: Dict[str, Any], start: float) -> None:
    """start: by `time.perf_counter`."""
    seconds = round(time.perf_counter() - start, 1)
    write_json(path, {**values, "seconds": seconds})
    msg.good(f"{path}: {seconds:,.0f} seconds")


def read(folder: Path) -> Tuple[Dict[str, Dict[str, Any]], List[Dict[str, Any]]]:
    """The results that are there: those of the tasks, by name, and those of words.

    Raises ValueError where there is none, or where they are of several models.
    """
    paths = [folder / f"{task}.json" for task in TASKS]
    tasks = {path.stem: srsly.read_json(path) for path in paths if path.is_file()}
    words = [srsly.read_json(path) for path in sorted(folder.glob("word-*.json"))]
    models = {result["model"]["md5"] for result in [*tasks.values(), *words]}
    if len(models) != 1:
        raise ValueError(
            f"{folder}: expected the results of one model, found those of "
            f"{len(models)}. Run the project's `all`, each model with its own folder."
        )
    return tasks, words
