"""Find the direction in which a cloud of points has the lightest tails, in which two groups of equal size lie apart.

This is the test that the split by ridge regression is compared with on planted neurons. Under one normal distribution its
result depends on the numbers of points and components only, because the search begins with white components.
"""

from collections.abc import Iterator
from functools import cache
from itertools import combinations, product

import numpy as np

STEPS, HALFWAY = 40, 6
"""Steps of the search; components between which searches start half-way."""

LEAST_COMPONENTS, MOST_COMPONENTS, POINTS_OF_A_COMPONENT = 2, 12, 8
FEW_COMPONENTS = 3
"""So few have a grid of starts, because the axes of a small space miss the lowest minimum."""

EQUAL, UNEQUAL = "equal", "unequal"
"""Measures: the fourth moment, which is small for groups of equal size; the same less the squared third, for unequal groups."""

DRAWS = 2000


def n_components(n_points: int) -> int:
    """Choose how many components are searched for a number of points."""
    return max(LEAST_COMPONENTS, min(MOST_COMPONENTS, n_points // POINTS_OF_A_COMPONENT))


def white_components(gram: np.ndarray, n: int) -> np.ndarray:
    """Compute white components of clouds of points.

    Parameters
    ----------
    gram
        (b, p, p) scalar products of the centered points of b clouds.
    n
        Number q of components, less than p.

    Returns
    -------
    numpy.ndarray
        (b, p, q), of mean 0 and variance 1, uncorrelated, those of largest variance first. A component without variance is 0.
    """
    values, vectors = np.linalg.eigh(gram)
    values, vectors = values[:, ::-1][:, :n], vectors[:, :, ::-1][:, :, :n]
    there = values > values[:, :1] * 1e-10
    return vectors * np.sqrt(gram.shape[1]) * there[:, None]


def lightest_tails(components: np.ndarray, measure: str) -> tuple[np.ndarray, np.ndarray]:
    """Search the direction of lightest tails in each of some clouds.

    Parameters
    ----------
    components
        (b, p, q) white components (see `white_components`).
    measure
        ``equal`` or ``unequal``.

    Returns
    -------
    value : numpy.ndarray
        (b,) the smallest measure that was found.
    direction : numpy.ndarray
        (b, q), of length 1.

    Notes
    -----
    With s = Y w: ``equal`` is mean(s^4), ``unequal`` mean(s^4) - mean(s^3)^2, which is 1 for two values in any shares. Steps
    w <- (f + max(1.4, f / 2)) w - grad f / 4, normalized, from all axes and the directions half-way between the first.
    """
    starts = _starts(components.shape[2])
    directions = np.repeat(starts.T[None], len(components), axis=0)
    for _ in range(STEPS):
        value, gradient = _measured(components, directions, measure)
        directions = (value + np.maximum(1.4, value / 2))[:, None] * directions - gradient / 4
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    value, _ = _measured(components, directions, measure)
    best = value.argmin(axis=1)
    clouds = np.arange(len(components))
    return value[clouds, best], directions[clouds, :, best]


def _starts(q: int) -> np.ndarray:
    """List the axes, and the directions half-way between the first of them: (starts, q)."""
    if q <= FEW_COMPONENTS:
        grid = np.array([one for one in product((-2, -1, 0, 1, 2), repeat=q) if any(one)], dtype=float)
        return np.unique(np.round(grid / np.linalg.norm(grid, axis=1, keepdims=True), 12), axis=0)
    axes = np.eye(q)
    halfway = [
        (axes[i] + sign * axes[j]) / np.sqrt(2) for i, j in combinations(range(min(q, HALFWAY)), 2) for sign in (1, -1)
    ]
    return np.concatenate([axes, np.array(halfway)])


def _measured(components: np.ndarray, directions: np.ndarray, measure: str) -> tuple[np.ndarray, np.ndarray]:
    """Compute the measure (b, starts) of directions (b, q, starts), and its gradient (b, q, starts)."""
    s = components @ directions
    square = s * s
    value = (square * square).mean(axis=1)
    weights = 4 * square * s
    if measure == UNEQUAL:
        third = (square * s).mean(axis=1)
        value = value - third**2
        weights -= 6 * third[:, None] * square
    return value, components.transpose(0, 2, 1) @ weights / components.shape[1]


@cache
def null_values(n_points: int, measure: str) -> np.ndarray:
    """Compute the smallest measures of clouds of one normal distribution: (2000,), ascending."""
    q = n_components(n_points)
    rng = np.random.default_rng([n_points, q])
    return np.sort(np.concatenate([lightest_tails(cloud, measure)[0] for cloud in _normal_clouds(n_points, q, rng)]))


def _normal_clouds(n_points: int, q: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Draw white components of one normal distribution: (b, p, q), some of the clouds at a time."""
    at_a_time = max(1, 2**20 // (n_points * q * (q + 30)))
    for start in range(0, DRAWS, at_a_time):
        drawn = rng.standard_normal((min(at_a_time, DRAWS - start), n_points, q))
        frames, _ = np.linalg.qr(drawn - drawn.mean(axis=1, keepdims=True))
        yield frames * np.sqrt(n_points)


def light_tails_p_value(gram: np.ndarray, measure: str) -> float:
    """Compute how probable tails as light as those of points are under one normal distribution.

    Parameters
    ----------
    gram
        (p, p) scalar products of the centered points.
    measure
        ``equal`` or ``unequal``.

    Returns
    -------
    float
        At least 1/2001.
    """
    n_points = len(gram)
    value, _ = lightest_tails(white_components(gram[None], n_components(n_points)), measure)
    null = null_values(n_points, measure)
    return float((1 + np.searchsorted(null, value[0], side="right")) / (len(null) + 1))
