"""Nearest neighbors of a word in its sentence."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from spacy_elmo import BiLM
from spacy_elmo.embedding.encoding import select_layer
from spacy_elmo.embedding.neighbors import (
    Neighbor,
    Occurrence,
    find_neighbors,
    list_occurrences,
    occurrences,
)

TEXT = [
    sentence.split()
    for sentence in (
        "She sat on the bank of the river",
        "The bank lent him money",
        "Bank robbers rob a bank",
        "no such word here",
        "The bank lent him money",
        "the river was wide",
    )
]
QUERY = Occurrence(None, 2, ("by", "the", "bank", "we", "met"))


def brute_force(
    bilm: BiLM, query: Occurrence, layer: str, among: str
) -> list[tuple[float, int, int]]:
    """Cosine, sentence and position of all words but the query, nearest first, without
    repeated sentences."""

    def unit(vector: np.ndarray) -> np.ndarray:
        return vector / np.linalg.norm(vector)

    (encoded,) = bilm.encode([query.words])
    direction = unit(select_layer(encoded, layer)[query.position])
    found = []
    for number, words in enumerate(TEXT):
        if words in TEXT[:number]:
            continue
        layers = select_layer(bilm.encode([words])[0], layer)
        for position, word in enumerate(words):
            is_same = word.lower() == query.word.lower()
            if (tuple(words), position) == query.key:
                continue
            if among == "all" or is_same == (among == "same"):
                cosine = float(unit(layers[position]) @ direction)
                found.append((cosine, number, position))
    return sorted(found, key=lambda entry: -entry[0])


@pytest.mark.parametrize(
    ("layer", "among"), [*product(["top", "mean", "1"], ["all", "same", "other"])]
)
@pytest.mark.parametrize("batch_tokens", [1, 4096])
def test_same_neighbors_as_brute_force(
    tiny_bilm: BiLM, layer: str, among: str, batch_tokens: int
) -> None:
    for query in (QUERY, Occurrence(1, 1, tuple(TEXT[1]))):
        found = find_neighbors(
            tiny_bilm,
            query,
            iter(TEXT),
            n=7,
            layer=layer,
            among=among,
            batch_tokens=batch_tokens,
        )
        expected = brute_force(tiny_bilm, query, layer, among)[:7]
        assert found.n_sentences == len(TEXT)
        assert [n.cosine for n in found.nearest] == pytest.approx(
            [cosine for cosine, _, _ in expected], abs=1e-5
        )
        assert [place(n) for n in found.nearest] == [entry[1:] for entry in expected]


def place(neighbor: Neighbor) -> tuple[int | None, int]:
    occurrence = neighbor.occurrence
    assert list(occurrence.words) == TEXT[occurrence.sentence or 0]
    return occurrence.sentence, occurrence.position


def test_fewer_neighbors_than_requested(tiny_bilm: BiLM) -> None:
    found = find_neighbors(tiny_bilm, QUERY, TEXT, n=100, among="same")
    assert len(found.nearest) == 4
    assert found.n_compared == 5
    found = find_neighbors(tiny_bilm, QUERY, TEXT[3:4], among="same")
    assert found.nearest == []
    assert find_neighbors(tiny_bilm, QUERY, []).nearest == []


def test_repeated_sentences_count_once(tiny_bilm: BiLM) -> None:
    text = [TEXT[0], *[TEXT[1]] * 50, TEXT[0]]
    found = find_neighbors(tiny_bilm, QUERY, text, n=3, among="same", batch_tokens=8)
    assert sorted(place(n) for n in found.nearest) == [(0, 4), (1, 1)]
    assert found.n_compared == 52


def test_the_query_is_not_its_own_neighbor(tiny_bilm: BiLM) -> None:
    query = Occurrence(None, 4, tuple(TEXT[0]))
    for among in ("all", "same"):
        found = find_neighbors(tiny_bilm, query, TEXT, among=among)
        assert (0, 4) not in [place(n) for n in found.nearest]


def test_list_occurrences() -> None:
    listed = list_occurrences("BANK", iter(TEXT), 3)
    assert [(o.sentence, o.position) for o in listed.first] == [(0, 4), (1, 1), (2, 0)]
    assert (listed.n_occurrences, listed.n_sentences) == (5, 6)
    assert list_occurrences("banks", TEXT, 3).first == []


def test_occurrences() -> None:
    assert list(occurrences("bank", TEXT[2], 2)) == [
        Occurrence(2, 0, tuple(TEXT[2])),
        Occurrence(2, 4, tuple(TEXT[2])),
    ]
    assert list(occurrences("bank", TEXT[3])) == []
    assert [o.word for o in occurrences("BANK", TEXT[2])] == ["Bank", "bank"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n": 0}, "n: expected a positive number, found 0"),
        ({"layer": "all"}, "layer: expected top, mean, 0, 1, 2, found 'all'"),
        ({"among": "none"}, "expected all, same or other, found 'none'"),
    ],
)
def test_invalid_settings(
    tiny_bilm: BiLM, settings: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        find_neighbors(tiny_bilm, QUERY, TEXT, **settings)  # type: ignore[arg-type]
