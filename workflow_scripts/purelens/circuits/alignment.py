"""The rule ``alignment``: do distances between circuits tell what an embedder's distances tell?"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from purelens.circuits.representations import Representations, open_representations
from purelens.numerics.bootstrap import estimate
from purelens.numerics.clustering import gram_matrices, squared_distances
from purelens.storage.tables import write_table

MOMENTS = ("n", "x", "y", "xx", "yy", "xy")


def alignment(
    relevances_h5: str,
    activations_h5: str,
    embeddings: Sequence[str],
    alignment_csv: str,
    summary_csv: str,
    embedders: Sequence[str],
    n_references: int = 50,
    n_groups: int = 30,
    bootstrap: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> None:
    """Correlate the distances between references in each representation with those in each embedder's space.

    Parameters
    ----------
    relevances_h5, activations_h5, embeddings
        Artifacts of the rules ``relevances``, ``activations`` and ``embeddings``.
    alignment_csv
        One row per neuron, method and embedder: Pearson's ``correlation`` over the pairs of references of the neuron.
    summary_csv
        ``neuron``: the mean of those; ``pooled``: the correlation over all pairs of all neurons; ``group``: the mean over
        disjoint random groups of neurons, as published. With standard error and bootstrap interval, over neurons for the
        first two and over groups for the last.
    embedders
        Names of the embedders, in the order of ``embeddings``.
    n_references
        How many references of a neuron are compared, best first.
    n_groups
        How many groups, if there are as many neurons.
    bootstrap, confidence, seed
        See `purelens.numerics.bootstrap.estimate`.

    Notes
    -----
    Dreyer et al. 2024, section 4.2: Pearson's correlation over pairs of references of the same neuron. Pairs of equal
    vectors (a distance of zero in either space) are left out, as published.
    """
    with open_representations(relevances_h5, activations_h5, embeddings, embedders) as references:
        moments = _collect(references, embedders, n_references)
    rows, summary = [], []
    for (method, embedder), found in moments.items():
        correlation = correlations(found)
        rows.append(
            pd.DataFrame(
                {
                    "neuron": references.neurons,
                    "method": method,
                    "embedder": embedder,
                    "n_pairs": found[:, 0].astype(int),
                    "correlation": correlation,
                }
            )
        )
        for quantity, values in _summaries(found, correlation, n_groups, bootstrap, confidence, seed).items():
            summary.append({"method": method, "embedder": embedder, "quantity": quantity, **values})
    table = pd.concat(rows, ignore_index=True).sort_values(["neuron", "method", "embedder"], kind="stable")
    write_table(alignment_csv, table)
    write_table(summary_csv, pd.DataFrame(summary))


def _collect(
    references: Representations, embedders: Sequence[str], n_references: int
) -> dict[tuple[str, str], np.ndarray]:
    """Sums over pairs (C, 6) for each method and embedder; an embedder is not compared with itself."""
    n_neurons = len(references.neurons)
    moments: dict[tuple[str, str], np.ndarray] = {}
    for start, stop in references.slabs():
        valid = references.reference_id[start:stop, :n_references] >= 0
        distances = {
            method: np.sqrt(squared_distances(gram_matrices(load(start, stop)[:, :n_references], valid)))
            for method, load in references.loaders.items()
        }
        for embedder in embedders:
            for method in distances:
                if method != f"embedder:{embedder}":
                    table = moments.setdefault((method, embedder), np.zeros((n_neurons, len(MOMENTS))))
                    table[start:stop] = pair_moments(distances[method], distances[f"embedder:{embedder}"], valid)
    return moments


def pair_moments(x: np.ndarray, y: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Number, sums, sums of squares and of products (b, 6) over the pairs of distances x and y (b, n, n)."""
    upper = np.triu(np.ones(x.shape[1:], dtype=bool), k=1)
    use = upper & valid[:, :, None] & valid[:, None, :] & (x > 0) & (y > 0)
    x, y = np.where(use, x, 0), np.where(use, y, 0)
    sums = [use.astype(float), x, y, x * x, y * y, x * y]
    return np.stack([values.sum(axis=(1, 2)) for values in sums], axis=1)


def correlations(moments: np.ndarray) -> np.ndarray:
    """Pearson's correlation (...,) from moments (..., 6); NaN where a distance does not vary."""
    n, x, y, xx, yy, xy = np.moveaxis(moments, -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        covariance = xy / n - x / n * y / n
        variance = (xx / n - (x / n) ** 2) * (yy / n - (y / n) ** 2)
        return np.where(variance > 0, covariance / np.sqrt(np.maximum(variance, 0)), np.nan)


def _summaries(
    moments: np.ndarray, correlation: np.ndarray, n_groups: int, bootstrap: int, confidence: float, seed: int
) -> dict[str, dict[str, float]]:
    used = moments[np.isfinite(correlation)]
    groups = np.array_split(np.random.default_rng(seed).permutation(len(used)), min(n_groups, max(len(used), 1)))
    by_group = correlations(np.stack([used[group].sum(axis=0) for group in groups]))
    return {
        "neuron": vars(estimate(correlation, bootstrap, confidence, seed)),
        "pooled": _pooled(used, bootstrap, confidence, seed),
        "group": vars(estimate(by_group, bootstrap, confidence, seed)),
    }


def _pooled(moments: np.ndarray, bootstrap: int, confidence: float, seed: int) -> dict[str, float]:
    """Correlation over all pairs, its bootstrap standard error and interval over neurons."""
    rng = np.random.default_rng(seed)
    n_neurons = len(moments)
    resampled = np.full(bootstrap, np.nan)
    if n_neurons > 1:
        weights = rng.multinomial(n_neurons, np.full(n_neurons, 1 / n_neurons), size=bootstrap)
        resampled = correlations(weights @ moments)
    low, high = np.quantile(resampled, [(1 - confidence) / 2, (1 + confidence) / 2])
    mean = float(correlations(moments.sum(axis=0))) if n_neurons else float("nan")
    error = float(resampled.std(ddof=1))
    return {"mean": mean, "standard_error": error, "low": float(low), "high": float(high), "n": n_neurons}
