"""Results as JSON, with confidence intervals."""

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
    """Compute the 95 % interval of the mean by bootstrap. Whole groups (documents,
    sentences) are sampled with replacement, because their values are correlated.

    values (np.ndarray): Values of shape (n,).
    groups (Sequence[Any]): Name or number of each value's group.
    RETURNS (List[float]): Lower and upper end.
    """
    _, numbers = np.unique(np.asarray(groups), return_inverse=True)
    sizes = np.bincount(numbers)
    sums = np.bincount(numbers, weights=values)
    generator = np.random.default_rng(0)
    means = np.empty(N_SAMPLES)
    for sample in range(N_SAMPLES):
        sampled = generator.integers(len(sizes), size=len(sizes))
        means[sample] = sums[sampled].sum() / sizes[sampled].sum()
    return [round(float(value), 5) for value in np.quantile(means, (0.025, 0.975))]


def figure(values: np.ndarray, groups: Sequence[Any]) -> Dict[str, Any]:
    mean = round(float(values.mean()), 5)
    return {"mean": mean, "interval": interval(values, groups)}


def figures(
    right: Dict[str, np.ndarray], groups: Sequence[Any]
) -> Dict[str, Dict[str, Any]]:
    """Compute the figures of each layer, and of the differences between neighboring
    layers ("1 - 0").

    right (Dict[str, np.ndarray]): By layer, in order, whether each example is right, or
        its share of the runs; of shape (n,).
    groups (Sequence[Any]): Group of each example.
    RETURNS (Dict[str, Dict[str, Any]]): Means and intervals.
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
    """Describe the weights."""
    content = (weights / "model.safetensors").read_bytes()
    return {
        "parameters": bilm.n_parameters,
        "layers": bilm.config.n_layers + 1,
        "width": bilm.config.width,
        "md5": hashlib.md5(content, usedforsecurity=False).hexdigest(),
    }


def save(path: Path, values: Dict[str, Any], start: float) -> None:
    """Write results with the time since `start`, a value of `time.perf_counter`."""
    seconds = round(time.perf_counter() - start, 1)
    write_json(path, {**values, "seconds": seconds})
    msg.good(f"{path}: {seconds:,.0f} seconds")


def read(folder: Path) -> Tuple[Dict[str, Dict[str, Any]], List[Dict[str, Any]]]:
    """Read the results of the tasks, by name, and of words.

    RAISES: ValueError if there are none, or if they are of several models.
    """
    paths = [folder / f"{task}.json" for task in TASKS]
    tasks = {path.stem: srsly.read_json(path) for path in paths if path.is_file()}
    words = [srsly.read_json(path) for path in sorted(folder.glob("word-*.json"))]
    models = {result["model"]["md5"] for result in [*tasks.values(), *words]}
    if len(models) != 1:
        raise ValueError(
            f"{folder}: expected the results of one model, found those of "
            f"{len(models)}. Run the project's `all` with a separate folder per model."
        )
    return tasks, words
