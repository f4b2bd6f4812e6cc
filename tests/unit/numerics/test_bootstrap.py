"""Standard errors and intervals beside scipy, and their coverage."""

import numpy as np
import pytest
from scipy.stats import sem

from purelens.numerics.bootstrap import Intervals, estimate


def test_standard_error_is_scipys() -> None:
    values = np.random.default_rng(0).normal(2, 3, 400)
    interval = estimate(np.append(values, np.nan), Intervals())
    assert interval.n == 400
    assert interval.mean == pytest.approx(values.mean())
    assert interval.standard_error == pytest.approx(sem(values))


def test_interval_covers_the_true_mean_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for trial in range(300):
        interval = estimate(rng.normal(size=40), Intervals(400, 0.9, trial))
        covered += interval.low <= 0 <= interval.high
    assert 0.84 < covered / 300 < 0.95


@pytest.mark.parametrize(("values", "n"), [([], 0), ([np.nan], 0), ([3.0], 1)])
def test_too_few_values_have_no_interval(values: list[float], n: int) -> None:
    interval = estimate(np.array(values), Intervals(100))
    assert interval.n == n
    assert np.isnan(interval.low)
