"""Split a set of points in two such that each point's side is predicted from all others, by leave-one-out ridge regression.

Where several descriptions of the points (views) are at hand, each predicts on its own and the predictions are averaged. How far
apart the predictions of the two sides lie says whether there are two groups at all (see `purelens.numerics.unimodal`).
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np

PENALTY = 20.0
SMALLEST, ROUNDS, STARTING_COMPONENTS = 5, 15, 8

BALANCE = 0.25
"""How much a split of equal shares is preferred: 0 not at all, 1/2 as explained variance does. Chosen on planted neurons."""


@dataclass(frozen=True)
class TwoSides:
    """Points, split in two.

    Attributes
    ----------
    side
        (n,) bool; the first point is on the side False.
    separation
        Distance of the mean predictions of the two sides, in standard deviations within them; 0 where there is no split whose
        sides both have ``SMALLEST`` points.
    """

    side: np.ndarray
    separation: float


def leave_one_out_smoothers(gram: np.ndarray, penalty: float = PENALTY) -> np.ndarray:
    """Compute the matrices that predict each value from all others.

    Parameters
    ----------
    gram
        (..., n, n) scalar products of centered points.
    penalty
        Penalty lambda, where the mean squared length of the points is 1.

    Returns
    -------
    numpy.ndarray
        (..., n, n) L, with zeros on the diagonal: L y predicts y_i by ridge regression with an intercept on all points but i.

    Notes
    -----
    With the hat matrix H = K (K + lambda I)^-1 + 11'/n of ridge regression, leaving i out divides by 1 - H_ii (Golub, Heath &
    Wahba 1979).
    """
    n = gram.shape[-1]
    scaled = normalized(gram)
    hat = np.linalg.solve(scaled + penalty * np.eye(n), scaled) + 1 / n
    own = np.diagonal(hat, axis1=-2, axis2=-1)
    return (hat - own[..., None] * np.eye(n)) / (1 - own)[..., None]


def normalized(gram: np.ndarray) -> np.ndarray:
    """Scale scalar products (..., n, n) such that the mean squared length of the points is 1."""
    scale = np.trace(gram, axis1=-2, axis2=-1)[..., None, None] / gram.shape[-1]
    return gram / np.where(scale > 0, scale, 1)


def centered(gram: np.ndarray) -> np.ndarray:
    """Turn scalar products (..., n, n) into those of the points less their mean."""
    gram = gram - gram.mean(axis=-1, keepdims=True)
    return gram - gram.mean(axis=-2, keepdims=True)


def split_in_two(grams: np.ndarray) -> TwoSides:
    """Split points in two.

    Parameters
    ----------
    grams
        (v, n, n) scalar products of the centered points in each view.

    Returns
    -------
    TwoSides
        The split with the largest separation times (share of one side x share of the other)^(1/4).

    Notes
    -----
    Discriminative clustering with square loss (Bach & Harchaoui 2007), where each point is put on the side that is predicted
    for it without it. No random numbers: the search starts from the exact 2-means of the first principal components and of
    their sums and differences.
    """
    smoother = leave_one_out_smoothers(grams).mean(axis=0)
    sides = np.unique(_starts(grams), axis=0)
    for _ in range(ROUNDS):
        updated = _updated(smoother, sides)
        if np.array_equal(updated, sides):
            break
        sides = updated
    sides = np.unique(np.where(sides[:, :1], ~sides, sides), axis=0)
    apart, share = separations(smoother, sides), sides.mean(axis=1)
    best = int((apart * (share * (1 - share)) ** BALANCE).argmax())
    return TwoSides(sides[best], float(apart[best]))


def separations(smoother: np.ndarray, sides: np.ndarray) -> np.ndarray:
    """Measure how far apart the two sides of some splits are predicted.

    Parameters
    ----------
    smoother
        (n, n) see `leave_one_out_smoothers`; the average over views.
    sides
        (splits, n) bool.

    Returns
    -------
    numpy.ndarray
        (splits,) see `TwoSides`.
    """
    y = sides.astype(float)
    predicted = (y - y.mean(axis=1, keepdims=True)) @ smoother.T
    size = y.sum(axis=1)
    n = y.shape[1]
    inside = (predicted * y).sum(axis=1) / np.maximum(size, 1)
    outside = (predicted * (1 - y)).sum(axis=1) / np.maximum(n - size, 1)
    within = ((predicted - np.where(sides, inside[:, None], outside[:, None])) ** 2).mean(axis=1)
    counts = (np.minimum(size, n - size) >= min(SMALLEST, n // 2)) & (within > 0)
    return np.where(counts, (inside - outside) / np.sqrt(np.where(counts, within, 1)), 0.0).clip(min=0)


def _starts(grams: np.ndarray) -> np.ndarray:
    """Cut the first principal components, and the sums and differences of each two, in two: (starts, n)."""
    _, vectors = np.linalg.eigh(normalized(grams).sum(axis=0))
    first = vectors[:, ::-1][:, :STARTING_COMPONENTS].T
    mixed = [one + sign * other for one, other in combinations(first, 2) for sign in (1, -1)]
    return np.stack([two_means_of_numbers(numbers) for numbers in (*first, *mixed)])


def two_means_of_numbers(numbers: np.ndarray) -> np.ndarray:
    """Split numbers (n,) in two by the exact minimum of 2-means: (n,) bool, True for the larger ones."""
    order = np.argsort(numbers, kind="stable")
    total, n = numbers.sum(), len(numbers)
    below = np.cumsum(numbers[order])[:-1]
    count = np.arange(1, n)
    between = below**2 / count + (total - below) ** 2 / (n - count)
    larger = np.zeros(n, dtype=bool)
    larger[order[int(between.argmax()) + 1 :]] = True
    return larger


def _updated(smoother: np.ndarray, sides: np.ndarray) -> np.ndarray:
    """Put each point on the side that is predicted for it; a side keeps at least ``SMALLEST`` points."""
    y = sides.astype(float)
    predicted = (y - y.mean(axis=1, keepdims=True)) @ smoother.T
    size = y.sum(axis=1, keepdims=True)
    inside = (predicted * y).sum(axis=1, keepdims=True) / np.maximum(size, 1)
    outside = (predicted * (1 - y)).sum(axis=1, keepdims=True) / np.maximum(y.shape[1] - size, 1)
    above = predicted - (inside + outside) / 2
    ranked = np.sort(above, axis=1)
    # where too few are on a side, the nearest join them
    least = min(SMALLEST, y.shape[1] // 2)
    cut = np.clip(0, ranked[:, [least - 1]], ranked[:, [-least]])
    return np.where(cut > 0, above >= cut, above > cut)
