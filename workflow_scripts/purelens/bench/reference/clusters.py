"""Compute splits, distances and correlations of one neuron, pair by pair."""

from itertools import combinations

import numpy as np


def split(vectors: np.ndarray, n_clusters: int, restarts: int = 10) -> tuple[np.ndarray, float]:
    """Cluster by scikit-learn's k-means.

    Parameters
    ----------
    vectors
        (n, d).
    n_clusters, restarts
        k, and the number of restarts.

    Returns
    -------
    tuple
        Labels (n,) and inertia.
    """
    from sklearn.cluster import KMeans

    fitted = KMeans(n_clusters, n_init=restarts, random_state=0).fit(vectors)
    return fitted.labels_, float(fitted.inertia_)


def distances(vectors: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Average the Euclidean distances over the pairs within a cluster, and over the pairs of different clusters."""
    intra: list[float] = []
    inter: list[float] = []
    for a, b in combinations(range(len(vectors)), 2):
        (intra if labels[a] == labels[b] else inter).append(float(np.linalg.norm(vectors[a] - vectors[b])))
    return float(np.mean(intra)), float(np.mean(inter))


def correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Correlate (Pearson) the distances of all pairs of references in two representations (n, d) and (n, e)."""
    pairs = list(combinations(range(len(x)), 2))
    of_x = [float(np.linalg.norm(x[a] - x[b])) for a, b in pairs]
    of_y = [float(np.linalg.norm(y[a] - y[b])) for a, b in pairs]
    return float(np.corrcoef(of_x, of_y)[0, 1])
