"""Split neurons by one method after another, and measure how stable each split is."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from purelens.circuits.methods import JOINT, PURE, RANDOM
from purelens.circuits.representations import Representations
from purelens.circuits.views import view_grams
from purelens.numerics.agreement import adjusted_rand_index
from purelens.numerics.clustering import in_order_of_size, inertias, k_means, silhouettes, squared_distances
from purelens.numerics.ridge_split import split_in_two

FEWEST = 30
"""References that a neuron must have to be split in two by ridge regression: with fewer k-means on the same views is better."""


@dataclass(frozen=True)
class Split:
    """A slab of neurons, split by one method into one number of clusters.

    Attributes
    ----------
    label
        (b, K) virtual neuron of each reference.
    inertia, silhouette
        (b,); NaN for a random split.
    seed_stability, half_stability
        (b,) adjusted Rand index with the split from another seed, and with those of the odd and of the even references alone;
        NaN for a random split.
    centroid
        (b, k, D) mean vector of each virtual neuron; None for methods without circuits.
    """

    label: np.ndarray
    inertia: np.ndarray | float = np.nan
    silhouette: np.ndarray | float = np.nan
    seed_stability: np.ndarray | float = np.nan
    half_stability: np.ndarray | float = np.nan
    centroid: np.ndarray | None = None


class _Slab:
    """A slab of neurons in the representation of one method.

    Attributes
    ----------
    gram
        (b, K, K) scalar products of the references.
    """

    def __init__(self, references: Representations, method: str, rows: tuple[int, int], restarts: int) -> None:
        self._restarts = restarts
        self.valid = references.reference_id[slice(*rows)] >= 0
        self._views = view_grams(references.views, self.valid, *rows) if method == JOINT else np.zeros(0)
        self.gram = self._views.sum(axis=1) if method == JOINT else references.grams(method, *rows)

    def cluster(self, k: int, seeds: list[list[int]], valid: np.ndarray) -> np.ndarray:
        """Split the references (b, K) that are valid into k clusters: (b, K) int8."""
        labels = np.full(valid.shape, -1, dtype=np.int8)
        by_ridge = self._is_split_by_ridge(k, valid)
        for row in np.flatnonzero(by_ridge):
            there = np.flatnonzero(valid[row])
            labels[row, there] = split_in_two(self._views[row][:, there[:, None], there]).side
        labels[by_ridge] = in_order_of_size(labels[by_ridge], valid[by_ridge])
        others = np.flatnonzero(~by_ridge)
        own_seeds = [seeds[row] for row in others]
        labels[others] = k_means(self.gram[others], valid[others], k, self._restarts, own_seeds)[0]
        return labels

    def _is_split_by_ridge(self, k: int, valid: np.ndarray) -> np.ndarray:
        """Tell which sets (b,) are split by ridge regression: in two, by several views, with enough references."""
        return (valid.sum(axis=1) >= FEWEST) & (k == 2 and len(self._views) > 0)

    def seed_stability(self, k: int, seeds: list[list[int]], labels: np.ndarray) -> np.ndarray:
        """Compare a split with that of another seed: (b,)."""
        if self._is_split_by_ridge(k, self.valid).all():
            return np.ones(len(labels))  # no random numbers
        return adjusted_rand_index(labels, self.cluster(k, [[*seed, 1] for seed in seeds], self.valid))

    def half_stability(self, k: int, seeds: list[list[int]], labels: np.ndarray) -> np.ndarray:
        """Compare a split with those of every other reference: (b,)."""
        rank = np.arange(self.valid.shape[1]) % 2
        halves = [self.cluster(k, seeds, self.valid & (rank == odd)) for odd in (0, 1)]
        return np.mean([adjusted_rand_index(labels, half) for half in halves], axis=0)


@dataclass(frozen=True)
class Splitter:
    """Split slabs of neurons (see `purelens.circuits.virtual_neurons.virtual_neurons`)."""

    references: Representations
    n_clusters: tuple[int, ...]
    restarts: int
    seed: int

    def split(self, method: str, start: int, stop: int) -> Iterator[Split]:
        """Split the neurons of a slab by one method, into each number of clusters in turn.

        Parameters
        ----------
        method
            Name of the method (see `purelens.circuits.methods`).
        start, stop
            Rows of the neurons.

        Yields
        ------
        Split
            Labels, centers, silhouettes and stability of one number of clusters.
        """
        seeds = [[self.seed, int(neuron)] for neuron in self.references.neurons[start:stop]]
        if method == RANDOM:
            valid = self.references.reference_id[start:stop] >= 0
            yield from (Split(random_labels(valid, k, seeds)) for k in self.n_clusters)
            return
        # one Gram matrix serves all numbers of clusters
        slab = _Slab(self.references, method, (start, stop), self.restarts)
        distances = np.sqrt(squared_distances(slab.gram))
        vectors = self.references.loaders[method](start, stop) if method.startswith(PURE) else None
        for k in self.n_clusters:
            labels = slab.cluster(k, seeds, slab.valid)
            yield Split(
                labels,
                inertias(slab.gram, labels),
                silhouettes(distances, labels),
                slab.seed_stability(k, seeds, labels),
                slab.half_stability(k, seeds, labels),
                None if vectors is None else centroids(vectors, labels, max(self.n_clusters)),
            )


def random_labels(valid: np.ndarray, n_clusters: int, seeds: list[list[int]]) -> np.ndarray:
    """Split each set of references at random into clusters of equal size.

    Parameters
    ----------
    valid
        (b, n) bool, which references count.
    n_clusters
        Number of clusters k.
    seeds
        One seed for each set.

    Returns
    -------
    numpy.ndarray
        (b, n) int8, -1 where there is no reference, and for all of a set with fewer than k.
    """
    labels = np.full(valid.shape, -1, dtype=np.int8)
    for row, seed in enumerate(seeds):
        n_valid = int(valid[row].sum())
        if n_valid >= n_clusters:
            rng = np.random.default_rng([*seed, n_clusters, 1])
            labels[row, valid[row]] = rng.permutation(np.arange(n_valid) % n_clusters)
    return in_order_of_size(labels, valid & (labels >= 0))


def centroids(vectors: np.ndarray, labels: np.ndarray, n_clusters: int) -> np.ndarray:
    """Compute the mean vector of each cluster.

    Parameters
    ----------
    vectors
        (b, n, d).
    labels
        (b, n) cluster of each vector, -1 for none.
    n_clusters
        Number of clusters k.

    Returns
    -------
    numpy.ndarray
        (b, k, d); NaN where a cluster is empty.
    """
    member = (labels[:, None, :] == np.arange(n_clusters)[:, None]).astype(np.float64)
    size = member.sum(axis=2, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(size > 0, member @ vectors / size, np.nan)
