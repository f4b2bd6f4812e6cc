"""Estimate means over sets of neurons, with a bootstrap over the neurons: sets that share one are no repeats."""

from collections.abc import Sequence

import numpy as np

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
