"""The rule ``virtual_neurons``: cluster each neuron's references, by circuits and by the baselines."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from purelens.circuits.methods import ACTIVATIONS, JOINT, PURE, RANDOM
from purelens.circuits.representations import Representations, open_representations
from purelens.circuits.views import view_grams
from purelens.numerics.clustering import in_order_of_size, inertias, k_means, silhouettes, squared_distances
from purelens.numerics.ridge_split import split_in_two
from purelens.progress import Progress
from purelens.storage.artifacts import Writer, create
from purelens.storage.provenance import DEFAULT_EXECUTION, Execution
from purelens.storage.reading import read

logger = logging.getLogger("purelens")

FEWEST = 4
"""References that a neuron must have to be split in two by ridge regression: two a side."""


@dataclass(frozen=True)
class Baselines:
    """What is clustered besides circuits.

    Attributes
    ----------
    joint
        Circuits and activations together.
    activations_baseline
        Mean activations of the layer.
    embedder_baselines
        Embeddings of each embedding model.
    random_baseline
        Nothing: references are split at random.
    """

    joint: bool = True
    activations_baseline: bool = True
    embedder_baselines: bool = True
    random_baseline: bool = True


DEFAULT_BASELINES = Baselines()


def virtual_neurons(
    relevances_h5: str,
    activations_h5: str,
    embeddings: Sequence[str],
    virtual_neurons_h5: str,
    embedders: Sequence[str],
    n_clusters: Sequence[int],
    restarts: int = 10,
    baselines: Baselines = DEFAULT_BASELINES,
    seed: int = 0,
    execution: Execution = DEFAULT_EXECUTION,
) -> None:
    """Split each neuron into virtual neurons by k-means on its references, for every method and number of clusters.

    Parameters
    ----------
    relevances_h5, activations_h5, embeddings
        Artifacts of the rules ``relevances``, ``activations`` and ``embeddings``.
    virtual_neurons_h5
        The artifact.
    embedders
        Names of the embedding models, in the order of ``embeddings``.
    n_clusters
        Numbers of clusters.
    restarts
        Restarts of k-means.
    baselines
        What is clustered besides circuits.
    seed
        Seed of the restarts and of the random split.
    execution
        Provenance record.

    Notes
    -----
    The circuit of a virtual neuron is the mean relevance of its references (Dreyer et al. 2024, section 3). The method
    ``joint`` splits in two by leave-one-out ridge regression (see `purelens.numerics.ridge_split`), in more by k-means.
    """
    with read(relevances_h5, "relevances") as file:
        storage = file.storage  # circuits are means of relevances
    means = activations_h5 if baselines.activations_baseline or baselines.joint else None
    if not baselines.embedder_baselines:
        embeddings, embedders = [], []
    with (
        open_representations(relevances_h5, means, embeddings, embedders, baselines.joint) as references,
        create(virtual_neurons_h5, "virtual_neurons", execution.provenance, storage=storage) as out,
    ):
        methods = [method for method in references.methods if method != ACTIVATIONS or baselines.activations_baseline]
        methods += [RANDOM] if baselines.random_baseline else []
        _define(out, references, methods, n_clusters)
        splitter = Splitter(references, tuple(n_clusters), restarts, seed)
        with Progress(len(references.neurons), "virtual neurons", "neurons") as progress:
            for start, stop in references.slabs():
                for number, method in enumerate(methods):
                    for position, split in enumerate(splitter.split(method, start, stop)):
                        _write(out, split, method, np.s_[number, position, start:stop])
                progress.advance(stop - start)


def _define(out: Writer, references: Representations, methods: list[str], n_clusters: Sequence[int]) -> None:
    out.coordinate("method_number", len(methods))
    out.coordinate("n_clusters", np.array(n_clusters, dtype="i4"))
    out.references(references.neurons, references.reference_id)
    out.coordinate("virtual_neuron", max(n_clusters))
    out.variable("method", data=methods)
    for name in ("label", "inertia", "silhouette"):
        out.variable(name)
    for method in methods:
        if method.startswith(PURE):
            lower = method.removeprefix(PURE)
            dim = f"lower_neuron.{lower}"
            out.coordinate(dim, references.loaders[method](0, 1).shape[2])
            out.variable(f"circuit/{lower}", dims=("n_clusters", "neuron", "virtual_neuron", dim))


@dataclass(frozen=True)
class Split:
    """A slab of neurons, split by one method into one number of clusters.

    Attributes
    ----------
    label
        (b, K) virtual neuron of each reference.
    inertia, silhouette
        (b,); NaN for a random split.
    centroid
        (b, k, D) mean vector of each virtual neuron; None for a random split.
    """

    label: np.ndarray
    inertia: np.ndarray | float = np.nan
    silhouette: np.ndarray | float = np.nan
    centroid: np.ndarray | None = None


@dataclass(frozen=True)
class Splitter:
    """Split slabs of neurons (see `virtual_neurons`)."""

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
            Labels, centers and silhouettes of one number of clusters.
        """
        valid = self.references.reference_id[start:stop] >= 0
        seeds = [[self.seed, int(neuron)] for neuron in self.references.neurons[start:stop]]
        if method == RANDOM:
            yield from (Split(random_labels(valid, k, seeds)) for k in self.n_clusters)
            return
        # one Gram matrix serves all numbers of clusters
        gram = self.references.grams(method, start, stop)
        distances = np.sqrt(squared_distances(gram))
        vectors = self.references.loaders[method](start, stop) if method.startswith(PURE) else None
        for k in self.n_clusters:
            if method == JOINT and k == 2:
                labels = self._in_two(start, stop)
                inertia = inertias(gram, labels)
            else:
                labels, inertia = k_means(gram, valid, k, self.restarts, seeds)
            centroid = None if vectors is None else centroids(vectors, labels, max(self.n_clusters))
            yield Split(labels, inertia, silhouettes(distances, labels), centroid)

    def _in_two(self, start: int, stop: int) -> np.ndarray:
        """Split the neurons of a slab in two by ridge regression: (b, K) int8."""
        valid = self.references.reference_id[start:stop] >= 0
        labels = np.full(valid.shape, -1, dtype=np.int8)
        for row, grams in enumerate(view_grams(self.references.views, valid, start, stop)):
            there = np.flatnonzero(valid[row])
            if len(there) >= FEWEST:
                labels[row, there] = split_in_two(grams[:, there[:, None], there]).side
        return in_order_of_size(labels, labels >= 0)


def _write(out: Writer, split: Split, method: str, place: tuple[int, int, slice]) -> None:
    out["label"][place] = split.label
    out["inertia"][place] = split.inertia
    out["silhouette"][place] = split.silhouette
    if split.centroid is not None:
        out[f"circuit/{method.removeprefix(PURE)}"][place[1:]] = split.centroid


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
