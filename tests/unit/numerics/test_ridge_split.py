"""The split by leave-one-out ridge regression, beside leaving each point out in turn."""

import numpy as np
import pytest

from purelens.numerics.ridge_split import leave_one_out_smoothers, split_in_two, two_means_of_numbers


def cloud(n: int, share: float, apart: float, seed: int = 0, n_views: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Grams of two groups of normal points in several views, and which group each point is of."""
    rng = np.random.default_rng(seed)
    group = np.arange(n) < share * n
    points = rng.standard_normal((n_views, n, 40)) / np.sqrt(np.arange(1, 41))
    points[:, group, 0] += apart
    points -= points.mean(axis=1, keepdims=True)
    return points @ points.swapaxes(1, 2), group


def test_predictions_are_those_of_a_regression_without_the_point() -> None:
    rng = np.random.default_rng(0)
    points = rng.standard_normal((30, 7)) * np.arange(1, 8)
    points -= points.mean(axis=0)
    y = rng.standard_normal(30)
    scaled = points / np.sqrt((points**2).sum() / 30)
    expected = []
    for left_out in range(30):
        kept = np.arange(30) != left_out
        design = np.c_[np.ones(29), scaled[kept]]
        weights = np.linalg.solve(design.T @ design + np.diag([0.0] + 7 * [20.0]), design.T @ y[kept])
        expected.append(weights @ [1, *scaled[left_out]])
    np.testing.assert_allclose(leave_one_out_smoothers(points @ points.T) @ y, expected, atol=1e-12)


@pytest.mark.parametrize("share", [0.5, 0.8, 0.2])
def test_two_groups_of_any_share_are_found(share: float) -> None:
    grams, group = cloud(100, share, 5)
    split = split_in_two(grams)
    assert max((split.side == group).mean(), (split.side != group).mean()) == 1
    assert not split.side[0]
    assert split.separation > 5


def test_separation_is_that_of_the_definition() -> None:
    grams, _ = cloud(60, 0.5, 3)
    split = split_in_two(grams)
    y = split.side - split.side.mean()
    predicted = np.mean([leave_one_out_smoothers(gram) @ y for gram in grams], axis=0)
    one, other = predicted[split.side], predicted[~split.side]
    within = np.sqrt((one.var() * len(one) + other.var() * len(other)) / 60)
    assert split.separation == pytest.approx((one.mean() - other.mean()) / within, rel=1e-9)


def test_scale_and_order_of_the_points_do_not_matter() -> None:
    grams, _ = cloud(50, 0.4, 4)
    order = np.random.default_rng(1).permutation(50)
    split, moved = split_in_two(grams), split_in_two(1e-6 * grams[:, order][:, :, order])
    same = split.side[order] == moved.side
    assert same.all() or not same.any()
    assert moved.separation == pytest.approx(split.separation, rel=1e-6)


@pytest.mark.parametrize("n", [2, 3, 7, 12])
def test_few_points_and_equal_points(n: int) -> None:
    grams, _ = cloud(n, 0.5, 9)
    assert split_in_two(grams).side.shape == (n,)
    split = split_in_two(np.zeros((2, n, n)))
    assert split.separation == 0


def test_numbers_are_cut_where_two_means_is_least() -> None:
    rng = np.random.default_rng(0)
    for n in (2, 5, 9):
        numbers = rng.standard_normal(n)
        ordered = np.sort(numbers)
        inertia = [ordered[:i].var() * i + ordered[i:].var() * (n - i) for i in range(1, n)]
        assert two_means_of_numbers(numbers).sum() == n - 1 - int(np.argmin(inertia))
