"""The rule ``virtual_neurons``: cluster each neuron's references, by circuits and by everything to compare them with."""

import logging
from collections.abc import Sequence

import numpy as np

from purelens.circuits.representations import Representations, open_representations
from purelens.numerics.clustering import gram_matrices, in_order_of_size, k_means, silhouettes, squared_distances
from purelens.progress import Progress
from purelens.storage.artifacts import Writer, create, read, storage_of
from purelens.storage.provenance import Provenance

logger = logging.getLogger("purelens")

PURE = "pure:"
RANDOM = "random"


def virtual_neurons(
    relevances_h5: str,
    activations_h5: str,
    embeddings: Sequence[str],
    virtual_neurons_h5: str,
    embedders: Sequence[str],
    n_clusters: Sequence[int],
    restarts: int = 10,
    activations_baseline: bool = True,
    embedder_baselines: bool = True,
    random_baseline: bool = True,
    seed: int = 0,
    provenance: Provenance | None = None,
) -> None:
    """Cluster the references of each neuron by k-means, for every method and number of clusters.

    Parameters
    ----------
    relevances_h5, activations_h5, embeddings
        Artifacts of the rules ``relevances``, ``activations`` and ``embeddings``.
    virtual_neurons_h5
        The artifact.
    embedders
        Names of the embedders, in the order of ``embeddings``.
    n_clusters
        Numbers of clusters.
    restarts
        k-means restarts.
    activations_baseline, embedder_baselines, random_baseline
        Which methods to compare PURE with.
    seed
        Of the restarts and the random split.
    provenance
        What the artifact is made from.

    Notes
    -----
    The circuit of a virtual neuron is the mean relevance of its references (Dreyer et al. 2024, section 3).
    """
    with read(relevances_h5, "relevances") as file:
        storage = storage_of(file)  # circuits are means of relevances
    means = activations_h5 if activations_baseline else None
    if not embedder_baselines:
        embeddings, embedders = [], []
    with (
        open_representations(relevances_h5, means, embeddings, embedders) as references,
        create(virtual_neurons_h5, "virtual_neurons", provenance, storage=storage) as out,
    ):
        methods = [*references.loaders, *([RANDOM] if random_baseline else [])]
        _define(out, references, methods, n_clusters)
        with Progress(len(references.neurons), "virtual neurons", "neurons") as progress:
            for start, stop in references.slabs():
                for number, method in enumerate(methods):
                    _cluster_slab(out, references, method, number, n_clusters, restarts, seed, start, stop)
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


def _cluster_slab(
    out: Writer,
    references: Representations,
    method: str,
    number: int,
    n_clusters: Sequence[int],
    restarts: int,
    seed: int,
    start: int,
    stop: int,
) -> None:
    """Cluster a slab of neurons by one method, for all numbers of clusters."""
    valid = references.reference_id[start:stop] >= 0
    seeds = [[seed, int(neuron)] for neuron in references.neurons[start:stop]]
    if method == RANDOM:
        for position, k in enumerate(n_clusters):
            out["label"][number, position, start:stop] = random_labels(valid, k, seeds)
            out["inertia"][number, position, start:stop] = np.nan
            out["silhouette"][number, position, start:stop] = np.nan
        return
    vectors = references.loaders[method](start, stop)
    gram = gram_matrices(vectors, valid)
    distances = np.sqrt(squared_distances(gram))
    for position, k in enumerate(n_clusters):
        labels, inertia = k_means(gram, valid, k, restarts, seeds)
        out["label"][number, position, start:stop] = labels
        out["inertia"][number, position, start:stop] = inertia
        out["silhouette"][number, position, start:stop] = silhouettes(distances, labels)
        if method.startswith(PURE):
            lower = method.removeprefix(PURE)
            circuit = centroids(vectors, labels, max(n_clusters))
            out[f"circuit/{lower}"][position, start:stop] = circuit


def random_labels(valid: np.ndarray, n_clusters: int, seeds: list[list[int]]) -> np.ndarray:
    """Split each set (b, n) at random into k parts of equal size, -1 where there is no reference."""
    labels = np.full(valid.shape, -1, dtype=np.int8)
    for row, seed in enumerate(seeds):
        n_valid = int(valid[row].sum())
        if n_valid >= n_clusters:
            rng = np.random.default_rng([*seed, n_clusters, 1])
            labels[row, valid[row]] = rng.permutation(np.arange(n_valid) % n_clusters)
    return in_order_of_size(labels, valid & (labels >= 0))


def centroids(vectors: np.ndarray, labels: np.ndarray, n_clusters: int) -> np.ndarray:
    """Mean vector (b, k, d) of each cluster; NaN where a cluster is empty."""
    member = (labels[:, None, :] == np.arange(n_clusters)[:, None]).astype(np.float64)
    size = member.sum(axis=2, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(size > 0, member @ vectors / size, np.nan)
