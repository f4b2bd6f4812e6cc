"""Compare two clusterings of the same points."""

import numpy as np


def adjusted_rand_index(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Compute the adjusted Rand index of many pairs of clusterings at once.

    Parameters
    ----------
    one, other
        (..., n) cluster of each point; -1 for points that do not count.

    Returns
    -------
    numpy.ndarray
        (...,) 1 for the same clusterings, 0 on average for random ones; NaN for fewer than two points.

    Notes
    -----
    Hubert & Arabie 1985; scikit-learn compares one pair at a time.
    """
    counts = (one >= 0) & (other >= 0)
    members = [
        ((labels[..., None] == np.arange(max(int(labels.max(initial=0)) + 1, 1))) & counts[..., None]).astype(float)
        for labels in (one, other)
    ]
    table = members[0].swapaxes(-1, -2) @ members[1]
    both = _pairs(table).sum(axis=(-1, -2))
    first, second = _pairs(table.sum(axis=-1)).sum(axis=-1), _pairs(table.sum(axis=-2)).sum(axis=-1)
    total = _pairs(counts.sum(axis=-1))
    expected = first * second / np.maximum(total, 1)
    largest = (first + second) / 2
    same = largest == expected  # both have one cluster, or only clusters of one point
    index = np.where(same, 1.0, (both - expected) / np.where(same, 1, largest - expected))
    return np.where(total > 0, index, np.nan)


def _pairs(count: np.ndarray) -> np.ndarray:
    return count * (count - 1) / 2
