"""Predict word senses in SemCor by the nearest centroid, for each layer (Peters et al.
2018, section 5.3)."""

import time
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Dict, List, NamedTuple, Sequence, Tuple

import numpy as np
import srsly
import typer
from probe import MIX
from results import describe, figures, save
from vectors import embed, load

from spacy_elmo import BiLM

FIRST_SENSE = 1
"""WordNet's first sense, for lemmas that are not in the training documents."""

TIE = 1e-5
"""Cosines that differ by less are tied: a form has one context-free vector."""

Lemma = Tuple[str, str]
"""A lemma and its part of speech."""


class Instances(NamedTuple):
    """Words with senses.

    lemmas (List[Lemma]): Lemma of each word.
    numbers (List[List[int]]): Correct senses of each word.
    documents (List[str]): Document of each word.
    vectors (np.ndarray): float16 of shape (n_layers, n, width).
    """

    lemmas: List[Lemma]
    numbers: List[List[int]]
    documents: List[str]
    vectors: np.ndarray

    def rows(self) -> Dict[Lemma, List[int]]:
        found: Dict[Lemma, List[int]] = {}
        for row, lemma in enumerate(self.lemmas):
            found.setdefault(lemma, []).append(row)
        return found


class Senses(NamedTuple):
    """Senses of a lemma in the training documents.

    numbers (np.ndarray): Ascending numbers of shape (n_senses,).
    centroids (np.ndarray): Mean vectors of shape (n_layers, n_senses, width).
    most_frequent (int): Number of the most frequent sense.
    """

    numbers: np.ndarray
    centroids: np.ndarray
    most_frequent: int


Inventory = Dict[Lemma, Senses]


def main(
    corpus: Annotated[Path, typer.Argument(help="SemCor (.jsonl)", exists=True)],
    weights: Annotated[Path, typer.Argument(help="Folder of the weights")],
    output: Annotated[Path, typer.Argument(help="JSON file to write")],
    grid: Annotated[
        int, typer.Option(help="Steps between 0 and 1 of the weights of a mix")
    ] = 10,
    gpu_id: Annotated[int, typer.Option(help="-1: CPU")] = -1,
) -> None:
    """Use the training documents for centroids, the development documents for the
    mix and the test documents for scores."""
    start = time.perf_counter()
    bilm = load(weights, gpu_id)
    sentences = list(srsly.read_jsonl(corpus))
    sets = {name: collect(bilm, sentences, name) for name in ("train", "dev", "test")}
    test = sets["test"]
    inventory = make_inventory(sets["train"])
    scales = layer_scales(sets["train"].vectors)
    mix = best_mix(inventory, sets["dev"], scales, grid)
    layers = {str(layer): one for layer, one in enumerate(np.eye(len(scales)))}
    predicted = {
        name: predict(inventory, test, some)
        for name, some in {**layers, MIX: mix * scales}.items()
    }
    right = {name: is_right(found, test) for name, found in predicted.items()}
    hard = np.asarray([has_choice(inventory, lemma) for lemma in test.lemmas])
    result = {
        "title": "Word senses, SemCor",
        "model": describe(bilm, weights),
        "n": {
            **{name: len(instances.lemmas) for name, instances in sets.items()},
            "test, with a choice": int(hard.sum()),
        },
        "baselines": baselines(inventory, test),
        **figures(right, test.documents),
        "with_a_choice": {
            name: float(found[hard].mean()) for name, found in right.items()
        },
        "mix": mix.tolist(),
    }
    save(output, result, start)


def collect(bilm: BiLM, sentences: Sequence[Dict[str, Any]], split: str) -> Instances:
    """Collect all words with senses in a split.

    RAISES: ValueError if there are none.
    """
    chosen = [sentence for sentence in sentences if sentence["split"] == split]
    senses = [(s["document"], sense) for s in chosen for sense in s["senses"]]
    if not senses:
        raise ValueError(f"expected words with senses in {split}, found none")
    spans = [[sense["span"] for sense in s["senses"]] for s in chosen]
    return Instances(
        lemmas=[(sense["lemma"], sense["pos"]) for _, sense in senses],
        numbers=[sense["numbers"] for _, sense in senses],
        documents=[document for document, _ in senses],
        vectors=embed(bilm, [s["words"] for s in chosen], spans).numpy(),
    )


