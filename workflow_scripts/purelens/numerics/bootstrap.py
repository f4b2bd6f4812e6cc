"""Estimate means over neurons or images, with standard errors and percentile bootstrap intervals."""

from dataclasses import dataclass

import numpy as np
from scipy import stats

ELEMENTS_AT_A_TIME = 2**22
"""Resampled values held at once: 32 MB, however many neurons there are."""


@dataclass(frozen=True)
class Intervals:
    """Settings of percentile bootstrap intervals (Efron & Tibshirani 1993, chapter 13).

    Attributes
    ----------
    bootstrap
        Number of resamples.
    confidence
        Coverage of the interval, between 0 and 1.
    seed
        Seed of the resamples.
    """

    bootstrap: int = 2000
    confidence: float = 0.95
    seed: int = 0

    @property
    def quantiles(self) -> tuple[float, float]:
        """The two quantiles between which the interval lies."""
        return (1 - self.confidence) / 2, (1 + self.confidence) / 2


@dataclass(frozen=True)
class Estimate:
    """A mean with its uncertainty.

    Attributes
    ----------
    mean
        Over the finite values.
    standard_error
        Standard deviation (ddof 1) divided by the root of ``n``. (The published program divides by ``n``.)
    low, high
        Percentile bootstrap interval of the mean; NaN for fewer than two values.
    n
        Number of finite values.
    """

    mean: float
    standard_error: float
    low: float
    high: float
    n: int


def estimate(values: np.ndarray, intervals: Intervals) -> Estimate:
    """Estimate the mean of values, one per neuron or image.

    Parameters
    ----------
    values
        (n,); NaN and infinite values are left out.
    intervals
        Settings of the bootstrap.

    Returns
    -------
    Estimate
        Mean, standard error and interval.
    """
    values = values[np.isfinite(values)]
    if len(values) < 2:
        mean = float(values[0]) if len(values) else float("nan")
        return Estimate(mean, float("nan"), float("nan"), float("nan"), len(values))
    interval = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=intervals.bootstrap,
        confidence_level=intervals.confidence,
        method="percentile",
        rng=np.random.default_rng(intervals.seed),
        vectorized=True,
        batch=max(1, ELEMENTS_AT_A_TIME // len(values)),
    ).confidence_interval
    error = float(values.std(ddof=1) / np.sqrt(len(values)))
    return Estimate(float(values.mean()), error, float(interval.low), float(interval.high), len(values))
