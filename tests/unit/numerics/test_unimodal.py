"""The table of the null hypothesis beside fresh draws, and the false discovery rate beside SciPy."""

import numpy as np
import pytest
from scipy import stats

from purelens.numerics.ridge_split import split_in_two
from purelens.numerics.unimodal import (
    LEAST_POINTS,
    PROBABILITIES,
    SEPARATIONS,
    benjamini_hochberg,
    null_separations,
    p_value,
)


@pytest.mark.parametrize("n", [32, 100])
def test_the_table_holds_for_fresh_draws(n: int) -> None:
    fresh = np.array(list(null_separations(n, range(10_000, 10_400))))
    exceeded = [(fresh > separation).mean() for separation in SEPARATIONS[n]]
    spread = 4 * np.sqrt(np.array(PROBABILITIES) * (1 - np.array(PROBABILITIES)) / len(fresh))
    assert (np.abs(np.array(exceeded) - PROBABILITIES) < spread + 1 / len(fresh)).all()


def test_p_values_fall_with_the_separation_and_agree_with_the_table() -> None:
    for n, row in SEPARATIONS.items():
        np.testing.assert_allclose([p_value(one, n) for one in row], PROBABILITIES, rtol=1e-6)
    values = [p_value(one, 90) for one in np.linspace(0, 12, 100)]
    assert (np.diff(values) <= 0).all()
    assert values[0] == pytest.approx(1)
    assert values[-1] == pytest.approx(1e-6)
    between = p_value(4.0, 90)
    assert min(p_value(4.0, 80), p_value(4.0, 100)) < between < max(p_value(4.0, 80), p_value(4.0, 100))


def test_a_few_points_are_not_tested() -> None:
    assert np.isnan(p_value(9.0, LEAST_POINTS - 1))
    assert p_value(9.0, LEAST_POINTS) < 0.001


def test_normal_clouds_are_rarely_called_two_groups() -> None:
    rng = np.random.default_rng(0)
    p_values = []
    for _ in range(100):
        points = rng.standard_normal((2, 80, 30)) / np.sqrt(np.arange(1, 31))
        points -= points.mean(axis=1, keepdims=True)
        p_values.append(p_value(split_in_two(points @ points.swapaxes(1, 2)).separation, 80))
    assert np.mean(np.array(p_values) < 0.05) <= 0.02


def test_rejections_are_scipys() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        p_values = np.concatenate([rng.random(30), rng.random(10) ** 6])
        expected = stats.false_discovery_control(p_values) <= 0.05
        some = np.insert(p_values, [3, 17], np.nan)
        rejected = benjamini_hochberg(some, 0.05)
        assert not rejected[np.isnan(some)].any()
        np.testing.assert_array_equal(rejected[np.isfinite(some)], expected)
    assert not benjamini_hochberg(np.full(3, np.nan), 0.05).any()
