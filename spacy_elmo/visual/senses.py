"""The occurrences of a word in two dimensions, in clusters."""

from typing import Any, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from spacy.tokens import Doc, Span

from ..embedding.encoding import TOP, select_layer
from ..embedding.neighbors import Occurrence, is_word, normalize
from .clustering import PCA, cluster, project
from .neighborhood import check_layer_of
from .sentences import Context, list_items, read_sentences

MAX_OCCURRENCES = 200
"""Occurrences shown by default."""

WIDTH, HEIGHT, _MARGIN = 600, 380, 20
"""Size of the plot, in SVG units."""


class Point(NamedTuple):
    """An occurrence in the plot.

    x, y (float): Coordinates in SVG units.
    cluster (int): Number of its cluster, from 0.
    context (Context): The word in its sentence.
    """

    x: float
    y: float
    cluster: int
    context: Context


class SensesView(NamedTuple):
    """Data of the template senses.html.

    word (str): The word.
    points (List[Point]): The occurrences that are shown, cluster by cluster.
    n_clusters (int): Number of clusters.
    n_occurrences (int): Number of occurrences in the text.
    layer (str): The layer.
    projection (str): "pca" or "umap".
    explained (Optional[Tuple[float, float]]): Share of the variance along each axis;
        None for UMAP.
    """

    word: str
    points: List[Point]
    n_clusters: int
    n_occurrences: int
    layer: str
    projection: str
    explained: Optional[Tuple[float, float]]
    width: int = WIDTH
    height: int = HEIGHT

    @property
    def clusters(self) -> List[List[Context]]:
        """The contexts in each cluster."""
        return [
            [point.context for point in self.points if point.cluster == number]
            for number in range(self.n_clusters)
        ]


def show_senses(
    docs: Any,
    *,
    word: Optional[str] = None,
    layer: str = TOP,
    clusters: Optional[int] = None,
    projection: str = PCA,
    max_occurrences: int = MAX_OCCURRENCES,
) -> SensesView:
    """Arrange the occurrences of a word in docs.

    docs (Union[Doc, Span, Iterable]): Where to search.
    word (Optional[str]): The word, in any case.
    layer (str): "top", "mean", or the number of a layer.
    clusters (Optional[int]): Number of clusters; None to choose it by the silhouette.
    projection (str): "pca", or "umap" if umap-learn is installed.
    max_occurrences (int): Occurrences to show, evenly spaced over the docs.
    RAISES: ValueError if an option is invalid, or no layers are on the docs.
    """
    texts = list_items(docs, (Doc, Span))
    if not isinstance(word, str) or not word:
        raise ValueError(
            f"options: expected a word, found {word!r}: options={{'word': 'bank'}}."
        )

    def positions() -> Iterator[Tuple[Any, int]]:
        for sentence in read_sentences(texts):
            for position, token in enumerate(sentence.words):
                if is_word(token, word):
                    yield sentence, position

    n_occurrences = sum(1 for _ in positions())
    kept = set(evenly_spaced(n_occurrences, max_occurrences).tolist())
    occurrences: List[Occurrence] = []
    vectors: List[np.ndarray] = []
    for number, (sentence, position) in enumerate(positions()):
        if number in kept:
            if not vectors:
                check_layer_of(sentence, layer)
            vectors.append(select_layer(sentence.layers(), layer)[position])
            occurrences.append(Occurrence(sentence.number, position, sentence.words))
    return arrange(
        word,
        occurrences,
        np.asarray(vectors),
        n_occurrences=n_occurrences,
        layer=layer,
        clusters=clusters,
        projection=projection,
    )


def arrange(
    word: str,
    occurrences: Sequence[Occurrence],
    vectors: np.ndarray,
    *,
    n_occurrences: int,
    layer: str,
    clusters: Optional[int] = None,
    projection: str = PCA,
) -> SensesView:
    """Cluster occurrences, and project them to two dimensions.

    occurrences (Sequence[Occurrence]): The occurrences to show.
    vectors (ndarray): Their vectors, of shape (n, width). Only directions count.
    n_occurrences (int): Number of occurrences in the text.
    RAISES: ValueError if there are no occurrences, or an option is invalid.
    """
    if not occurrences:
        raise ValueError(f"{word!r}: expected a word of the text, found it nowhere.")
    directions = normalize(vectors)
    numbers = cluster(directions, clusters)
    projected = project(directions, projection)
    points = [
        Point(float(x), float(y), int(number), Context.of(occurrence))
        for (x, y), number, occurrence in zip(
            _fit(projected.points), numbers, occurrences
        )
    ]
    explained = projected.explained
    return SensesView(
        word,
        sorted(points, key=lambda point: point.cluster),
        int(numbers.max()) + 1,
        n_occurrences,
        layer,
        projection,
        None if explained is None else (float(explained[0]), float(explained[1])),
    )


def evenly_spaced(n_items: int, n_kept: int) -> np.ndarray:
    """Choose indices that are spread evenly over a sequence.

    RETURNS (ndarray): Increasing indices, int64 of shape (min(n_items, n_kept),).
    RAISES: ValueError if `n_kept` is less than 1.
    """
    if n_kept < 1:
        raise ValueError(f"expected a positive number to keep, found {n_kept}.")
    if n_items <= n_kept:
        return np.arange(n_items)
    return np.arange(n_kept) * n_items // n_kept


def _fit(points: np.ndarray) -> np.ndarray:
    """Scale points to the plot, with equal units on both axes."""
    lowest, highest = points.min(axis=0), points.max(axis=0)
    extent = np.maximum(highest - lowest, 1e-9)
    size = np.asarray([WIDTH, HEIGHT]) - 2 * _MARGIN
    scale = (size / extent).min()
    centered = (points - (lowest + highest) / 2) * scale
    return centered * [1, -1] + [WIDTH / 2, HEIGHT / 2]
