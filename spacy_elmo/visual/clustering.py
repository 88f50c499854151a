"""Vectors in two dimensions, and their clusters."""

from importlib.util import find_spec
from typing import NamedTuple, Optional, Tuple, cast

import numpy as np

PCA, UMAP = "pca", "umap"
MAX_CLUSTERS = 6
"""As many as the plot has colors and shapes."""

_MIN_SILHOUETTE = 0.1
"""Below this mean silhouette, the best clusters are taken to be one."""
_SAME = 1e-3
"""Vectors of length 1 that are all closer than this only differ by rounding."""
_N_COMPONENTS = 50
"""Principal components that are clustered: most of the variance, in less time."""
_N_STARTS = 8
_MAX_ITERATIONS = 100
_SEED = 0


class Projection(NamedTuple):
    """Vectors in two dimensions.

    points (ndarray): Shape (n, 2).
    explained (Optional[ndarray]): Share of the variance along each axis, shape (2,);
        None for UMAP, which has no such shares.
    """

    points: np.ndarray
    explained: Optional[np.ndarray]


def has_umap() -> bool:
    """Whether umap-learn is installed."""
    return find_spec("umap") is not None


def project(vectors: np.ndarray, method: str = PCA) -> Projection:
    """Project vectors to two dimensions.

    vectors (ndarray): Shape (n, width), n at least 1.
    method (str): "pca", or "umap" if umap-learn is installed.
    RAISES: ValueError if the method is unknown or not installed.
    """
    if method == UMAP and has_umap():
        return Projection(_umap(vectors), None)
    if method != PCA:
        raise ValueError(
            f"projection: expected {PCA}, or {UMAP} with umap-learn installed, found "
            f"{method!r}."
        )
    coordinates, shares = principal_components(vectors, 2)
    return Projection(coordinates, shares)


def principal_components(
    vectors: np.ndarray, n_components: int
) -> Tuple[np.ndarray, np.ndarray]:
    """Compute coordinates on the first principal components.

    From the eigenvectors of the Gram matrix, because there are fewer vectors than
    dimensions.

    vectors (ndarray): Shape (n, width).
    RETURNS (Tuple[ndarray, ndarray]): Coordinates, of shape (n, n_components), zeros
        beyond the rank; and the share of the variance along each component.
    """
    centered = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    variances, axes = np.linalg.eigh(centered @ centered.T)
    variances = np.maximum(variances[::-1], 0)  # largest first
    n_known = min(n_components, len(vectors))
    coordinates = np.zeros((len(vectors), n_components))
    coordinates[:, :n_known] = (axes[:, ::-1] * np.sqrt(variances))[:, :n_known]
    shares = np.zeros(n_components)
    shares[:n_known] = variances[:n_known] / max(float(variances.sum()), 1e-12)
    return coordinates, shares


def _umap(vectors: np.ndarray) -> np.ndarray:
    if len(vectors) < 4:  # too few for UMAP's graph of neighbors
        return project(vectors).points
    from umap import UMAP as Reducer

    n_neighbors = min(15, len(vectors) - 1)
    # With random starts, because the spectral layout fails on few points; with one job,
    # because UMAP is repeatable only then.
    reducer = Reducer(
        n_neighbors=n_neighbors,
        metric="cosine",
        init="random",
        random_state=_SEED,
        n_jobs=1,
    )
    return cast(np.ndarray, reducer.fit_transform(vectors))


