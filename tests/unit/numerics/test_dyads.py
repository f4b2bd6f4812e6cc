"""Intervals over sets that share neurons."""

import numpy as np
import pytest
from scipy import stats

from purelens.numerics.bootstrap import Intervals, estimate
from purelens.numerics.dyads import estimate_over_sets, estimate_share_over_sets


def test_sets_of_one_neuron_each_are_an_ordinary_bootstrap() -> None:
    values = np.random.default_rng(0).standard_normal(40)
    over_sets = estimate_over_sets(values, [[i] for i in range(40)], Intervals(bootstrap=4000))
    plain = estimate(values, Intervals(bootstrap=4000))
    assert over_sets.mean == pytest.approx(plain.mean)
    assert over_sets.n == 40
    assert over_sets.high - over_sets.low == pytest.approx(plain.high - plain.low, rel=0.06)


def test_a_neuron_in_many_sets_widens_the_interval() -> None:
    rng = np.random.default_rng(0)
    effect = rng.standard_normal(10)
    pairs = [(a, b) for a in range(10) for b in range(a)]
    values = np.array([effect[a] + effect[b] for a, b in pairs])
    over_sets, plain = estimate_over_sets(values, pairs, Intervals()), estimate(values, Intervals())
    assert over_sets.high - over_sets.low > 1.5 * (plain.high - plain.low)


def test_missing_values_do_not_count() -> None:
    one = estimate_over_sets(np.array([1.0, np.nan]), [[0, 1], [2, 3]], Intervals())
    assert (one.mean, one.n) == (1.0, 1)
    assert np.isnan(one.low)
    assert np.isnan(estimate_over_sets(np.array([]), [], Intervals()).mean)


def test_a_share_of_nothing_has_an_interval() -> None:
    """Of 20 that agree the bootstrap has no width; the exact interval of 0 of 20 ends at 16.8 %."""
    controls = [(neuron,) for neuron in range(20)]
    none = estimate_share_over_sets(np.zeros(20), controls, Intervals())
    assert (none.mean, none.low) == (0, 0)
    assert none.high == pytest.approx(stats.binomtest(0, 20).proportion_ci(method="exact").high)
    every = estimate_share_over_sets(np.ones(20), controls, Intervals())
    assert (every.high, every.low) == (1, pytest.approx(1 - none.high))
    some = estimate_share_over_sets(np.r_[np.ones(3), np.zeros(17)], controls, Intervals())
    exact = stats.binomtest(3, 20).proportion_ci(method="exact")
    assert some.low <= exact.low
    assert some.high >= exact.high
    # twenty pairs of eight neurons are no more than four without a common one
    pairs = [(a, b) for a in range(8) for b in range(a)][:20]
    shared = estimate_share_over_sets(np.zeros(20), pairs, Intervals())
    assert shared.high == pytest.approx(
        stats.binomtest(0, len({n for one in pairs for n in one}) // 2).proportion_ci().high
    )
    assert np.isnan(estimate_share_over_sets(np.array([np.nan]), [(1,)], Intervals()).mean)
