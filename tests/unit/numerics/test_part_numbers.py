"""Other ways to choose the number of parts: each against its definition, and on groups whose number is known."""

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from purelens.numerics.part_numbers import (
    MERGING,
    PREDICTION_ERROR,
    PREDICTION_STRENGTH,
    _nearest_centroid,
    _same_pairs,
    merge_parts,
    prediction_error,
    split_by_candidates,
)
from purelens.numerics.ridge_split import PENALTY, leave_one_out_smoothers
from support.points import groups


@pytest.mark.parametrize("sizes", [[50, 50], [40, 30, 30], [25, 25, 25, 25]])
def test_clear_groups_are_found(sizes: list[int]) -> None:
    grams, truth = groups(sizes, seed=1)
    for method, label in split_by_candidates(grams, most=5, restarts=5, seed=[0]).items():
        if method == PREDICTION_ERROR and len(sizes) > 2:
            continue  # the larger a part, the easier it is to predict: the error prefers two
        assert adjusted_rand_score(truth, label) > 0.95, method
        assert (np.diff(np.bincount(label)) <= 0).all()


def test_one_group_is_one_part() -> None:
    for seed in range(10):
        grams, _ = groups([60], seed)
        found = split_by_candidates(grams, most=4, restarts=5, seed=[seed])
        assert found[PREDICTION_STRENGTH].max() == 0
        assert found[PREDICTION_ERROR].max() > 0  # it has no value for one part


def test_fewer_points_than_parts() -> None:
    grams, _ = groups([2, 1], seed=0)
    found = split_by_candidates(grams, most=5, restarts=2, seed=[0])
    assert found[MERGING].tolist() == found[PREDICTION_STRENGTH].tolist() == [0, 0, 0]


def test_the_error_is_that_of_leaving_each_point_out() -> None:
    rng = np.random.default_rng(3)
    points = rng.standard_normal((20, 6))
    points -= points.mean(axis=0)
    points *= np.sqrt(20 / (points**2).sum())
    label = rng.integers(0, 3, 20)
    indicators = np.eye(3)[label]
    squares = 0.0
    for left_out in range(20):
        # ridge regression with an unpenalized intercept, on all but one, in coordinates whose origin is the mean of all
        rest = np.delete(np.arange(20), left_out)
        design = np.hstack([points, np.ones((20, 1))])
        penalty = PENALTY * np.diag([1.0] * 6 + [0])
        weights = np.linalg.solve(design[rest].T @ design[rest] + penalty, design[rest].T @ indicators[rest])
        squares += ((design[left_out] @ weights - indicators[left_out]) ** 2).sum()
    expected = squares / ((indicators - indicators.mean(axis=0)) ** 2).sum()
    assert prediction_error(leave_one_out_smoothers(points @ points.T), label) == pytest.approx(expected, rel=1e-9)


def test_nearest_centroids_are_those_of_the_vectors() -> None:
    rng = np.random.default_rng(4)
    points, label = rng.standard_normal((30, 5)), rng.integers(0, 3, 12)
    centroids = np.stack([points[:12][label == k].mean(axis=0) for k in range(3)])
    expected = ((points[12:, None] - centroids) ** 2).sum(axis=2).argmin(axis=1)
    found = _nearest_centroid(points @ points.T, np.arange(12), label, np.arange(12, 30))
    assert found.tolist() == expected.tolist()


def test_pairs_of_equal_values_are_counted() -> None:
    values = np.array([2, 0, 2, 2, 1, 0])
    pairs = [values[i] == values[j] for i in range(6) for j in range(i)]
    assert _same_pairs(values) == pytest.approx(np.mean(pairs))
    assert _same_pairs(values[:1]) == 0


def test_parts_of_one_group_are_merged() -> None:
    grams, truth = groups([40, 40], seed=5)
    rng = np.random.default_rng(0)
    too_many = truth * 2 + rng.integers(0, 2, 80)
    assert adjusted_rand_score(truth, merge_parts(grams, too_many)) == 1
