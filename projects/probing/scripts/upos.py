"""Probe each layer for parts of speech: the universal tags of EWT."""

import time
from collections import Counter
from pathlib import Path
from typing import Annotated, Dict, List, NamedTuple

import numpy as np
import torch
import typer
from probe import MIX, Examples, probe_layers
from results import describe, figures, save
from vectors import embed, load

from spacy_elmo import BiLM


class Treebank(NamedTuple):
    """Words and tags of each sentence."""

    words: List[List[str]]
    tags: List[List[str]]


def main(
    folder: Annotated[Path, typer.Argument(help="Folder of the .conllu files")],
    weights: Annotated[Path, typer.Argument(help="Folder of the weights")],
    output: Annotated[Path, typer.Argument(help="JSON file to write")],
    seeds: Annotated[int, typer.Option(help="Number of probes per layer")] = 3,
    epochs: Annotated[int, typer.Option(help="Epochs per probe")] = 6,
    part: Annotated[str, typer.Option(help="Set to score on: dev or test")] = "test",
    gpu_id: Annotated[int, typer.Option(help="-1: CPU")] = -1,
) -> None:
    """Fit on the training set and score on the test set, or on the development set to
    choose between models."""
    start = time.perf_counter()
    train = read_treebank(folder / "en_ewt-ud-train.conllu")
    test = read_treebank(folder / f"en_ewt-ud-{part}.conllu")
    classes = sorted({tag for tags in train.tags for tag in tags})
    bilm = load(weights, gpu_id)
    right, runs = probe_layers(
        make_examples(bilm, train, classes),
        make_examples(bilm, test, classes),
        n_classes=len(classes),
        seeds=seeds,
        n_epochs=epochs,
    )
    sentences = [number for number, tags in enumerate(test.tags) for _ in tags]
    result = {
        "title": "Universal tags, UD English EWT",
        "model": describe(bilm, weights),
        "n": {"train": sum(map(len, train.tags)), part: len(sentences)},
        "baselines": {"most frequent tag of the form": form_baseline(train, test)},
        **figures(right, sentences),
        "mix": np.mean([run["weights"] for run in runs[MIX]], axis=0).tolist(),
        "runs": runs,
    }
    save(output, result, start)


def read_treebank(path: Path) -> Treebank:
    """Read words and universal tags. Skips multiword tokens ("1-2") and empty nodes
    ("8.1").

    RAISES: ValueError, with the line number, for a malformed line.
    """
    bank = Treebank([], [])
    words: List[str] = []
    tags: List[str] = []
    text = path.read_text(encoding="utf8")
    for number, line in enumerate([*text.split("\n"), ""], start=1):
        fields = line.split("\t")
        if len(fields) == 10 and fields[0].isdigit():
            words.append(fields[1])
            tags.append(fields[3])
        elif not line and words:
            bank.words.append(words)
            bank.tags.append(tags)
            words, tags = [], []
        elif line and not line.startswith("#") and len(fields) != 10:
            raise ValueError(
                f"{path}, line {number}: expected 10 fields between tabs, found "
                f"{line!r}"
            )
    return bank


def make_examples(bilm: BiLM, bank: Treebank, classes: List[str]) -> Examples:
    """Create an example for every word."""
    spans = [
        [(place, place + 1) for place in range(len(words))] for words in bank.words
    ]
    numbers = {tag: number for number, tag in enumerate(classes)}
    labels = [numbers.get(tag, -1) for tags in bank.tags for tag in tags]
    return Examples(embed(bilm, bank.words, spans), torch.tensor(labels))


def form_baseline(train: Treebank, test: Treebank) -> float:
    """Compute the accuracy of predicting each form's most frequent tag, or the most
    frequent tag overall for new forms."""
    counts: Dict[str, Counter[str]] = {}
    total: Counter[str] = Counter()
    for words, tags in zip(train.words, train.tags):
        total.update(tags)
        for word, tag in zip(words, tags):
            counts.setdefault(word, Counter())[tag] += 1
    right = [
        counts.get(word, total).most_common(1)[0][0] == tag
        for words, tags in zip(test.words, test.tags)
        for word, tag in zip(words, tags)
    ]
    return float(np.mean(right))


if __name__ == "__main__":
    typer.run(main)
