"""Compare the surprisal of words with their frequency and length: frequent words and
short ones should be less surprising."""

import math
from pathlib import Path
from typing import Annotated, Any, Dict, List, Sequence

import numpy as np
import typer
from pairs import describe, find_weights, load_scorer
from wasabi import msg

from spacy_elmo.files import write_json
from spacy_elmo.formats.output_layer import VOCABULARY
from spacy_elmo.scoring.scorer import perplexity
from spacy_elmo.text.tokenization import read_tokenization
from spacy_elmo.text.vocabulary import SPECIALS, Vocabulary

LENGTHS = (1, 3, 5, 7, 9, 11, math.inf)
"""Limits of the bins of lengths, in characters. A bin includes its lower limit."""

FREQUENCIES = (0, 1, 10, 100, 1000, math.inf)
"""Limits of the bins of occurrences per million words of the training text."""


def main(
    weights: Annotated[str, typer.Argument(help="A model-best; null: what ships")],
    text: Annotated[Path, typer.Argument(help="Held-out text")],
    output: Annotated[Path, typer.Argument(help="JSON to write")],
    gpu_id: Annotated[int, typer.Option(help="GPU ID or -1 for CPU")] = -1,
) -> None:
    """Tabulate the mean surprisal by frequency in the training text, which the
    vocabulary stores, and by length. Only words of the vocabulary that contain a letter
    are counted."""
    folder = find_weights(weights)
    scorer = load_scorer(folder, gpu_id)
    vocabulary = Vocabulary.read(folder / VOCABULARY)
    rates = vocabulary.counts * 1e6 / vocabulary.counts.sum()
    tokenization = read_tokenization(folder)
    assert tokenization is not None
    sentences = list(tokenization.read_sentences([text]))
    scores = scorer.log_probs(sentences)
    words, surprisals = [], []
    for sentence, score in zip(sentences, scores):
        for word, *values in zip(sentence, score.forward, score.backward):
            is_word = any(character.isalpha() for character in word)
            if is_word and word in vocabulary.index and word not in SPECIALS:
                words.append(word)
                surprisals.append([-float(value) for value in values])
    surprisal = np.asarray(surprisals)
    frequency = np.asarray([rates[vocabulary.index[word]] for word in words])
    length = np.asarray([len(word) for word in words])
    result = {
        "model": describe(folder, scorer),
        "text": perplexity(scores)._asdict(),
        "n_words": len(words),
        "frequency": bins(frequency, surprisal, FREQUENCIES),
        "length": bins(length, surprisal, LENGTHS),
        "correlation": {
            "log frequency": correlations(np.log(frequency + 1e-3), surprisal),
            "length": correlations(length, surprisal),
        },
    }
    write_json(output, result)
    for name in ("frequency", "length"):
        rows = [
            (r["bin"], f"{r['n']:,}", *shown(r["mean"], 2))
            for r in result[name]
            if r["n"]
        ]
        show(rows, (name, "words", "forward", "backward"))
    rows = [(name, *shown(r, 3)) for name, r in result["correlation"].items()]
    show(rows, ("correlation", "forward", "backward"))
    msg.good(str(output))


def bins(
    values: np.ndarray, surprisal: np.ndarray, limits: Sequence[float]
) -> List[Dict[str, Any]]:
    """Mean surprisal, forward and backward, of the words of each bin."""
    rows = []
    for low, high in zip(limits, limits[1:]):
        inside = (values >= low) & (values < high)
        mean = (
            surprisal[inside].mean(axis=0).round(4).tolist() if inside.any() else None
        )
        name = f"{low} and more" if high == math.inf else f"{low} to under {high}"
        rows.append({"bin": name, "n": int(inside.sum()), "mean": mean})
    return rows


def shown(values: Sequence[float], digits: int) -> List[str]:
    return [f"{value:.{digits}f}" for value in values]


def show(rows: Sequence[Sequence[str]], header: Sequence[str]) -> None:
    aligns = ["l", *"r" * (len(header) - 1)]
    msg.table(rows, header=header, aligns=aligns, divider=True)


def correlations(values: np.ndarray, surprisal: np.ndarray) -> List[float]:
    """Pearson's correlation with the forward and the backward surprisal."""
    return [
        round(float(np.corrcoef(values, column)[0, 1]), 4) for column in surprisal.T
    ]


if __name__ == "__main__":
    typer.run(main)
