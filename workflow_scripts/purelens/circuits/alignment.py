"""The rule ``alignment``: correlate distances between circuits with distances between embeddings."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from purelens.circuits.methods import EMBEDDER
from purelens.circuits.representations import Representations, open_representations
from purelens.circuits.summaries import compare
from purelens.numerics.bootstrap import Intervals, estimate
from purelens.storage.tables import write_table

MOMENTS = ("n", "x", "y", "xx", "yy", "xy")


def alignment(
    relevances_h5: str,
    activations_h5: str,
    embeddings: Sequence[str],
    alignment_csv: str,
    summary_csv: str,
    embedders: Sequence[str],
    intervals: Intervals,
    n_references: int = 50,
    n_groups: int = 30,
    joint: bool = False,
    dictionaries_h5: Sequence[str] = (),
) -> None:
    """Correlate the distances between references in each representation with those in the space of each embedding model.

    Parameters
    ----------
    relevances_h5, activations_h5, embeddings
        Artifacts of the rules ``relevances``, ``activations`` and ``embeddings``.
    alignment_csv
        One row per neuron, method and embedding model: Pearson's ``correlation`` over the pairs of references of the neuron.
    summary_csv
        ``neuron``: the mean of those; ``pooled``: the correlation over all pairs of all neurons; ``group``: the mean over
        disjoint random groups of neurons, as published; and the mean difference from the correlation of activations, neuron by
        neuron. With standard errors and intervals, over neurons but for the groups. ``neurons_each``: how many neurons each
        correlation is of; 1 of a group says that there were no more neurons than groups.
    embedders
        Names of the embedding models, in the order of ``embeddings``.
    intervals
        Settings of the bootstrap; its seed also draws the groups.
    n_references
        Number of references of a neuron that are compared, best first.
    n_groups
        Number of groups, if there are as many neurons.
    joint
        Whether the method ``joint`` is compared too.
    dictionaries_h5
        Artifact of the rule ``dictionaries``, whose codes are compared too, or none.

    Notes
    -----
    Dreyer et al. 2024, section 4.2: Pearson's correlation over pairs of references of the same neuron. Pairs of
    equal vectors (a distance of zero in either space) are left out, as published.
    """
    with open_representations(
        relevances_h5, activations_h5, embeddings, embedders, joint, dictionaries_h5
    ) as references:
        moments = _collect(references, embedders, n_references)
    rows, summary = [], []
    for (method, embedder), sums in moments.items():
        correlation = correlations(sums)
        rows.append(
            pd.DataFrame(
                {
                    "neuron": references.neurons,
                    "method": method,
                    "embedder": embedder,
                    "n_pairs": sums[:, 0].astype(int),
                    "correlation": correlation,
                }
            )
        )
        for quantity, values in _summaries(sums, correlation, n_groups, intervals).items():
            summary.append({"method": method, "embedder": embedder, "quantity": quantity, **values})
    table = pd.concat(rows, ignore_index=True).sort_values(["neuron", "method", "embedder"], kind="stable")
    write_table(alignment_csv, table)
    write_table(
        summary_csv, pd.concat([pd.DataFrame(summary), compare(table, "correlation", intervals)], ignore_index=True)
    )


def _collect(
    references: Representations, embedders: Sequence[str], n_references: int
) -> dict[tuple[str, str], np.ndarray]:
    """Sum over pairs (C, 6) for each method and embedding model; a model is not compared with itself."""
    n_neurons = len(references.neurons)
    moments: dict[tuple[str, str], np.ndarray] = {}
    for start, stop in references.slabs():
        valid = references.reference_id[start:stop, :n_references] >= 0
        distances = {method: references.distances(method, start, stop, n_references) for method in references.methods}
        for embedder in embedders:
            for method in distances:
                if method != EMBEDDER + embedder:
                    table = moments.setdefault((method, embedder), np.zeros((n_neurons, len(MOMENTS))))
                    table[start:stop] = pair_moments(distances[method], distances[EMBEDDER + embedder], valid)
    return moments


def pair_moments(x: np.ndarray, y: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Sum over the pairs of references what their correlation needs.

    Parameters
    ----------
    x, y
        (b, n, n) distances in two spaces.
    valid
        (b, n) bool, which references count.

    Returns
    -------
    numpy.ndarray
        (b, 6) number of pairs and sums of x, y, x^2, y^2 and xy.
    """
    upper = np.triu(np.ones(x.shape[1:], dtype=bool), k=1)
    use = upper & valid[:, :, None] & valid[:, None, :] & (x > 0) & (y > 0)
    x, y = np.where(use, x, 0), np.where(use, y, 0)
    sums = [use.astype(float), x, y, x * x, y * y, x * y]
    return np.stack([values.sum(axis=(1, 2)) for values in sums], axis=1)


def correlations(moments: np.ndarray) -> np.ndarray:
    """Compute Pearson's correlation (...,) from moments (..., 6); NaN where a distance does not vary."""
    n, x, y, xx, yy, xy = np.moveaxis(moments, -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        covariance = xy / n - x / n * y / n
        variance = (xx / n - (x / n) ** 2) * (yy / n - (y / n) ** 2)
        return np.where(variance > 0, covariance / np.sqrt(np.maximum(variance, 0)), np.nan)


def _summaries(
    moments: np.ndarray, correlation: np.ndarray, n_groups: int, intervals: Intervals
) -> dict[str, dict[str, float]]:
    used = moments[np.isfinite(correlation)]
    order = np.random.default_rng(intervals.seed).permutation(len(used))
    groups = np.array_split(order, min(n_groups, max(len(used), 1)))
    by_group = correlations(np.stack([used[group].sum(axis=0) for group in groups]))
    return {
        "neuron": {**vars(estimate(correlation, intervals)), "neurons_each": 1},
        "pooled": {**_pooled(used, intervals), "neurons_each": len(used)},
        "group": {**vars(estimate(by_group, intervals)), "neurons_each": len(used) / len(groups)},
    }


def _pooled(moments: np.ndarray, intervals: Intervals) -> dict[str, float]:
    """Correlate over all pairs of all neurons, with a bootstrap over neurons."""
    rng = np.random.default_rng(intervals.seed)
    n_neurons = len(moments)
    resampled = np.full(intervals.bootstrap, np.nan)
    if n_neurons > 1:
        # resampling neurons is reweighting their sums: no pair is looked at again
        weights = rng.multinomial(n_neurons, np.full(n_neurons, 1 / n_neurons), size=intervals.bootstrap)
        resampled = correlations(weights @ moments)
    low, high = np.quantile(resampled, intervals.quantiles)
    mean = float(correlations(moments.sum(axis=0))) if n_neurons else float("nan")
    error = float(resampled.std(ddof=1))
    return {"mean": mean, "standard_error": error, "low": float(low), "high": float(high), "n": n_neurons}