def make_inventory(train: Instances) -> Inventory:
    inventory: Inventory = {}
    for lemma, rows in train.rows().items():
        of_sense: Dict[int, List[int]] = {}
        for row in rows:
            for number in train.numbers[row]:
                of_sense.setdefault(number, []).append(row)
        numbers = sorted(of_sense)
        means = [train.vectors[:, of_sense[n]].mean(axis=1, dtype="f") for n in numbers]
        # Among ties, the first
        most_frequent = max(
            numbers, key=lambda number: (len(of_sense[number]), -number)
        )
        inventory[lemma] = Senses(
            np.asarray(numbers), np.stack(means, axis=1), most_frequent
        )
    return inventory


def has_choice(inventory: Inventory, lemma: Lemma) -> bool:
    return lemma in inventory and len(inventory[lemma].numbers) > 1


def predict(
    inventory: Inventory, instances: Instances, weights: np.ndarray
) -> np.ndarray:
    """Predict the sense whose centroid is nearest, by the cosine of the weighted sum of
    the layers. Ties are broken at random. A lemma that is not in the training documents
    gets WordNet's first sense.

    inventory (Inventory): Senses by lemma.
    instances (Instances): The words.
    weights (np.ndarray): Layer weights of shape (n_layers,).
    RETURNS (np.ndarray): Sense numbers of shape (n,).
    """
    generator = np.random.default_rng(0)
    predicted = np.full(len(instances.lemmas), FIRST_SENSE)
    for lemma, rows in instances.rows().items():
        if has_choice(inventory, lemma):
            numbers, centroids, _ = inventory[lemma]
            vectors = combine(instances.vectors[:, rows], weights)
            cosines = vectors @ combine(centroids, weights).T
            nearest = cosines >= cosines.max(axis=1, keepdims=True) - TIE
            chances = nearest * generator.random(cosines.shape)
            predicted[rows] = numbers[chances.argmax(axis=1)]
        elif lemma in inventory:
            predicted[rows] = inventory[lemma].numbers[0]
    return predicted


def combine(vectors: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Sum layers to unit vectors: (n_layers, n, width) to (n, width)."""
    sums = np.tensordot(weights.astype("f"), vectors.astype("f"), axes=1)
    norms = np.linalg.norm(sums, axis=-1, keepdims=True)
    result: np.ndarray = sums / np.maximum(norms, 1e-12)
    return result


def is_right(predicted: np.ndarray, instances: Instances) -> np.ndarray:
    pairs = zip(predicted.tolist(), instances.numbers)
    return np.asarray([number in numbers for number, numbers in pairs])


def layer_scales(vectors: np.ndarray) -> np.ndarray:
    """Compute the inverse root mean square of each layer, of shape (n_layers,):
    factors that make the weights of a mix comparable."""
    squares = [np.square(layer, dtype="f").mean() for layer in vectors]
    return 1.0 / np.sqrt(np.maximum(squares, 1e-12))


def best_mix(
    inventory: Inventory, dev: Instances, scales: np.ndarray, grid: int
) -> np.ndarray:
    """Find the layer weights with the most correct senses, on a grid of weights that
    sum to 1."""
    n_layers = len(scales)
    points = [
        np.asarray(point) / grid
        for point in product(range(grid + 1), repeat=n_layers)
        if sum(point) == grid
    ]
    n_right = [is_right(predict(inventory, dev, p * scales), dev).sum() for p in points]
    return points[int(np.argmax(n_right))]


def baselines(inventory: Inventory, test: Instances) -> Dict[str, float]:
    """Compute accuracies without vectors."""
    first = np.full(len(test.lemmas), FIRST_SENSE)
    frequent = np.asarray(
        [
            inventory[lemma].most_frequent if lemma in inventory else FIRST_SENSE
            for lemma in test.lemmas
        ]
    )
    return {
        "WordNet's first sense": float(is_right(first, test).mean()),
        "most frequent sense": float(is_right(frequent, test).mean()),
    }


if __name__ == "__main__":
    typer.run(main)
