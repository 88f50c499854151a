"""Do the vectors of a word separate its senses? Predicts the sense of each
occurrence by its nearest neighbor."""

from pathlib import Path
from typing import Annotated, Any, Dict, List

import numpy as np
import spacy
import srsly
import typer
from wasabi import msg

import spacy_elmo

TIE = 1e-5
"""Cosines that differ by less are tied: a form has one context-free vector."""


def main(
    senses: Annotated[
        Path, typer.Argument(help=".jsonl of texts, words, senses", exists=True)
    ],
    weights: Annotated[Path, typer.Argument(help="Folder of the weights", exists=True)],
    output: Annotated[Path, typer.Argument(help="JSON file to write")],
) -> None:
    """Print and write how often the nearest other sentence, by the cosine of each
    layer, uses the word in the same sense."""
    entries: List[Dict[str, str]] = list(srsly.read_jsonl(senses))
    vectors = embed(entries, weights)
    n_layers = vectors.shape[1]
    scores: Dict[str, Any] = {}
    for word in dict.fromkeys(entry["word"] for entry in entries):
        chosen = [i for i, entry in enumerate(entries) if entry["word"] == word]
        labels = np.asarray([entries[i]["sense"] for i in chosen])
        scores[word] = {
            "senses": list(dict.fromkeys(labels.tolist())),
            "n": len(chosen),
            "layers": [
                accuracy(vectors[chosen, layer], labels) for layer in range(n_layers)
            ],
            "mean": accuracy(vectors[chosen].mean(axis=1), labels),
        }
    total = sum(score["n"] for score in scores.values())
    weight = {word: score["n"] / total for word, score in scores.items()}
    overall = {
        "layers": [
            sum(score["layers"][layer] * weight[word] for word, score in scores.items())
            for layer in range(n_layers)
        ],
        "mean": sum(score["mean"] * weight[word] for word, score in scores.items()),
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    srsly.write_json(output, {"all": overall, "words": scores})
    msg.table(
        [
            *((w, ", ".join(s["senses"]), *percents(s)) for w, s in scores.items()),
            ("all", f"{total} sentences", *percents(overall)),
        ],
        header=("word", "senses", *(f"layer {i}" for i in range(n_layers)), "mean"),
        divider=True,
        aligns=("l", "l", *("r" for _ in range(n_layers + 1))),
    )
    print(
        "Percent of sentences whose nearest neighbor uses the word in the same sense."
    )


def embed(entries: List[Dict[str, str]], weights: Path) -> np.ndarray:
    """Get all layers of each entry's word, of shape (n_entries, n_layers, width).

    RAISES: ValueError if a text does not contain its word.
    """
    nlp = spacy.blank("en")
    elmo: Any = nlp.add_pipe("elmo")
    elmo.set_bilm(spacy_elmo.load_bilm(weights))
    found = []
    for doc, entry in zip(nlp.pipe([entry["text"] for entry in entries]), entries):
        places = [token.i for token in doc if token.lower_ == entry["word"]]
        if not places:
            raise ValueError(f"expected {entry['word']!r} in the text, found {doc}")
        found.append(doc._.elmo.layers[:, places[0]])
    return np.stack(found)


def accuracy(vectors: np.ndarray, labels: np.ndarray) -> float:
    """Compute how often the nearest neighbor has the same label; among ties, the
    share.

    vectors (np.ndarray): Vectors of shape (n, width).
    labels (np.ndarray): Labels of shape (n,).
    RETURNS (float): The accuracy.
    """
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = units @ units.T
    np.fill_diagonal(cosines, -np.inf)
    nearest = cosines >= cosines.max(axis=1, keepdims=True) - TIE
    is_same = labels[:, None] == labels[None]
    return float(((nearest & is_same).sum(axis=1) / nearest.sum(axis=1)).mean())


def percents(score: Dict[str, Any]) -> List[str]:
    return [f"{100 * value:.1f}" for value in (*score["layers"], score["mean"])]


if __name__ == "__main__":
    typer.run(main)
