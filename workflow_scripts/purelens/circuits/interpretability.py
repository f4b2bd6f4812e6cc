"""The rule ``interpretability``: are the references of a virtual neuron more alike than those of different ones?"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from purelens.circuits.representations import open_representations
from purelens.numerics.bootstrap import estimate
from purelens.numerics.clustering import gram_matrices, squared_distances
from purelens.storage.artifacts import read, strings
from purelens.storage.tables import write_table

NO_SPLIT = "none"


def interpretability(
    relevances_h5: str,
    virtual_neurons_h5: str,
    embeddings: Sequence[str],
    interpretability_csv: str,
    summary_csv: str,
    embedders: Sequence[str],
    bootstrap: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> None:
    """Measure distances between references within and between virtual neurons, in each embedder's space.

    Parameters
    ----------
    relevances_h5, virtual_neurons_h5, embeddings
        Artifacts of the rules ``relevances``, ``virtual_neurons`` and ``embeddings``.
    interpretability_csv
        One row per neuron, method, number of clusters and embedder: ``intra``, ``inter``, ``gap``.
    summary_csv
        Their means over neurons with standard error and bootstrap interval.
    embedders
        Names of the embedders, in the order of ``embeddings``.
    bootstrap, confidence, seed
        See `purelens.numerics.bootstrap.estimate`.

    Notes
    -----
    Euclidean distances over all pairs of references (Dreyer et al. 2024, section 4.1). A neuron whose clusters all have one
    member has no intra, one with a single cluster no inter distance: these are left out of the means, not replaced.
    """
    rows = []
    with (
        open_representations(relevances_h5, None, embeddings, embedders) as references,
        read(virtual_neurons_h5, "virtual_neurons") as clusters,
    ):
        methods, ks = strings(clusters["method"]), clusters["n_clusters"][...].tolist()
        for start, stop in references.slabs():
            valid = references.reference_id[start:stop] >= 0
            neurons = references.neurons[start:stop]
            labels = clusters["label"][:, :, start:stop]
            for embedder in embedders:
                vectors = references.loaders[f"embedder:{embedder}"](start, stop)
                distances = np.sqrt(squared_distances(gram_matrices(vectors, valid)))
                whole = np.where(valid, 0, -1)
                rows.append(_rows(neurons, NO_SPLIT, 1, embedder, distances, whole))
                for number, method in enumerate(methods):
                    for position, k in enumerate(ks):
                        rows.append(_rows(neurons, method, k, embedder, distances, labels[number, position]))
    table = pd.concat(rows, ignore_index=True)
    table["gap"] = table["inter"] - table["intra"]
    table = table.sort_values(["neuron", "method", "n_clusters", "embedder"], kind="stable")
    write_table(interpretability_csv, table)
    write_table(summary_csv, summarize(table, ["intra", "inter", "gap"], bootstrap, confidence, seed))


def cluster_distances(distances: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean distance over pairs in the same cluster, and in different clusters.

    Parameters
    ----------
    distances
        (b, n, n).
    labels
        (b, n), -1 for references that do not count.

    Returns
    -------
    tuple
        Intra (b,) and inter (b,); NaN where there is no such pair.
    """
    valid = labels >= 0
    pair = valid[:, :, None] & valid[:, None, :] & ~np.eye(labels.shape[1], dtype=bool)
    same = labels[:, :, None] == labels[:, None, :]
    found = []
    for chosen in (pair & same, pair & ~same):
        count = chosen.sum(axis=(1, 2))
        total = np.where(chosen, distances, 0).sum(axis=(1, 2))
        found.append(np.where(count > 0, total / np.maximum(count, 1), np.nan))
    return found[0], found[1]


def _rows(
    neurons: np.ndarray, method: str, k: int, embedder: str, distances: np.ndarray, labels: np.ndarray
) -> pd.DataFrame:
    intra, inter = cluster_distances(distances, labels)
    return pd.DataFrame(
        {
            "neuron": neurons,
            "method": method,
            "n_clusters": k,
            "embedder": embedder,
            "n_references": (labels >= 0).sum(axis=1),
            "intra": intra,
            "inter": inter,
        }
    )


def summarize(
    table: pd.DataFrame, quantities: Sequence[str], bootstrap: int, confidence: float, seed: int
) -> pd.DataFrame:
    """Estimate the mean of each quantity over neurons, for each method, number of clusters and embedder."""
    rows = []
    for (method, k, embedder), group in table.groupby(["method", "n_clusters", "embedder"], sort=True):
        for quantity in quantities:
            found = estimate(group[quantity].to_numpy(dtype=float), bootstrap, confidence, seed)
            rows.append({"method": method, "n_clusters": k, "embedder": embedder, "quantity": quantity, **vars(found)})
    return pd.DataFrame(rows)
