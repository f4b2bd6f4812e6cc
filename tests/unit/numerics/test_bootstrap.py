"""Standard errors and intervals beside scipy, and their coverage."""

import numpy as np
import pytest
from scipy.stats import sem

from purelens.numerics.bootstrap import Intervals, estimate


def test_standard_error_is_scipys() -> None:
    values = np.random.default_rng(0).normal(2, 3, 400)
    found = estimate(np.append(values, np.nan), Intervals())
    assert found.n == 400
    assert found.mean == pytest.approx(values.mean())
    assert found.standard_error == pytest.approx(sem(values))


def test_interval_covers_the_true_mean_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for trial in range(300):
        found = estimate(rng.normal(size=40), Intervals(400, 0.9, trial))
        covered += found.low <= 0 <= found.high
    assert 0.84 < covered / 300 < 0.95


@pytest.mark.parametrize(("values", "n"), [([], 0), ([np.nan], 0), ([3.0], 1)])
def test_too_few_values_have_no_interval(values: list[float], n: int) -> None:
    found = estimate(np.array(values), Intervals(100))
    assert found.n == n
    assert np.isnan(found.low)
