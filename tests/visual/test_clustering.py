"""Projection and clusters."""

from __future__ import annotations

import numpy as np
import pytest

from spacy_elmo.visual.clustering import (
    MAX_CLUSTERS,
    cluster,
    has_umap,
    k_means,
    project,
    silhouette,
)


def blobs(*sizes: int, spread: float = 0.1, width: int = 5) -> np.ndarray:
    """Groups of vectors around far corners."""
    rng = np.random.default_rng(1)
    centers = 4 * np.eye(width)
    return np.concatenate(
        [
            center + spread * rng.standard_normal((size, width))
            for center, size in zip(centers, sizes)
        ]
    ).astype(np.float32)


@pytest.mark.parametrize("sizes", [(9, 7), (9, 7, 5), (9, 7, 5, 4)])
def test_number_of_clusters_is_found(sizes: tuple[int, ...]) -> None:
    vectors = blobs(*sizes)
    order = np.random.default_rng(0).permutation(len(vectors))
    expected = np.repeat(np.arange(len(sizes)), sizes)[order]
    np.testing.assert_array_equal(cluster(vectors[order]), expected)


def test_vectors_without_groups_are_one_cluster() -> None:
    vectors = np.random.default_rng(0).standard_normal((60, 40)).astype(np.float32)
    assert set(cluster(vectors)) == {0}


def test_given_number_of_clusters() -> None:
    vectors = blobs(6, 5, 4)
    assert set(cluster(vectors, 1)) == {0}
    assert len(set(cluster(vectors, 2))) == 2
    assert len(set(cluster(vectors, MAX_CLUSTERS))) == MAX_CLUSTERS
    for number in (0, MAX_CLUSTERS + 1, -1):
        with pytest.raises(ValueError, match="from 1 to 6, found"):
            cluster(vectors, number)


@pytest.mark.parametrize("n_vectors", [1, 2, 3])
@pytest.mark.parametrize("n_clusters", [None, 1, 3])
def test_few_or_equal_vectors(n_vectors: int, n_clusters: int | None) -> None:
    for vectors in (np.ones((n_vectors, 4)), blobs(*[1] * n_vectors)):
        numbers = cluster(vectors, n_clusters)
        assert sorted(set(numbers)) == list(range(numbers.max() + 1))
        assert np.isfinite(project(vectors).points).all()


def test_clusters_are_repeatable() -> None:
    vectors = np.random.default_rng(0).standard_normal((50, 8))
    np.testing.assert_array_equal(k_means(vectors, 4), k_means(vectors, 4))


def test_silhouette_of_a_worked_example() -> None:
    positions = np.array([0.0, 1.0, 10.0, 12.0, 30.0])
    distances = np.abs(positions[:, None] - positions)
    # By hand, from (b - a) / max(a, b); the vector alone in its cluster counts as 0.
    expected = np.mean([(11 - 1) / 11, (10 - 1) / 10, 7.5 / 9.5, 9.5 / 11.5, 0])
    labels = np.array([0, 0, 1, 1, 2])
    assert silhouette(distances, labels) == pytest.approx(expected)


def test_principal_components() -> None:
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.standard_normal((6, 6)))[0]
    vectors = rng.standard_normal((200, 6)) * [5, 2, 0.1, 0.1, 0.1, 0.1] @ axes.T + 3
    points, explained = project(vectors)
    variances = np.linalg.eigvalsh(np.cov(vectors.T))[::-1]
    np.testing.assert_allclose(points.var(axis=0, ddof=1), variances[:2], rtol=1e-4)
    assert explained is not None
    np.testing.assert_allclose(explained, variances[:2] / variances.sum(), rtol=1e-4)


def test_umap() -> None:
    if not has_umap():
        with pytest.raises(ValueError, match="umap-learn installed, found 'umap'"):
            project(blobs(4, 4), "umap")
        pytest.skip("umap-learn is not installed")
    points, explained = project(blobs(20, 20), "umap")
    assert points.shape == (40, 2)
    assert explained is None
    distances = np.linalg.norm(points[:, None] - points, axis=2)
    assert distances[:20, 20:].mean() > distances[:20, :20].mean()


def test_unknown_projection() -> None:
    with pytest.raises(ValueError, match="found 'tsne'"):
        project(blobs(4, 4), "tsne")
