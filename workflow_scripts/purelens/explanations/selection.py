"""Choose the few concepts that predict a neuron best on images they were not fitted on (Oikarinen & Weng 2024, algorithm 1)."""

from dataclasses import dataclass

import numpy as np

CONDITION = 1e-10
ROUNDING = 1e-9
"""Correlations that are nearer to each other are equal."""


@dataclass(frozen=True)
class Explanation:
    """A linear explanation: activation = intercept + sum of weight x concept.

    Attributes
    ----------
    concepts, weights
        (m,) numbers of concepts and their weights, the largest weight first.
    intercept
        Constant term.
    correlation
        Pearson's correlation with the neuron on validation images; NaN where nothing was fitted.
    """

    concepts: np.ndarray
    weights: np.ndarray
    intercept: float
    correlation: float


@dataclass(frozen=True)
class Covariances:
    """Moments of one neuron and the concepts (see `purelens.explanations.moments.Moments`).

    Attributes
    ----------
    gram
        (M, M) covariances of concepts.
    cross
        (M,) covariances of concepts and the neuron.
    variance
        Variance of the neuron.
    mean, mean_y
        (M,) means of the concepts, and the mean of the neuron.
    """

    gram: np.ndarray
    cross: np.ndarray
    variance: float
    mean: np.ndarray
    mean_y: float


def fits(train: Covariances, sets: np.ndarray) -> np.ndarray:
    """Fit the neuron by least squares on each of some sets (s, m) of concepts: weights (s, m)."""
    gram = train.gram[sets[:, :, None], sets[:, None, :]]
    inverse = np.linalg.pinv(gram, rcond=CONDITION, hermitian=True)
    return (inverse @ train.cross[sets][..., None])[..., 0]


def correlations(validation: Covariances, sets: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Correlate predictions with the neuron.

    Parameters
    ----------
    validation
        Moments of the images that decide.
    sets, weights
        (s, m) concepts and their weights.

    Returns
    -------
    numpy.ndarray
        (s,) Pearson's correlation; 0 where prediction or neuron is constant.
    """
    gram = validation.gram[sets[:, :, None], sets[:, None, :]]
    spread = np.einsum("sa,sab,sb->s", weights, gram, weights) * validation.variance
    shared = (weights * validation.cross[sets]).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(spread > 1e-24 * validation.variance**2, shared / np.sqrt(np.maximum(spread, 1e-300)), 0.0)


def select(
    train: Covariances,
    validation: Covariances,
    order: np.ndarray,
    length: int = 10,
    width: int = 10,
    tolerance: float = 0.02,
) -> Explanation | None:
    """Add concepts one by one: each time the one among the first in the ranking that raises the correlation most.

    Parameters
    ----------
    train, validation
        Moments of the images that weights are fitted on, and of those that decide.
    order
        (M,) concepts, best first.
    length
        Most concepts.
    width
        Concepts tried in each step.
    tolerance
        Least gain in correlation. A concept with less is not tried again; the first needs only to be better than none.

    Returns
    -------
    Explanation or None
        None if no concept predicts the neuron at all.
    """
    chosen: list[int] = []
    useless: set[int] = set()
    best = 0.0
    while len(chosen) < length:
        tried = [c for c in order.tolist() if c not in useless and c not in chosen][:width]
        if not tried:
            break
        sets = np.array([[*chosen, c] for c in tried])
        reached = correlations(validation, sets, fits(train, sets))
        if chosen:
            useless.update(c for c, value in zip(tried, reached, strict=True) if value - best < tolerance)
            reached = np.where(reached - best < tolerance, -np.inf, reached)
        # correlations that differ by rounding are decided by the ranking
        winner = int(np.argmax(reached >= reached.max() - ROUNDING))
        if not reached[winner] > best:
            break
        chosen.append(tried[winner])
        best = float(reached[winner])
    return fitted(train, validation, np.array(chosen)) if chosen else None


def fitted(train: Covariances, validation: Covariances, concepts: np.ndarray) -> Explanation:
    """Fit the neuron on some concepts.

    Parameters
    ----------
    train, validation
        Moments of the images that weights are fitted on, and of those that judge.
    concepts
        (m,) numbers of the concepts.

    Returns
    -------
    Explanation
        The concepts with their weights.
    """
    weights = fits(train, concepts[None])
    correlation = float(correlations(validation, concepts[None], weights)[0])
    descending = np.lexsort((concepts, -weights[0]))
    intercept = float(train.mean_y - weights[0] @ train.mean[concepts])
    return Explanation(concepts[descending], weights[0][descending], intercept, correlation)
