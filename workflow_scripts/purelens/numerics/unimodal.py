"""Test whether a set of points is one group: how far apart do the halves of one group lie, split by the same search?

The null hypothesis is the light-tailed extreme of one group: a cloud that is uniform along every axis. Of all symmetric
distributions with one mode, the uniform one is cut into the halves that lie farthest apart (3.46 standard deviations); for a
normal one it is 2.65. So p-values are upper bounds for symmetric groups with one mode; the long tail of a skewed one lies apart
from the rest, and is split more often. The separation hardly depends on how the variance
is divided among the axes, so one table for each number of points serves all neurons and all networks.
"""

from collections.abc import Iterator

import numpy as np

from purelens.numerics.ridge_split import split_in_two

LEAST_POINTS = 20
"""A smaller set is not tested."""

DRAWS = 2000
"""Clouds for each number of points, at least."""

DECAY = 1.5
"""The variance along axis j of the clouds is proportional to j^-1.5, so that few axes carry most of it, as in circuits."""

PROBABILITIES = (0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001)

SEPARATIONS = {
    20: (2.822, 3.385, 3.738, 4.037, 4.468, 4.850, 5.126, 5.588, 5.918),
    25: (3.114, 3.585, 3.862, 4.114, 4.423, 4.640, 4.854, 5.066, 5.649),
    32: (3.293, 3.719, 3.957, 4.168, 4.449, 4.728, 4.841, 5.077, 5.186),
    40: (3.365, 3.737, 3.950, 4.120, 4.357, 4.542, 4.735, 4.892, 5.061),
    50: (3.448, 3.759, 3.941, 4.098, 4.324, 4.465, 4.612, 4.717, 4.822),
    64: (3.477, 3.739, 3.893, 4.031, 4.191, 4.298, 4.422, 4.567, 4.588),
    80: (3.512, 3.745, 3.879, 4.000, 4.131, 4.267, 4.337, 4.476, 4.534),
    100: (3.537, 3.740, 3.858, 3.945, 4.080, 4.162, 4.232, 4.353, 4.401),
    125: (3.541, 3.725, 3.818, 3.909, 4.015, 4.087, 4.154, 4.256, 4.300),
    160: (3.558, 3.715, 3.795, 3.874, 3.962, 4.023, 4.086, 4.135, 4.223),
    200: (3.568, 3.702, 3.778, 3.837, 3.926, 3.970, 4.036, 4.092, 4.127),
    250: (3.562, 3.678, 3.744, 3.802, 3.875, 3.922, 3.969, 4.043, 4.087),
    320: (3.569, 3.670, 3.724, 3.783, 3.826, 3.861, 3.923, 3.977, 4.058),
    400: (3.572, 3.659, 3.706, 3.758, 3.804, 3.842, 3.874, 3.912, 3.935),
}
"""Separation that is exceeded with each of ``PROBABILITIES``, for each number of points (see `null_separations`)."""

LEAST_P_VALUE = 1e-6


def p_value(separation: float, n_points: int) -> float:
    """Compute how probable at least this separation is in one group.

    Parameters
    ----------
    separation
        See `purelens.numerics.ridge_split.TwoSides`.
    n_points
        Number of points.

    Returns
    -------
    float
        Between 1e-6 and 1; NaN for fewer than ``LEAST_POINTS``. Interpolated in the table, linearly in the logarithms of
        probability and of number; beyond the table the last step goes on.
    """
    if n_points < LEAST_POINTS:
        return float("nan")
    sizes = np.array(list(SEPARATIONS))
    table = np.array(list(SEPARATIONS.values()))
    quantiles = [np.interp(np.log(n_points), np.log(sizes), column) for column in table.T]
    logarithms = np.log(PROBABILITIES)
    if separation <= quantiles[-1]:
        # below the median all that matters is that it is no small probability
        return float(np.exp(np.interp(separation, [0.0, *quantiles], [0.0, *logarithms])))
    slope = (logarithms[-1] - logarithms[-3]) / (quantiles[-1] - quantiles[-3])
    return float(max(np.exp(logarithms[-1] + slope * (separation - quantiles[-1])), LEAST_P_VALUE))


def null_separations(n_points: int, draws: range) -> Iterator[float]:
    """Draw clouds that are one group, and split each.

    Parameters
    ----------
    n_points
        Number of points.
    draws
        Numbers of the draws, each with random numbers of its own.

    Yields
    ------
    float
        Separation of the two halves of a cloud. ``SEPARATIONS`` holds quantiles over ``range(4000)``, and over ``range(2000)``
        above 250 points.
    """
    n_axes = 2 * n_points
    scale = np.arange(1, n_axes + 1) ** (-DECAY / 2)
    for draw in draws:
        points = np.random.default_rng([n_points, draw]).uniform(-1, 1, (n_points, n_axes)) * scale
        points -= points.mean(axis=0)
        yield split_in_two((points @ points.T)[None]).separation


def benjamini_hochberg(p_values: np.ndarray, rate: float) -> np.ndarray:
    """Choose the hypotheses to reject at a false discovery rate (Benjamini & Hochberg 1995).

    Parameters
    ----------
    p_values
        (n,); NaN for those that were not tested, which are not rejected and do not count.
    rate
        False discovery rate.

    Returns
    -------
    numpy.ndarray
        (n,) bool.
    """
    tested = np.flatnonzero(np.isfinite(p_values))
    order = tested[np.argsort(p_values[tested], kind="stable")]
    passes = np.flatnonzero(p_values[order] <= rate * np.arange(1, len(order) + 1) / max(len(order), 1))
    rejected = np.zeros(len(p_values), dtype=bool)
    rejected[order[: passes[-1] + 1 if len(passes) else 0]] = True
    return rejected
