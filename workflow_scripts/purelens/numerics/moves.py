"""Settle k-means by moving one point at a time, compiled when it is first called."""

import numba
import numpy as np

MAX_SWEEPS = 100
LEAST_GAIN = 1e-9
"""What a move must gain, as a share of the squared length of the point: less is rounding."""


@numba.njit(nogil=True)
def settle(gram: np.ndarray, points: np.ndarray, label: np.ndarray, n_clusters: int) -> np.ndarray:
    """Move points to the cluster that lowers the inertia most, until none moves.

    Moving single points counts that both centroids move with the point, so it goes on where Lloyd's steps stand still.

    Parameters
    ----------
    gram
        (n, n) float64 scalar products.
    points
        (m,) int64 numbers of the points that count.
    label
        (restarts, n) int64 cluster of each point; changed in place.
    n_clusters
        Number of clusters k.

    Returns
    -------
    numpy.ndarray
        (restarts,) sum of squared distances to the centroids.
    """
    inertia = np.zeros(len(label))
    for run in range(len(label)):
        own = label[run]
        for _ in range(MAX_SWEEPS):
            # anew for each sweep: sums of many moves have rounding in them
            product, square, size = _sums(gram, points, own, n_clusters)
            if not _sweep(gram, points, own, product, square, size):
                break
        for cluster in range(n_clusters):
            if size[cluster] > 0:
                inertia[run] -= square[cluster] / size[cluster]
        for i in points:
            inertia[run] += gram[i, i]
    return inertia


@numba.njit(nogil=True)
def _sums(
    gram: np.ndarray, points: np.ndarray, label: np.ndarray, n_clusters: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sum scalar products with the members of each cluster (k, n), and over pairs of members (k,); count members (k,)."""
    product = np.zeros((n_clusters, len(gram)))
    square, size = np.zeros(n_clusters), np.zeros(n_clusters)
    for i in points:
        product[label[i]] += gram[i]
        size[label[i]] += 1
    for i in points:
        square[label[i]] += product[label[i], i]
    return product, square, size


@numba.njit(nogil=True)
def _sweep(
    gram: np.ndarray,
    points: np.ndarray,
    label: np.ndarray,
    product: np.ndarray,
    square: np.ndarray,
    size: np.ndarray,
) -> bool:
    """Look at each point in turn; returns whether any was moved."""
    moved = False
    for i in points:
        norm, old = gram[i, i], label[i]
        if size[old] <= 1:
            continue
        distance = norm - 2 * product[old, i] / size[old] + square[old] / size[old] ** 2
        least, new = size[old] / (size[old] - 1) * distance - LEAST_GAIN * norm, old
        for cluster in range(len(size)):
            cost = 0.0
            if cluster != old and size[cluster] > 0:
                apart = norm - 2 * product[cluster, i] / size[cluster] + square[cluster] / size[cluster] ** 2
                cost = size[cluster] / (size[cluster] + 1) * apart
            if cluster != old and cost < least:
                least, new = cost, cluster
        if new != old:
            square[old] += norm - 2 * product[old, i]
            square[new] += norm + 2 * product[new, i]
            product[old] -= gram[i]
            product[new] += gram[i]
            size[old] -= 1
            size[new] += 1
            label[i] = new
            moved = True
    return moved
