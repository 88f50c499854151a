"""Score inputs by what little can be learned on top of them: linear probes and nearest
centroids."""

from collections import defaultdict
from pathlib import Path
from typing import Annotated, Any, Callable, Dict, List, Sequence

import numpy as np
import torch
import typer
from input_results import TEST, Scores, entities, f1, update
from inputs import INPUTS, Features, Set, read_set
from probing import MIX, Examples, Probe, cross_validate, fit, predict
from torch.nn import functional as F

torch.set_num_threads(1)

EPOCHS = {"upos": 6, "ner": 6, "wic": 20}


def main(
    sets: Annotated[Path, typer.Argument(help="Folder of the sets", exists=True)],
    folder: Annotated[Path, typer.Argument(help="Folder of the vectors", exists=True)],
    target: Annotated[Path, typer.Argument(help="Folder of the results")],
    seeds: Annotated[
        int, typer.Option(help="Number of probes of tags and entities")
    ] = 3,
) -> None:
    """Write TARGET/upos.json, ner_probe.json, senses.json and wic.json."""
    identities = {name: Features(folder, name).identity for name in INPUTS}
    for part, (pattern, score) in PARTS.items():
        update(
            target / f"{part}.json",
            sorted(sets.glob(f"{pattern}*.jsonl")),
            identities,
            lambda name, score=score: score(Features(folder, name), sets, seeds),
            seeds=seeds,
            epochs=EPOCHS.get(pattern),
        )


def upos(found: Features, sets: Path, seeds: int) -> Scores:
    """Accuracies, and of the misspelt words alone."""

    def score(tags: Sequence[str], test: Set, form: str) -> Dict[str, float]:
        right = np.asarray([one == other for one, other in zip(tags, test.labels)])
        scores = {form: float(right.mean())}
        if form == "misspelt":
            is_misspelt = [
                place in row["misspelt"]
                for row in test.rows
                for place in range(len(row["words"]))
            ]
            scores["misspelt words"] = float(right[is_misspelt].mean())
        return scores

    return probe(found, sets, "upos", seeds, score)


def ner(found: Features, sets: Path, seeds: int) -> Scores:
    def score(tags: Sequence[str], test: Set, form: str) -> Dict[str, float]:
        rows = iter(tags)
        predicted = [entities([next(rows) for _ in words]) for words in test.words]
        return {form: f1(predicted, [entities(row["labels"]) for row in test.rows])}

    return probe(found, sets, "ner", seeds, score)


def probe(
    found: Features,
    sets: Path,
    task: str,
    seeds: int,
    score: Callable[[Sequence[str], Set, str], Dict[str, float]],
) -> Scores:
    """Fit linear probes of words' labels on a learned mix of the layers, and score each
    form of the test set.

    RETURNS (Scores): One score per seed, by form; and the mean weights of the mix.
    """
    train = read_set(sets / f"{task}-train.jsonl")
    classes = sorted(set(train.labels))
    numbers = {label: number for number, label in enumerate(classes)}
    labels = torch.tensor([numbers[label] for label in train.labels])
    examples = Examples(read(found, sets / f"{task}-train.jsonl"), labels)
    scores: Dict[str, List[float]] = defaultdict(list)
    mixes = []
    for seed in range(seeds):
        fitted: Probe = fit(
            examples, n_classes=len(classes), seed=seed, n_epochs=EPOCHS[task]
        )
        mixes.append(fitted.weights())
        for form, suffix in TEST.items():
            path = sets / f"{task}-test{suffix}.jsonl"
            tags = [classes[n] for n in predict(fitted, read(found, path)).tolist()]
            for name, value in score(tags, read_set(path), form).items():
                scores[name].append(value)
    return {"scores": dict(scores), "mix": np.mean(mixes, axis=0).tolist()}


def senses(found: Features, sets: Path, seeds: int) -> Scores:
    """Predict the kind of a noun by the nearest centroid of its lemma's kinds, by
    cosine, in the layer that is best on the development documents, or in their mean."""
    paths = {part: sets / f"senses-{part}.jsonl" for part in ("train", "dev", "test")}
    labels = {part: read_set(path).labels for part, path in paths.items()}
    layers = {part: unit(read(found, path)) for part, path in paths.items()}
    layers = {part: [*some, some.mean(dim=0)] for part, some in layers.items()}
    names = [*map(str, range(len(layers["dev"]) - 1)), "mean"]

    def accuracy(part: str, index: int) -> float:
        vectors = {name: layers[name][index] for name in ("train", part)}
        return nearest(vectors["train"], labels["train"], vectors[part], labels[part])

    best = max(range(len(names)), key=lambda index: accuracy("dev", index))
    return {"scores": {"as it is": [accuracy("test", best)]}, "layer": names[best]}


def nearest(
    train: torch.Tensor, known: List[Any], test: torch.Tensor, labels: List[Any]
) -> float:
    """Compute the share of the rows whose kind has the nearest centroid among the kinds
    of their lemma."""
    rows: Dict[str, Dict[str, List[int]]] = defaultdict(lambda: defaultdict(list))
    for row, (lemma, kind) in enumerate(known):
        rows[lemma][kind].append(row)
    right = 0
    for vector, (lemma, kind) in zip(test, labels):
        centroids = {k: train[some].mean(dim=0) for k, some in rows[lemma].items()}
        cosines = {
            k: float(F.cosine_similarity(vector, centroid, dim=0))
            for k, centroid in centroids.items()
        }
        right += max(cosines, key=lambda k: cosines[k]) == kind
    return right / len(labels)


def wic(found: Features, sets: Path, seeds: int) -> Scores:
    """Cross-validate a linear probe of whether a word has the sense of a definition, on
    the products of their unit vectors. No word is in two folds."""
    path = sets / "wic.jsonl"
    labels = read_set(path).labels[::2]
    vectors = unit(read(found, path))
    examples = Examples(
        vectors[:, ::2] * vectors[:, 1::2],
        torch.tensor([label for _, label in labels]),
    )
    words = [word for word, _ in labels]
    right, _ = cross_validate(examples, words, n_folds=5, n_epochs=EPOCHS["wic"])
    return {"scores": {"as it is": [float(right[MIX].mean())]}}


def read(found: Features, path: Path) -> torch.Tensor:
    return torch.from_numpy(np.array(found.read(path)))


def unit(vectors: torch.Tensor) -> torch.Tensor:
    return F.normalize(vectors.float(), dim=-1)


PARTS = {
    "upos": ("upos", upos),
    "ner_probe": ("ner", ner),
    "senses": ("senses", senses),
    "wic": ("wic", wic),
}
"""Prefix of the sets, and what scores an input, by the name of the results."""


if __name__ == "__main__":
    typer.run(main)
