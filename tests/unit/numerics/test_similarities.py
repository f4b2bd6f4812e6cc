"""Weighted mean similarities beside their double sums."""

from itertools import combinations

import numpy as np
import pytest

from purelens.numerics.image_units import monosemanticity_over_images, unit_length
from purelens.numerics.similarities import STRONGEST, purities, similarities_of_parts, strongest

rng = np.random.default_rng(0)
EMBEDDINGS = unit_length(rng.normal(size=(12, 5)) + 0.5)


def double_sum(weight: np.ndarray, vectors: np.ndarray) -> float:
    pairs = list(combinations(range(len(weight)), 2))
    products = np.array([weight[a] * weight[b] for a, b in pairs])
    return float(products @ [vectors[a] @ vectors[b] for a, b in pairs] / products.sum())


def test_the_monosemanticity_score_is_the_double_sum() -> None:
    activation = rng.exponential(size=(12, 4)) - 0.2
    batches = [(activation[:7], 3 * EMBEDDINGS[:7]), (activation[7:], 0.1 * EMBEDDINGS[7:])]
    scores = monosemanticity_over_images(iter(batches))
    for unit in range(4):
        a = activation[:, unit]
        expected = double_sum((a - a.min()) / (a.max() - a.min()), EMBEDDINGS)
        assert scores.monosemanticity[unit] == pytest.approx(expected, abs=1e-12)
    assert scores.null == pytest.approx(double_sum(np.ones(12), EMBEDDINGS), abs=1e-12)


def test_units_without_a_pair_have_no_score() -> None:
    activation = np.zeros((12, 3))
    activation[4, 1] = 1
    activation[[2, 5], 2] = 1, 1
    scores = monosemanticity_over_images(iter([(activation, EMBEDDINGS)])).monosemanticity
    assert np.isnan(scores[:2]).all()
    assert scores[2] == pytest.approx(EMBEDDINGS[2] @ EMBEDDINGS[5])


def test_parts_are_scored_apart() -> None:
    weight, labels = rng.random(12), rng.integers(-1, 3, (6, 12))
    values = similarities_of_parts(EMBEDDINGS @ EMBEDDINGS.T, weight, labels, 4)
    for division, row in zip(labels, values, strict=True):
        for part in range(4):
            own = division == part
            if own.sum() < 2:
                assert np.isnan(row[part])
            else:
                assert row[part] == pytest.approx(double_sum(weight[own], EMBEDDINGS[own]), abs=1e-12)


def test_the_strongest_are_the_first_of_each_part() -> None:
    labels = rng.integers(-1, 2, (4, 30))
    for division, chosen in zip(labels, strongest(labels, 2), strict=True):
        expected = np.concatenate([np.flatnonzero(division == part)[:STRONGEST] for part in (0, 1)])
        np.testing.assert_array_equal(np.flatnonzero(chosen), np.sort(expected))


def test_the_purity_is_the_share_of_the_most_frequent_class() -> None:
    classes = np.array([7, 7, 2, -1, 2, 2, -1])
    labels = np.array([[0, 0, 0, 0, 1, 1, 2], [0, 0, 0, 0, 0, 0, -1]])
    np.testing.assert_allclose(purities(classes, labels, 3), [[2 / 3, 1, np.nan], [3 / 5, np.nan, np.nan]])
    assert np.isnan(purities(np.full(7, -1), labels, 2)).all()
