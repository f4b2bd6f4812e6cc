"""Intervals over sets that share neurons."""

import numpy as np
import pytest

from purelens.numerics.bootstrap import Intervals, estimate
from purelens.numerics.dyads import estimate_over_sets


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
