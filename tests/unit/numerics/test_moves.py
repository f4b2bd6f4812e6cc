"""k-means that moves single points: what it reaches is a minimum of the definition."""

import numpy as np

from purelens.numerics.moves import settle


def inertia(points: np.ndarray, label: np.ndarray) -> float:
    return sum(((points[label == k] - points[label == k].mean(axis=0)) ** 2).sum() for k in np.unique(label))


def test_no_single_move_is_better() -> None:
    rng = np.random.default_rng(0)
    for k in (2, 3, 5):
        points = rng.standard_normal((40, 6))
        label = rng.integers(0, k, (4, 40))
        reached = settle(points @ points.T, np.arange(40), label, k)
        for run, value in zip(label, reached, strict=True):
            np.testing.assert_allclose(value, inertia(points, run), rtol=1e-9)
            for i in range(40):
                for other in range(k):
                    moved = run.copy()
                    moved[i] = other
                    assert inertia(points, moved) > value - 1e-9


def test_points_that_do_not_count_stay_and_change_nothing() -> None:
    rng = np.random.default_rng(1)
    points = rng.standard_normal((20, 3))
    label = rng.integers(0, 2, (1, 20))
    alone = label[:, :12].copy()
    settle(points @ points.T, np.arange(12), label, 2)
    settle(points[:12] @ points[:12].T, np.arange(12), alone, 2)
    np.testing.assert_array_equal(label[:, :12], alone)
