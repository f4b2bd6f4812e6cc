"""Cluster many small sets of vectors at once, by k-means on their Gram matrices.

The references of a neuron are about a hundred vectors of thousands of components. All that k-means and the silhouette need of
them is the matrix of their scalar products, which all restarts and all numbers of clusters share: the squared distance of
vector i to the mean of a set S is G_ii - 2 mean_S(G_ij) + mean_SS(G_jk).
"""

import math

import numpy as np

from purelens.numerics.moves import settle


def gram_matrices(vectors: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Compute the scalar products of centered vectors.

    Parameters
    ----------
    vectors
        (b, n, d), b sets of n vectors.
    valid
        (b, n) bool, which vectors count; the others become zero.

    Returns
    -------
    numpy.ndarray
        (b, n, n) float64.
    """
    # centered first: distances do not change, and large means would cost their last digits
    vectors = np.where(valid[..., None], vectors, 0).astype(np.float64)
    center = vectors.sum(axis=1, keepdims=True) / np.maximum(valid.sum(axis=1), 1)[:, None, None]
    vectors = np.where(valid[..., None], vectors - center, 0)
    return vectors @ vectors.transpose(0, 2, 1)


def squared_distances(gram: np.ndarray) -> np.ndarray:
    """Turn scalar products (b, n, n) into squared Euclidean distances (b, n, n)."""
    norms = np.diagonal(gram, axis1=1, axis2=2)
    return np.maximum(norms[:, :, None] + norms[:, None, :] - 2 * gram, 0)


def k_means(
    gram: np.ndarray, valid: np.ndarray, n_clusters: int, n_restarts: int, seeds: list[list[int]]
) -> tuple[np.ndarray, np.ndarray]:
    """Cluster each set of vectors by k-means, moving one vector at a time, from greedy k-means++ starts.

    Parameters
    ----------
    gram
        (b, n, n) scalar products (see `gram_matrices`).
    valid
        (b, n) bool, which vectors count.
    n_clusters
        Number of clusters k.
    n_restarts
        Number of starts; the one with the lowest inertia is kept.
    seeds
        One seed for each set, so that a result does not depend on the sets it is computed with.

    Returns
    -------
    labels : numpy.ndarray
        (b, n) int8. Clusters are numbered from 0 by size, then by first appearance; -1 for vectors that do not count, and for
        all vectors of a set with fewer than k.
    inertia : numpy.ndarray
        (b,) sum of squared distances to the centroids; NaN for a set with fewer than k vectors.

    Notes
    -----
    Hartigan & Wong 1979; starts as in scikit-learn (Arthur & Vassilvitskii 2007, with greedy trials).
    """
    enough = valid.sum(axis=1) >= n_clusters
    labels = np.full(valid.shape, -1, dtype=np.int8)
    inertia = np.full(len(valid), np.nan)
    if enough.any():
        draws = np.stack([_draws(seed, n_clusters, n_restarts) for seed, use in zip(seeds, enough, strict=True) if use])
        best, inertia[enough] = _best_restart(gram[enough], valid[enough], n_clusters, draws)
        labels[enough] = in_order_of_size(best, valid[enough])
    return labels, inertia


def _draws(seed: list[int], n_clusters: int, n_restarts: int) -> np.ndarray:
    """Draw the random numbers (restarts, k, trials) of one set."""
    n_trials = 2 + int(math.log(n_clusters))
    return np.random.default_rng([*seed, n_clusters]).random((n_restarts, n_clusters, n_trials))


def _best_restart(
    gram: np.ndarray, valid: np.ndarray, n_clusters: int, draws: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    starts = _nearest_center(gram, _plus_plus(squared_distances(gram), valid, draws)).transpose(0, 2, 1)
    best, inertia = np.zeros(valid.shape, dtype=np.int64), np.zeros(len(gram))
    for number, (products, counts) in enumerate(zip(gram, valid, strict=True)):
        labels = np.ascontiguousarray(starts[number])
        reached = settle(np.ascontiguousarray(products), np.flatnonzero(counts), labels, n_clusters)
        best[number], inertia[number] = labels[reached.argmin()], max(reached.min(), 0)
    return best, inertia


def _plus_plus(distances: np.ndarray, valid: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Choose starting points: (b, restarts, k) indices, by greedy k-means++ (Arthur & Vassilvitskii 2007)."""
    n_sets, n_restarts, n_clusters, _ = draws.shape
    sets = np.arange(n_sets)[:, None]
    centers = np.zeros((n_sets, n_restarts, n_clusters), dtype=np.int64)
    uniform = np.broadcast_to(valid[:, None, :].astype(float), (n_sets, n_restarts, valid.shape[1]))
    centers[:, :, 0] = _sample(uniform, draws[:, :, 0, :1])[..., 0]
    closest = distances[sets, centers[:, :, 0]] * valid[:, None]
    for number in range(1, n_clusters):
        # where all points coincide with centers, any point is as good as another
        weights = np.where(closest.sum(axis=2, keepdims=True) > 0, closest, uniform)
        candidates = _sample(weights, draws[:, :, number])
        reached = np.minimum(closest[:, :, None, :], distances[sets[..., None], candidates] * valid[:, None, None])
        best = reached.sum(axis=3).argmin(axis=2)[..., None]
        centers[:, :, number] = np.take_along_axis(candidates, best, axis=2)[..., 0]
        closest = np.take_along_axis(reached, best[..., None], axis=2)[:, :, 0]
    return centers


def _sample(weights: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Draw indices with probability proportional to weights (b, r, n): (b, r, trials)."""
    cumulated = weights.cumsum(axis=2)
    thresholds = draws * cumulated[:, :, -1:]
    return (cumulated[:, :, None, :] <= thresholds[..., None]).sum(axis=3).clip(max=weights.shape[2] - 1)


def _nearest_center(gram: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """Assign points to the nearest of the points chosen as centers: (b, n, restarts)."""
    distances = squared_distances(gram)
    sets = np.arange(len(gram))[:, None, None]
    return distances[sets, centers].argmin(axis=2).transpose(0, 2, 1)


def inertias(gram: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Sum the squared distances to the centroids of given clusters.

    Parameters
    ----------
    gram
        (b, n, n) scalar products (see `gram_matrices`).
    labels
        (b, n) cluster of each vector; -1 for vectors that do not count.

    Returns
    -------
    numpy.ndarray
        (b,); NaN for a set without clusters.
    """
    member = (labels[..., None] == np.arange(max(int(labels.max(initial=-1)) + 1, 1))).astype(np.float64)
    norms = (np.diagonal(gram, axis1=1, axis2=2)[..., None] * member).sum(axis=(1, 2))
    share = member / np.maximum(member.sum(axis=1, keepdims=True), 1)
    total = norms - (share * (gram @ member)).sum(axis=(1, 2))
    return np.where((labels >= 0).any(axis=1), np.maximum(total, 0), np.nan)


def k_means_of_one_set(gram: np.ndarray, n_clusters: int, n_restarts: int, seed: list[int]) -> np.ndarray:
    """Cluster one set of vectors, all of which count, by k-means.

    Parameters
    ----------
    gram
        (n, n) scalar products.
    n_clusters, n_restarts, seed
        As in `k_means`.

    Returns
    -------
    numpy.ndarray
        (n,) int8 labels, as `k_means` gives them.
    """
    labels, _ = k_means(gram[None], np.ones((1, len(gram)), dtype=bool), n_clusters, n_restarts, [seed])
    return labels[0]


def in_order_of_size(labels: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Renumber clusters by size, then by first appearance.

    Parameters
    ----------
    labels
        (b, n) cluster of each vector.
    valid
        (b, n) bool, which vectors count.

    Returns
    -------
    numpy.ndarray
        (b, n) int8; -1 for vectors that do not count.
    """
    renumbered = np.full(labels.shape, -1, dtype=np.int8)
    for row, (label, use) in enumerate(zip(labels, valid, strict=True)):
        names, first, counts = np.unique(label[use], return_index=True, return_counts=True)
        order = np.lexsort((first, -counts))
        rank = np.empty(len(names), dtype=np.int8)
        rank[order] = np.arange(len(names))
        renumbered[row, use] = rank[np.searchsorted(names, label[use])]
    return renumbered


def silhouettes(distances: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Compute the mean silhouette of each set (Rousseeuw 1987).

    Parameters
    ----------
    distances
        (b, n, n) Euclidean distances.
    labels
        (b, n) cluster of each vector; -1 for vectors that do not count.

    Returns
    -------
    numpy.ndarray
        (b,); NaN for a set with fewer than two clusters. A vector alone in its cluster has the silhouette 0.
    """
    n_clusters = max(int(labels.max(initial=-1)) + 1, 1)
    member = (labels[..., None] == np.arange(n_clusters)).astype(np.float64)
    size = member.sum(axis=1)
    total = distances @ member
    own = np.maximum(labels, 0)[..., None]
    own_size = np.take_along_axis(size[:, None, :], own, axis=2)[..., 0]
    within = np.take_along_axis(total, own, axis=2)[..., 0] / np.maximum(own_size - 1, 1)
    others = np.where(size[:, None, :] > 0, total / np.maximum(size, 1)[:, None, :], np.inf)
    np.put_along_axis(others, own, np.inf, axis=2)
    between = others.min(axis=2)
    larger = np.maximum(within, between)
    counts = (own_size > 1) & (larger > 0) & np.isfinite(between)
    score = np.divide(between - within, larger, out=np.zeros_like(within), where=counts)
    valid = labels >= 0
    several = (size > 0).sum(axis=1) > 1
    mean = np.where(valid & several[:, None], score, 0).sum(axis=1) / np.maximum(valid.sum(axis=1), 1)
    return np.where(several, mean, np.nan)
