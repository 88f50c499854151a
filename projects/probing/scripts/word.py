"""Do the vectors of one word know its sense? Its occurrences in SemCor: how far the
senses lie apart, layer by layer, the nearest neighbours, and points for a picture."""

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
"""Cosines that differ by less are one: without context a form has one vector."""


class Uses(NamedTuple):
    """A word's occurrences, the sense of each, and in which document it is."""

    occurrences: List[Occurrence]
    senses: np.ndarray
    documents: List[str]


def main(
    word: Annotated[str, typer.Argument(help="A form, in upper or lower case")],
    corpus: Annotated[Path, typer.Argument(help="SemCor (.jsonl)", exists=True)],
    weights: Annotated[Path, typer.Argument(help="Folder of the weights")],
    output: Annotated[Path, typer.Argument(help="JSON file to write")],
    min_count: Annotated[int, typer.Option(help="Occurrences of a sense")] = 5,
    n: Annotated[int, typer.Option(help="Neighbours to show")] = 3,
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
    """The occurrences of one form whose sense is known, of those senses that are
    frequent enough and in more than one document.

    Raises ValueError where fewer than two senses are left.
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
    """The senses that occur so often and in more than one document.

    uses: occurrence, sense, document.
    """
    kept = set()
    for sense, count in Counter(sense for _, sense, _ in uses).items():
        documents = {document for _, other, document in uses if other == sense}
        if count >= min_count and len(documents) > 1:
            kept.add(sense)
    return kept


def name_of(sense: Dict[str, Any]) -> str:
    """Such as "bank n1 (object)": its number in WordNet, what kind of thing it is."""
    return f"{sense['lemma']} {sense['pos']}{sense['numbers'][0]} ({sense['kind']})"


def compare(
    vectors: np.ndarray, senses: np.ndarray, documents: Sequence[str]
) -> Dict[str, np.ndarray]:
    """How each occurrence compares, by the cosine, with those in other documents.

    "nearest": whether the nearest has its sense; of several that are as near, the share
    that has it. "separation": the share of all pairs of one with its sense and one with
    another of which the former is nearer (0.5: no difference). (n,) each.

    vectors: of length 1, (n, width).
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
    """The words nearest to the word by their characters alone."""
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
    """Of each sense, the occurrence nearest to the mean of all, and its neighbours.

    vectors: of the top layer, of length 1, (n_uses, width).
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
    """The two principal components, (n, 2)."""
    centred = vectors - vectors.mean(axis=0)
    _, _, axes = np.linalg.svd(centred.astype(np.float64), full_matrices=False)
    # Of both directions of an axis, the same on each machine
    signs = np.sign(axes[range(len(axes)), np.abs(axes).argmax(axis=1)])
    points: np.ndarray = centred @ (axes * signs[:, None])[:2].T
    return points


def unit(vectors: np.ndarray) -> np.ndarray:
    result: np.ndarray = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return result


if __name__ == "__main__":
    typer.run(main)
