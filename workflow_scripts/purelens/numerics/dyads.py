"""Estimate means over sets of neurons, with a bootstrap over the neurons: sets that share one are no repeats."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy import stats

from purelens.numerics.bootstrap import Estimate, Intervals


def estimate_over_sets(values: np.ndarray, members: Sequence[Sequence[int]], intervals: Intervals) -> Estimate:
    """Estimate the mean of values, one per set of neurons.

    Parameters
    ----------
    values
        (n,); NaN are left out.
    members
        The neurons of each set.
    intervals
        Settings of the bootstrap.

    Returns
    -------
    Estimate
        Mean, standard error and interval; ``n`` counts the sets.

    Notes
    -----
    Neurons are resampled; a set counts as often as the product of the counts of its neurons (Owen 2007, the pigeonhole
    bootstrap).
    """
    finite = np.isfinite(values)
    values = values[finite]
    members = [tuple(one) for one, use in zip(members, finite, strict=True) if use]
    mean = float(values.mean()) if len(values) else float("nan")
    neurons = sorted({neuron for one in members for neuron in one})
    if len(values) < 2 or len(neurons) < 2:
        return Estimate(mean, float("nan"), float("nan"), float("nan"), len(values))
    place = {neuron: number for number, neuron in enumerate(neurons)}
    rng = np.random.default_rng(intervals.seed)
    counts = rng.multinomial(len(neurons), np.full(len(neurons), 1 / len(neurons)), size=intervals.bootstrap)
    weight = np.stack([counts[:, [place[neuron] for neuron in one]].prod(axis=1) for one in members], axis=1)
    total = weight.sum(axis=1)
    means = (weight @ values)[total > 0] / total[total > 0]
    low, high = np.quantile(means, intervals.quantiles)
    return Estimate(mean, float(means.std(ddof=1)), float(low), float(high), len(values))


def estimate_share_over_sets(values: np.ndarray, members: Sequence[Sequence[int]], intervals: Intervals) -> Estimate:
    """Estimate the share of sets that have a property.

    Parameters
    ----------
    values
        (n,) 1 for those that have it, 0 for those that do not; NaN are left out.
    members, intervals
        As in `estimate_over_sets`.

    Returns
    -------
    Estimate
        Interval of the bootstrap, widened to that of Clopper & Pearson (1934) for as many sets as there are neurons divided by
        their number in a set: where all sets agree, resamples do too, and the bootstrap has no width.
    """
    over_sets = estimate_over_sets(values, members, intervals)
    used = [tuple(one) for one, value in zip(members, values, strict=True) if np.isfinite(value)]
    if not used:
        return over_sets
    n = min(len(used), len({neuron for one in used for neuron in one}) // max(map(len, used)))
    n, share = max(n, 1), over_sets.mean
    low, high = intervals.quantiles
    exact = (
        float(stats.beta.ppf(low, share * n, n - share * n + 1)) if share > 0 else 0.0,
        float(stats.beta.ppf(high, share * n + 1, n - share * n)) if share < 1 else 1.0,
    )
    return replace(over_sets, low=np.fmin(over_sets.low, exact[0]), high=np.fmax(over_sets.high, exact[1]))
