"""Splits into as many parts as there are."""

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from purelens.numerics.parts import look_at, split_into_parts
from support.points import groups


@pytest.mark.parametrize("sizes", [[50, 50], [80, 20], [40, 30, 30], [60, 25, 15], [25, 25, 25, 25]])
def test_the_parts_are_found(sizes: list[int]) -> None:
    grams, truth = groups(sizes, seed=1)
    whole = look_at(grams, np.arange(len(truth)))
    assert whole.p_value < 0.001
    label = split_into_parts(grams, whole, most=5)
    assert adjusted_rand_score(truth, label) > 0.95
    assert (np.diff(np.bincount(label)) <= 0).all()


def test_one_group_is_one_part() -> None:
    for seed in range(20):
        grams, truth = groups([60], seed)
        assert look_at(grams, np.arange(len(truth))).p_value > 0.02


def test_no_more_parts_than_are_allowed() -> None:
    grams, truth = groups([25, 25, 25, 25], seed=2)
    whole = look_at(grams, np.arange(len(truth)))
    for most in (2, 3):
        assert split_into_parts(grams, whole, most).max() + 1 == most


def test_too_few_points_are_not_looked_at() -> None:
    grams, _ = groups([9, 9], seed=3)
    assert np.isnan(look_at(grams, np.arange(18)).p_value)
