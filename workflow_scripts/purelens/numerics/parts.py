"""Split a set of points into as many parts as can be told apart: in two, and each part again while a test finds two groups."""

from dataclasses import dataclass

import numpy as np

from purelens.numerics.clustering import in_order_of_size
from purelens.numerics.ridge_split import centered, split_in_two
from purelens.numerics.unimodal import LEAST_POINTS, p_value

PART_LEVEL = 0.01
"""Probability below which a part is split again. Chosen on planted neurons."""


@dataclass(frozen=True)
class Part:
    """Some of the points, and what a split of them in two gives.

    Attributes
    ----------
    points
        (m,) their numbers.
    side
        (m,) bool; the split.
    separation
        Of the two sides (see `purelens.numerics.ridge_split.TwoSides`); NaN where there are too few points.
    p_value
        Of one group; NaN where there are too few points.
    """

    points: np.ndarray
    side: np.ndarray
    separation: float
    p_value: float


def look_at(grams: np.ndarray, points: np.ndarray) -> Part:
    """Split some of the points in two, and test whether they are two groups.

    Parameters
    ----------
    grams
        (v, n, n) scalar products of all points in each view.
    points
        (m,) numbers of those to split.

    Returns
    -------
    Part
        The points, their split, and its test.
    """
    if len(points) < LEAST_POINTS:
        return Part(points, np.zeros(len(points), dtype=bool), float("nan"), float("nan"))
    split = split_in_two(centered(grams[:, points[:, None], points]))
    return Part(points, split.side, split.separation, p_value(split.separation, len(points)))


def split_into_parts(grams: np.ndarray, whole: Part, most: int, level: float = PART_LEVEL) -> np.ndarray:
    """Split points into parts, the part with the smallest p-value first.

    Parameters
    ----------
    grams
        (v, n, n) scalar products of the points in each view.
    whole
        All points (see `look_at`), which are to be split.
    most
        Largest number of parts.
    level
        Probability below which a part is split again.

    Returns
    -------
    numpy.ndarray
        (n,) int8 part of each point, the largest part first.
    """
    done, waiting = list[Part](), [whole]
    first = True
    while waiting and len(done) + len(waiting) < most:
        waiting.sort(key=lambda part: (part.p_value, -part.separation), reverse=True)
        part = waiting.pop()
        if not first and not part.p_value < level:  # NaN is not
            waiting.append(part)
            break
        first = False
        for side in (part.points[part.side], part.points[~part.side]):
            half = look_at(grams, side)
            (done if np.isnan(half.p_value) else waiting).append(half)
    label = np.zeros(grams.shape[1], dtype=np.int8)
    for number, part in enumerate([*done, *waiting]):
        label[part.points] = number
    return in_order_of_size(label[None], np.ones((1, len(label)), dtype=bool))[0]
