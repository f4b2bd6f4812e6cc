"""k-means, silhouettes and distances beside scikit-learn and scipy."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, silhouette_score

from purelens.circuits.splitting import centroids
from purelens.numerics import clustering


def blobs(n_sets: int, n: int, k: int, spread: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.integers(k, size=(n_sets, n))
    centers = rng.normal(size=(n_sets, k, 12)) * 4
    return np.take_along_axis(centers, truth[..., None], axis=1) + rng.normal(size=(n_sets, n, 12)) * spread, truth


def cluster(vectors: np.ndarray, k: int, valid: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    valid = np.ones(vectors.shape[:2], dtype=bool) if valid is None else valid
    gram = clustering.gram_matrices(vectors, valid)
    return clustering.k_means(gram, valid, k, 10, [[0, i] for i in range(len(vectors))])


@pytest.mark.parametrize("k", [2, 3, 5])
def test_clear_clusters_are_scikit_learns(k: int) -> None:
    vectors, _ = blobs(6, 60, k, 0.5, seed=k)
    labels, inertia = cluster(vectors, k)
    for row in range(len(vectors)):
        oracle = KMeans(k, n_init=10, random_state=0).fit(vectors[row])
        assert adjusted_rand_score(oracle.labels_, labels[row]) == 1
        assert inertia[row] == pytest.approx(oracle.inertia_, rel=1e-6)


@pytest.mark.parametrize("k", [2, 3, 4, 5])
def test_unclear_clusters_are_no_worse_than_scikit_learns(k: int) -> None:
    vectors, _ = blobs(24, 100, k, 6.0, seed=k)
    _, inertia = cluster(vectors, k)
    oracle = np.array([KMeans(k, n_init=10, random_state=0).fit(v).inertia_ for v in vectors])
    assert inertia.mean() <= oracle.mean() * 1.002
    assert (inertia <= oracle * 1.02).all()


def test_inertia_belongs_to_the_labels() -> None:
    vectors, _ = blobs(4, 40, 3, 3.0, seed=1)
    labels, inertia = cluster(vectors, 3)
    for row in range(4):
        means = np.stack([vectors[row][labels[row] == c].mean(axis=0) for c in range(3)])
        assert inertia[row] == pytest.approx(((vectors[row] - means[labels[row]]) ** 2).sum(), rel=1e-9)
    np.testing.assert_allclose(centroids(vectors, labels, 3)[3], means)


def test_a_set_does_not_depend_on_its_neighbors() -> None:
    vectors, _ = blobs(5, 30, 3, 3.0, seed=2)
    together, _ = cluster(vectors, 3)
    gram = clustering.gram_matrices(vectors[3:4], np.ones((1, 30), dtype=bool))
    alone, _ = clustering.k_means(gram, np.ones((1, 30), dtype=bool), 3, 10, [[0, 3]])
    assert (alone[0] == together[3]).all()


def test_labels_count_from_the_largest_cluster() -> None:
    labels = np.array([[4, 4, 2, 2, 2, 7]])
    assert clustering.in_order_of_size(labels, labels >= 0).tolist() == [[1, 1, 0, 0, 0, 2]]
    tied = np.array([[5, 1, 5, 1]])
    assert clustering.in_order_of_size(tied, tied >= 0).tolist() == [[0, 1, 0, 1]]


def test_missing_references_stay_out() -> None:
    vectors, _ = blobs(2, 20, 2, 0.3, seed=3)
    valid = np.ones((2, 20), dtype=bool)
    valid[0, 15:] = False
    valid[1, 1:] = False
    vectors[0, 15:] = 1e6
    labels, inertia = cluster(vectors, 2, valid)
    oracle = KMeans(2, n_init=10, random_state=0).fit(vectors[0, :15])
    assert adjusted_rand_score(oracle.labels_, labels[0, :15]) == 1
    assert inertia[0] == pytest.approx(oracle.inertia_)
    assert (labels[0, 15:] == -1).all()
    assert (labels[1] == -1).all()
    assert np.isnan(inertia[1])


def test_equal_vectors_are_one_cluster() -> None:
    labels, inertia = cluster(np.ones((1, 8, 3)), 2)
    assert set(labels[0]) == {0}
    assert inertia[0] == 0


@pytest.mark.parametrize("k", [2, 3])
def test_silhouettes_are_scikit_learns(k: int) -> None:
    vectors, _ = blobs(5, 30, k, 2.0, seed=k)
    labels, _ = cluster(vectors, k)
    labels[0] = [0] + [1] * 29
    distances = np.stack([cdist(v, v) for v in vectors])
    values = clustering.silhouettes(distances, labels)
    np.testing.assert_allclose(
        values, [silhouette_score(v, s) for v, s in zip(vectors, labels, strict=True)], rtol=1e-9
    )


def test_silhouette_ignores_missing_references() -> None:
    vectors, _ = blobs(1, 30, 2, 1.0, seed=4)
    labels, _ = cluster(vectors, 2)
    labels[0, 25:] = -1
    values = clustering.silhouettes(np.stack([cdist(vectors[0], vectors[0])]), labels)
    assert values[0] == pytest.approx(silhouette_score(vectors[0, :25], labels[0, :25]))


def test_distances_from_gram_matrices_are_scipys() -> None:
    vectors, _ = blobs(3, 25, 2, 1.0, seed=5)
    gram = clustering.gram_matrices(vectors, np.ones((3, 25), dtype=bool))
    for row in range(3):
        np.testing.assert_allclose(
            np.sqrt(clustering.squared_distances(gram)[row]), cdist(vectors[row], vectors[row]), atol=1e-6
        )
