"""Means over neurons, with the right standard error and a bootstrap confidence interval."""

from dataclasses import dataclass

import numpy as np
from scipy import stats


@dataclass(frozen=True)
class Estimate:
    """A mean over neurons.

    Attributes
    ----------
    mean, standard_error
        Over the neurons that have a value: the standard deviation (ddof 1) divided by the root of their number.
    low, high
        Percentile bootstrap interval of the mean.
    n
        How many neurons have a value.
    """

    mean: float
    standard_error: float
    low: float
    high: float
    n: int


def estimate(values: np.ndarray, n_resamples: int, confidence: float, seed: int) -> Estimate:
    """Estimate the mean of values (n,) over neurons; NaN values are left out.

    Parameters
    ----------
    values
        One per neuron.
    n_resamples, confidence
        Of the percentile bootstrap over neurons (Efron & Tibshirani 1993).
    seed
        Of the resamples.
    """
    values = values[np.isfinite(values)]
    if len(values) < 2:
        mean = float(values[0]) if len(values) else float("nan")
        return Estimate(mean, float("nan"), float("nan"), float("nan"), len(values))
    interval = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=n_resamples,
        confidence_level=confidence,
        method="percentile",
        rng=np.random.default_rng(seed),
        vectorized=True,
        batch=max(1, 2**22 // len(values)),
    ).confidence_interval
    error = float(values.std(ddof=1) / np.sqrt(len(values)))
    return Estimate(float(values.mean()), error, float(interval.low), float(interval.high), len(values))
