"""Do the vectors of a word separate its senses? Compares its occurrences in SemCor: the
separation of senses by layer, nearest neighbors, and points for a plot."""

import time
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Dict, List, NamedTuple, Sequence, Set, Tuple

import numpy as np
import srsly
import typer
from results import describe, figures, save
from vectors import embed, load

from spacy_elmo import BiLM
from spacy_elmo.embedding.neighbors import (
    OTHER,
    SAME,
    Occurrence,
    find_neighbors,
    is_word,
)

TIE = 1e-5
"""Cosines that differ by less are tied: a form has one context-free vector."""


class Uses(NamedTuple):
    """Occurrences of a word, with their senses and documents."""

    occurrences: List[Occurrence]
    senses: np.ndarray
    documents: List[str]


def main(
    word: Annotated[str, typer.Argument(help="A form; case is ignored")],
    corpus: Annotated[Path, typer.Argument(help="SemCor (.jsonl)", exists=True)],
    weights: Annotated[Path, typer.Argument(help="Folder of the weights")],
    output: Annotated[Path, typer.Argument(help="JSON file to write")],
    min_count: Annotated[
        int, typer.Option(help="Minimum number of occurrences of a sense")
    ] = 5,
    n: Annotated[int, typer.Option(help="Number of neighbors")] = 3,
    gpu_id: Annotated[int, typer.Option(help="-1: CPU")] = -1,
) -> None:
    """Compare the word's occurrences with those in other documents."""
    start = time.perf_counter()
    sentences = list(srsly.read_jsonl(corpus))
    uses = find_uses(word, sentences, min_count)
    bilm = load(weights, gpu_id)
    vectors = embed(
        bilm,
        [list(occurrence.words) for occurrence in uses.occurrences],
        [[(use.position, use.position + 1)] for use in uses.occurrences],
    )
    layers = [unit(layer.float().numpy()) for layer in vectors]
    scores = [compare(layer, uses.senses, uses.documents) for layer in layers]
    texts = [sentence["words"] for sentence in sentences]
    result = {
        "title": f'"{word}", SemCor',
        "word": word,
        "model": describe(bilm, weights),
        "n": dict(Counter(uses.senses.tolist()).most_common()),
        "documents": len(set(uses.documents)),
        **{
            score: figures(
                {str(i): s[score] for i, s in enumerate(scores)}, uses.documents
            )
            for score in ("nearest", "separation")
        },
        "static": static_neighbors(bilm, word, texts, 3 * n),
        "in_context": neighbors_in_context(bilm, uses, layers[-1], texts, n),
        "uses": [
            {"sense": sense, **use.to_json()}
            for use, sense in zip(uses.occurrences, uses.senses.tolist())
        ],
        "points": [project(layer).round(4).tolist() for layer in layers],
    }
    save(output, result, start)


def find_uses(word: str, sentences: Sequence[Dict[str, Any]], min_count: int) -> Uses:
    """Find the occurrences of a form whose senses are known, frequent enough and in
    more than one document.

    RAISES: ValueError if fewer than two senses are left.
    """
    found: List[Tuple[Occurrence, str, str]] = []
    for number, sentence in enumerate(sentences):
        for sense in sentence["senses"]:
            begin, end = sense["span"]
            if end == begin + 1 and is_word(sentence["words"][begin], word):
                occurrence = Occurrence(number, begin, tuple(sentence["words"]))
                found.append((occurrence, name_of(sense), sentence["document"]))
    kept = frequent(found, min_count)
    if len(kept) < 2:
        raise ValueError(
            f"{word!r}: expected a word with two senses, each at least {min_count} "
            f"times and in two documents, found {len(kept)}. Choose another word."
        )
    occurrences, senses, names = zip(*(use for use in found if use[1] in kept))
    return Uses(list(occurrences), np.asarray(senses), list(names))


def frequent(uses: Sequence[Tuple[Occurrence, str, str]], min_count: int) -> Set[str]:
    """Select the senses with at least `min_count` occurrences, in more than one
    document.

    uses (Sequence[Tuple[Occurrence, str, str]]): Occurrences with sense and document.
    min_count (int): Minimum number of occurrences.
    RETURNS (Set[str]): The senses.
    """
    kept = set()
    for sense, count in Counter(sense for _, sense, _ in uses).items():
        documents = {document for _, other, document in uses if other == sense}
        if count >= min_count and len(documents) > 1:
            kept.add(sense)
    return kept


