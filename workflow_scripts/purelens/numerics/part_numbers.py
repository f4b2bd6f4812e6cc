"""Choose the number of parts by other ways than `purelens.numerics.parts`, to compare them on planted neurons.

All start from k-means in 1 to ``most`` parts on the sum of the views.
"""

from itertools import combinations

import numpy as np

from purelens.numerics.clustering import in_order_of_size, k_means_of_one_set
from purelens.numerics.ridge_split import centered, leave_one_out_smoothers, separations
from purelens.numerics.unimodal import LEAST_POINTS, p_value

PREDICTION_ERROR, PREDICTION_STRENGTH, MERGING = "prediction error", "prediction strength", "merging"

STRONG = 0.9
"""Of the 0.8 to 0.9 that Tibshirani & Walther recommend."""

HALVINGS, RESTARTS_OF_HALVES = 10, 5

MERGING_LEVEL = 0.01


def split_by_candidates(grams: np.ndarray, most: int, restarts: int, seed: list[int]) -> dict[str, np.ndarray]:
    """Split points in a number of parts that is chosen by each candidate.

    Parameters
    ----------
    grams
        (v, n, n) scalar products of the centered points in each view.
    most
        Largest number of parts.
    restarts
        Restarts of k-means.
    seed
        Of k-means and of the halves.

    Returns
    -------
    dict
        (n,) part of each point, for each candidate.
    """
    gram = grams.sum(axis=0)
    splits = {k: k_means_of_one_set(gram, k, restarts, seed) for k in range(1, min(most, len(gram)) + 1)}
    smoother = leave_one_out_smoothers(grams).mean(axis=0)
    error = {k: prediction_error(smoother, label) for k, label in splits.items() if k > 1}
    strong = [k for k in splits if k > 1 and prediction_strength(gram, k, [*seed, k]) >= STRONG]
    return {
        PREDICTION_ERROR: splits[min(error, key=lambda k: error[k], default=1)],
        PREDICTION_STRENGTH: splits[max(strong, default=1)],
        MERGING: merge_parts(grams, splits[max(splits)]),
    }


def prediction_error(smoother: np.ndarray, label: np.ndarray) -> float:
    """Compute the error of predicting each point's part from the parts of all others, as a share of the variance.

    Parameters
    ----------
    smoother
        (n, n), see `purelens.numerics.ridge_split.leave_one_out_smoothers`.
    label
        (n,) at least two parts, counted from 0.

    Returns
    -------
    float
        PRESS / TSS of the indicators of the parts. One part has none, so this never chooses 1.
    """
    indicators = np.eye(int(label.max()) + 1)[label]
    indicators -= indicators.mean(axis=0)
    return float(((smoother @ indicators - indicators) ** 2).sum() / (indicators**2).sum())


def prediction_strength(gram: np.ndarray, k: int, seed: list[int]) -> float:
    """Measure whether the clusters of one half of the points are those that the other half would predict.

    Parameters
    ----------
    gram
        (n, n) scalar products.
    k
        Number of clusters.
    seed
        Of the halves and of k-means.

    Returns
    -------
    float
        Share of the pairs of a cluster of one half that have the same nearest centroid of the other half, in the cluster
        where it is smallest; the mean over ``HALVINGS`` halvings (Tibshirani & Walther 2005).
    """
    rng = np.random.default_rng(seed)
    n, shares = len(gram), []
    for halving in range(HALVINGS):
        order = rng.permutation(n)
        halves = (order[: n // 2], order[n // 2 :])
        one, other = (
            k_means_of_one_set(centered(gram[half[:, None], half]), k, RESTARTS_OF_HALVES, [*seed, halving, number])
            for number, half in enumerate(halves)
        )
        if min(one.min(), other.min()) < 0:  # a half has fewer points than clusters
            return 0.0
        nearest = _nearest_centroid(gram, halves[0], one, halves[1])
        shares.append(min(_same_pairs(nearest[other == cluster]) for cluster in range(k)))
    return float(np.mean(shares))


def _nearest_centroid(gram: np.ndarray, of: np.ndarray, label: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Find the nearest centroid of the clusters of some points, for others: (m,)."""
    weights = np.eye(int(label.max()) + 1)[label]
    weights /= weights.sum(axis=0)
    norms = np.einsum("ik,ij,jk->k", weights, gram[of[:, None], of], weights)
    return (norms - 2 * gram[points[:, None], of] @ weights).argmin(axis=1)


def _same_pairs(values: np.ndarray) -> float:
    """Compute the share of pairs of equal values; 0 for fewer than two."""
    counts = np.bincount(values) if len(values) else np.zeros(1)
    return float((counts * (counts - 1)).sum() / max(len(values) * (len(values) - 1), 1))


def merge_parts(grams: np.ndarray, label: np.ndarray, level: float = MERGING_LEVEL) -> np.ndarray:
    """Merge the two parts that can be told apart least, until all can be.

    Parameters
    ----------
    grams
        (v, n, n) scalar products in each view.
    label
        (n,) parts, counted from 0.
    level
        Probability of one group, of the two parts taken together, below which they are told apart.

    Returns
    -------
    numpy.ndarray
        (n,) int8 parts, the largest first.
    """
    label = label.copy()
    while len(parts := np.unique(label)) > 1:
        probability, one, other = max(
            (_one_group(grams, np.flatnonzero(np.isin(label, pair)), label == pair[1]), *pair)
            for pair in combinations(parts.tolist(), 2)
        )
        if probability < level:
            break
        label[label == other] = one
    label = np.unique(label, return_inverse=True)[1].astype(np.int8)
    return in_order_of_size(label[None], np.ones((1, len(label)), dtype=bool))[0]


def _one_group(grams: np.ndarray, points: np.ndarray, second: np.ndarray) -> float:
    """Compute how probable the separation of two parts is in one group; too few points are one."""
    if len(points) < LEAST_POINTS:
        return 1.0
    smoother = leave_one_out_smoothers(centered(grams[:, points[:, None], points])).mean(axis=0)
    return p_value(float(separations(smoother, second[points][None])[0]), len(points))
