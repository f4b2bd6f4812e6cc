"""The rule ``interpretability``: measure distances within and between virtual neurons, in the space of embedding models."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from purelens.circuits.methods import EMBEDDER, NO_SPLIT
from purelens.circuits.representations import open_representations
from purelens.circuits.summaries import compare, summarize
from purelens.numerics.bootstrap import Intervals
from purelens.storage.reading import read, strings
from purelens.storage.tables import write_table


def interpretability(
    relevances_h5: str,
    virtual_neurons_h5: str,
    embeddings: Sequence[str],
    interpretability_csv: str,
    summary_csv: str,
    embedders: Sequence[str],
    intervals: Intervals,
) -> None:
    """Measure distances between references of the same and of different virtual neurons.

    Parameters
    ----------
    relevances_h5, virtual_neurons_h5, embeddings
        Artifacts of the rules ``relevances``, ``virtual_neurons`` and ``embeddings``.
    interpretability_csv
        One row per neuron, method, number of clusters and embedding model: ``intra``, ``inter`` and their difference ``gap``.
    summary_csv
        Their means over neurons, with standard errors and intervals; and the mean difference of the gap from those of
        activations and of random splits of the same neurons.
    embedders
        Names of the embedding models, in the order of ``embeddings``.
    intervals
        Settings of the bootstrap.

    Notes
    -----
    Euclidean distances over all pairs of references (Dreyer et al. 2024, section 4.1). A neuron whose clusters all have one
    member has no intra, one with a single cluster no inter distance: these are left out of the means. (The published program
    replaces a missing intra by the inter distance.)
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
                distances = references.distances(EMBEDDER + embedder, start, stop)
                whole = np.where(valid, 0, -1)
                rows.append(_rows(neurons, NO_SPLIT, 1, embedder, distances, whole))
                for number, method in enumerate(methods):
                    for position, k in enumerate(ks):
                        rows.append(_rows(neurons, method, k, embedder, distances, labels[number, position]))
    table = pd.concat(rows, ignore_index=True)
    table["gap"] = table["inter"] - table["intra"]
    table = table.sort_values(["neuron", "method", "n_clusters", "embedder"], kind="stable")
    write_table(interpretability_csv, table)
    summary = summarize(table, ["intra", "inter", "gap"], intervals)
    write_table(summary_csv, pd.concat([summary, compare(table, "gap", intervals)], ignore_index=True))


def cluster_distances(distances: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Average distances over pairs in the same cluster, and over pairs in different ones.

    Parameters
    ----------
    distances
        (b, n, n).
    labels
        (b, n) cluster of each reference, -1 for references that do not count.

    Returns
    -------
    intra, inter : numpy.ndarray
        (b,) each; NaN where there is no such pair.
    """
    valid = labels >= 0
    pair = valid[:, :, None] & valid[:, None, :] & ~np.eye(labels.shape[1], dtype=bool)
    same = labels[:, :, None] == labels[:, None, :]
    means = []
    for chosen in (pair & same, pair & ~same):
        count = chosen.sum(axis=(1, 2))
        total = np.where(chosen, distances, 0).sum(axis=(1, 2))
        means.append(np.where(count > 0, total / np.maximum(count, 1), np.nan))
    return means[0], means[1]


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
