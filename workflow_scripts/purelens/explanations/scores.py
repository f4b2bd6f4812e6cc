"""Score how well simulated activations predict the true ones."""

import numpy as np
from sklearn.metrics import average_precision_score

TOP = 0.05
"""Share of the images on which a neuron counts as active, for AUPRC."""


def pearson_columns(true: np.ndarray, simulated: np.ndarray) -> np.ndarray:
    """Correlate columns of activations.

    Parameters
    ----------
    true, simulated
        (n, B) activations of B units on n images.

    Returns
    -------
    numpy.ndarray
        (B,) Pearson's correlation. NaN where the unit is constant: there is nothing to predict. 0 where the simulation is: it
        predicts nothing.
    """
    if not len(true):
        return np.full(true.shape[1], np.nan)
    x, y = true - true.mean(axis=0), simulated - simulated.mean(axis=0)
    spread_x, spread_y = np.sqrt((x**2).sum(axis=0)), np.sqrt((y**2).sum(axis=0))
    constant_x = spread_x <= 1e-9 * np.abs(true).max(axis=0, initial=0) + 1e-300
    constant_y = spread_y <= 1e-9 * np.abs(simulated).max(axis=0, initial=0) + 1e-300
    with np.errstate(divide="ignore", invalid="ignore"):
        correlation = (x * y).sum(axis=0) / (spread_x * spread_y)
    return np.where(constant_x, np.nan, np.where(constant_y, 0.0, correlation))


def auprc_columns(true: np.ndarray, simulated: np.ndarray) -> np.ndarray:
    """Compute the area under the precision-recall curve: does a simulation find the images on which a unit is most active?

    Those are a twentieth of the images, at least one; fewer where the unit has its lowest value on others of them.

    Parameters
    ----------
    true, simulated
        (n, B) activations of B units on n images.

    Returns
    -------
    numpy.ndarray
        (B,); NaN where the unit is constant. A constant simulation scores the share of those images.
    """
    scores = np.full(true.shape[1], np.nan)
    if not len(true):
        return scores
    n_top = max(1, round(TOP * len(true)))
    for column, (values, predicted) in enumerate(zip(true.T, simulated.T, strict=True)):
        least = np.partition(values, len(values) - n_top)[len(values) - n_top]
        active = (values >= least) & (values > values.min())
        if 0 < active.sum() < len(active) and np.isfinite(predicted).all():
            scores[column] = average_precision_score(active, predicted)
    return scores
