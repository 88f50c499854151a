"""Probe each layer for whether a word is used in the sense of a definition
(WiC-TSV)."""

import time
from pathlib import Path
from typing import Annotated, Any, Dict, List, NamedTuple, Tuple

import numpy as np
import spacy
import torch
import typer
from probe import MIX, Examples, probe_layers
from results import describe, figures, save
from spacy.language import Language
from torch.nn import functional as F
from vectors import embed, load

from spacy_elmo import BiLM

LABELS = {"T": 1, "F": 0}


class Pair(NamedTuple):
    """A word in a sentence, and the definition of a sense with its hypernyms."""

    word: str
    position: int
    sentence: List[str]
    definition: List[str]
    label: int


def main(
    folder: Annotated[Path, typer.Argument(help="Folder of the sets' files")],
    weights: Annotated[Path, typer.Argument(help="Folder of the weights")],
    output: Annotated[Path, typer.Argument(help="JSON file to write")],
    folds: Annotated[int, typer.Option(help="Number of folds")] = 5,
    epochs: Annotated[int, typer.Option(help="Epochs per probe")] = 20,
    gpu_id: Annotated[int, typer.Option(help="-1: CPU")] = -1,
) -> None:
    """Cross-validate over the training and development sets, with no word in two
    folds. The labels of the test set are not public, and the development set alone
    is too small to separate layers."""
    start = time.perf_counter()
    pairs = [*read_pairs(folder, "train"), *read_pairs(folder, "dev")]
    words = [pair.word for pair in pairs]
    bilm = load(weights, gpu_id)
    right, runs = cross_validate(make_examples(bilm, pairs), words, folds, epochs)
    true = float(np.mean([pair.label for pair in pairs]))
    result = {
        "title": "Sense of a definition, WiC-TSV",
        "model": describe(bilm, weights),
        "n": {"train and test": len(pairs), "words": len(set(words)), "folds": folds},
        "baselines": {"most frequent label": max(true, 1 - true)},
        **figures(right, words),
        "mix": np.mean([run["weights"] for run in runs[MIX]], axis=0).tolist(),
        "runs": runs,
    }
    save(output, result, start)


def read_pairs(folder: Path, name: str) -> List[Pair]:
    """Read the examples of a set.

    RAISES: ValueError if its files have different lengths.
    """
    columns: Dict[str, List[str]] = {
        part: (folder / f"{name}_{part}.txt").read_text(encoding="utf8").splitlines()
        for part in ("examples", "definitions", "hypernyms", "labels")
    }
    lengths = {part: len(lines) for part, lines in columns.items()}
    if len(set(lengths.values())) != 1:
        raise ValueError(f"{folder}: expected as many lines a file, found {lengths}")
    nlp = spacy.blank("en")
    return [read_pair(nlp, *row) for row in zip(*columns.values())]


def read_pair(
    nlp: Language, example: str, definition: str, hypernyms: str, label: str
) -> Pair:
    """Read one example.

    nlp (Language): Tokenizer of the definition.
    example (str): Word, position and tokenized sentence, separated by tabs.
    definition (str): The definition.
    hypernyms (str): Hypernyms, separated by tabs.
    label (str): T or F.
    RETURNS (Pair): The example.
    RAISES: ValueError for a malformed example or an unknown label.
    """
    word, position, sentence = [*example.split("\t"), "", ""][:3]
    words = sentence.split()
    if not position.isdigit() or int(position) >= len(words) or label not in LABELS:
        raise ValueError(
            "expected WORD, POSITION, SENTENCE between tabs and the label T or F, "
            f"found {example!r}, {label!r}"
        )
    text = f"{definition} ; {hypernyms.replace('_', ' ').replace(chr(9), ', ')}"
    return Pair(
        word.lower(),
        int(position),
        words,
        [token.text for token in nlp.make_doc(text) if not token.is_space],
        LABELS[label],
    )


def make_examples(bilm: BiLM, pairs: List[Pair]) -> Examples:
    """Multiply the unit vectors of the word and of the mean of its definition, layer by
    layer: the terms of their cosine."""
    words = embed(
        bilm,
        [pair.sentence for pair in pairs],
        [[(pair.position, pair.position + 1)] for pair in pairs],
    )
    # As in a dictionary: the word and its definition.
    definitions = embed(
        bilm,
        [[pair.word, ":", *pair.definition] for pair in pairs],
        [[(2, len(pair.definition) + 2)] for pair in pairs],
    )
    products = F.normalize(words.float(), dim=-1) * F.normalize(
        definitions.float(), dim=-1
    )
    return Examples(products, torch.tensor([pair.label for pair in pairs]))


def cross_validate(
    examples: Examples, words: List[str], n_folds: int, n_epochs: int
) -> Tuple[Dict[str, np.ndarray], Dict[str, List[Dict[str, Any]]]]:
    """Like `probe_layers`, but each example is tested by the probe that was not
    fitted to its word."""
    names, numbers = np.unique(words, return_inverse=True)
    order = np.random.default_rng(0).permutation(len(names))
    folds = torch.from_numpy((order % n_folds)[numbers])
    right: Dict[str, np.ndarray] = {}
    runs: Dict[str, List[Dict[str, Any]]] = {}
    for fold in range(n_folds):
        train, test = (
            Examples(examples.layers[:, mask], examples.labels[mask])
            for mask in (folds != fold, folds == fold)
        )
        found, of_fold = probe_layers(
            train, test, n_classes=2, seeds=1, n_epochs=n_epochs, l2=3.0
        )
        for name, values in found.items():
            right.setdefault(name, np.zeros(len(words)))[folds == fold] = values
            runs.setdefault(name, []).extend(of_fold[name])
    return right, runs


if __name__ == "__main__":
    typer.run(main)