def name_of(sense: Dict[str, Any]) -> str:
    """Name a sense by its number in WordNet and its kind, such as "bank n1
    (object)"."""
    return f"{sense['lemma']} {sense['pos']}{sense['numbers'][0]} ({sense['kind']})"


def compare(
    vectors: np.ndarray, senses: np.ndarray, documents: Sequence[str]
) -> Dict[str, np.ndarray]:
    """Compare each occurrence with those in other documents, by cosine.

    vectors (np.ndarray): Unit vectors of shape (n, width).
    senses (np.ndarray): Sense of each occurrence.
    documents (Sequence[str]): Document of each occurrence.
    RETURNS (Dict[str, np.ndarray]): Two arrays of shape (n,). "nearest": whether the
        nearest occurrence has the same sense; among ties, the share that has it.
        "separation": among pairs of an occurrence with the same sense and one with
        another sense, the share in which the former is nearer; 0.5 is chance.
    """
    cosines = vectors @ vectors.T
    places = np.asarray(documents)
    is_other = places[:, None] != places[None]
    is_same = senses[:, None] == senses[None]
    nearest, separation = [], []
    for row, others, same in zip(cosines, is_other, is_same):
        best = others & (row >= row[others].max() - TIE)
        nearest.append(same[best].mean())
        margins = row[others & same][:, None] - row[others & ~same][None]
        ahead = (margins > TIE) + 0.5 * (np.abs(margins) <= TIE)
        separation.append(ahead.mean())
    return {"nearest": np.asarray(nearest), "separation": np.asarray(separation)}


def static_neighbors(
    bilm: BiLM, word: str, texts: Sequence[Sequence[str]], n: int
) -> List[str]:
    """Find the words nearest to a word in layer 0."""
    words = sorted({found for text in texts for found in text})
    query = Occurrence(None, 0, (word,))
    sentences = ([found] for found in words)
    found = find_neighbors(bilm, query, sentences, n=n, layer="0", among=OTHER)
    return [neighbor.occurrence.word for neighbor in found.nearest]


def neighbors_in_context(
    bilm: BiLM,
    uses: Uses,
    vectors: np.ndarray,
    texts: Sequence[List[str]],
    n: int,
) -> List[Dict[str, Any]]:
    """Find the most central occurrence of each sense, and its neighbors.

    bilm (BiLM): The biLM.
    uses (Uses): Occurrences of the word.
    vectors (np.ndarray): Unit vectors of the top layer, of shape (n_uses, width).
    texts (Sequence[List[str]]): Sentences to search.
    n (int): Number of neighbors.
    RETURNS (List[Dict[str, Any]]): The occurrences with their neighbors.
    """
    known = dict(zip((use.key for use in uses.occurrences), uses.senses.tolist()))
    found = []
    for sense, _ in Counter(uses.senses.tolist()).most_common():
        rows = np.flatnonzero(uses.senses == sense)
        typical = rows[np.argmax(vectors[rows] @ vectors[rows].mean(axis=0))]
        query = uses.occurrences[typical]
        nearest = find_neighbors(bilm, query, texts, n=n, among=SAME).nearest
        found.append(
            {
                "sense": sense,
                **query.to_json(),
                "neighbors": [
                    {"cosine": cosine, "sense": known.get(use.key), **use.to_json()}
                    for cosine, use in nearest
                ],
            }
        )
    return found


def project(vectors: np.ndarray) -> np.ndarray:
    """Project vectors to their two principal components, of shape (n, 2)."""
    centered = vectors - vectors.mean(axis=0)
    _, _, axes = np.linalg.svd(centered.astype(np.float64), full_matrices=False)
    # Fix the sign of each axis, so that the plot is the same on every machine
    signs = np.sign(axes[range(len(axes)), np.abs(axes).argmax(axis=1)])
    points: np.ndarray = centered @ (axes * signs[:, None])[:2].T
    return points


def unit(vectors: np.ndarray) -> np.ndarray:
    result: np.ndarray = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return result


if __name__ == "__main__":
    typer.run(main)