def cluster(vectors: np.ndarray, n_clusters: Optional[int] = None) -> np.ndarray:
    """Cluster vectors by k-means on their principal components, largest cluster first.

    vectors (ndarray): Vectors of length 1, shape (n, width).
    n_clusters (Optional[int]): Number of clusters. None for the number, up to
        MAX_CLUSTERS, with the best mean silhouette (Rousseeuw 1987), or for a single
        cluster if no number separates the vectors.
    RETURNS (ndarray): Number of each vector's cluster, from 0, int64 of shape (n,).
    RAISES: ValueError if the number is out of range.
    """
    if n_clusters is not None and not 1 <= n_clusters <= MAX_CLUSTERS:
        raise ValueError(
            f"clusters: expected a number from 1 to {MAX_CLUSTERS}, found {n_clusters}."
        )
    n_distinct = len(np.unique(vectors, axis=0))
    vectors, _ = principal_components(vectors, _N_COMPONENTS)
    if n_clusters is not None:
        return _by_size(k_means(vectors, min(n_clusters, n_distinct)))
    best, best_score = np.zeros(len(vectors), dtype=np.int64), _MIN_SILHOUETTE
    distances = _distances(vectors)
    if distances.max() < _SAME:
        return best
    for number in range(2, min(MAX_CLUSTERS, n_distinct - 1) + 1):
        labels = k_means(vectors, number)
        score = silhouette(distances, labels)
        if score > best_score:
            best, best_score = labels, score
    return _by_size(best)


def k_means(vectors: np.ndarray, n_clusters: int) -> np.ndarray:
    """Run Lloyd's algorithm from several k-means++ starts, and keep the best result.

    RETURNS (ndarray): Number of each vector's cluster, int64 of shape (n,).
    """
    rng = np.random.default_rng(_SEED)
    best, best_cost = np.zeros(len(vectors), dtype=np.int64), np.inf
    for _ in range(_N_STARTS):
        centers = _first_centers(vectors, n_clusters, rng)
        labels = np.full(len(vectors), -1)
        for _ in range(_MAX_ITERATIONS):
            squared = _squared_distances(vectors, centers)
            nearest = squared.argmin(axis=1)
            if np.array_equal(nearest, labels):
                break
            labels = nearest
            for number in np.unique(labels):  # a cluster may have lost all vectors
                centers[number] = vectors[labels == number].mean(axis=0)
        cost = float(squared.min(axis=1).sum())
        if cost < best_cost:
            best, best_cost = labels, cost
    return best


def _first_centers(
    vectors: np.ndarray, n_clusters: int, rng: np.random.Generator
) -> np.ndarray:
    """Sample centers with probabilities proportional to the squared distance to the
    nearest earlier center (Arthur and Vassilvitskii 2007)."""
    rows = [int(rng.integers(len(vectors)))]
    while len(rows) < n_clusters:
        squared = _squared_distances(vectors, vectors[rows]).min(axis=1)
        squared[rows] = 0
        total = squared.sum()
        chances = squared / total if total > 0 else None
        rows.append(int(rng.choice(len(vectors), p=chances)))
    return vectors[rows].astype(np.float64)


def silhouette(distances: np.ndarray, labels: np.ndarray) -> float:
    """Compute the mean silhouette (Rousseeuw 1987).

    distances (ndarray): Pairwise distances, shape (n, n).
    labels (ndarray): Number of each vector's cluster, shape (n,); at least two.
    RETURNS (float): In [-1, 1]. Vectors alone in their cluster count as 0.
    """
    numbers, indices, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    membership = np.eye(len(numbers))[indices]
    sums = distances @ membership
    own_size = sizes[indices]
    rows = np.arange(len(labels))
    within = sums[rows, indices] / np.maximum(own_size - 1, 1)
    means = sums / sizes
    means[rows, indices] = np.inf
    between = means.min(axis=1)
    scores = (between - within) / np.maximum(np.maximum(between, within), 1e-12)
    return float(np.where(own_size > 1, scores, 0).mean())


def _by_size(labels: np.ndarray) -> np.ndarray:
    """Renumber clusters from 0, largest first."""
    numbers, indices, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    rank = np.empty(len(numbers), dtype=np.int64)
    rank[np.argsort(-sizes, kind="stable")] = np.arange(len(numbers))
    return rank[indices]


def _distances(vectors: np.ndarray) -> np.ndarray:
    return np.sqrt(_squared_distances(vectors, vectors))


def _squared_distances(vectors: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """Shape (n_vectors, n_centers). Rounding never makes them negative."""
    squared = (
        (vectors**2).sum(axis=1)[:, None]
        + (centers**2).sum(axis=1)
        - 2 * vectors @ centers.T
    )
    return np.maximum(squared, 0)
