"""Calibrate cosines of images and texts to probabilities that the text is true of the image."""

from collections.abc import Callable, Iterator

import numpy as np
from scipy.special import expit

ITERATIONS = 100
TOLERANCE = 1e-10

Slabs = Callable[[], Iterator[tuple[np.ndarray, np.ndarray]]]


def probability(cosine: np.ndarray, scale: float, bias: float) -> np.ndarray:
    """Compute the probability of a concept, ``sigmoid(scale * (cosine + bias))`` (Oikarinen & Weng 2024, section 3.2).

    Parameters
    ----------
    cosine
        Cosine similarities, of any shape.
    scale, bias
        a and b.

    Returns
    -------
    numpy.ndarray
        Of the shape of the cosines, between 0 and 1.
    """
    return expit(scale * (cosine + bias))


def calibrate(slabs: Slabs) -> tuple[float, float, float]:
    """Fit scale and bias to the labels of images.

    Parameters
    ----------
    slabs
        Gives, each time it is called, cosines (b, M) and the truth (b, M), 0 or 1, slab by slab.

    Returns
    -------
    scale, bias : float
        The optimum.
    loss : float
        Its mean binary cross-entropy.

    Notes
    -----
    A logistic regression with one feature, by Newton's method with step halving; the published program searches a grid.
    """
    parameters = np.array([1.0, 0.0])
    loss, gradient, hessian = _moments(slabs, parameters)
    for _ in range(ITERATIONS):
        step = np.linalg.solve(hessian + 1e-12 * np.eye(2), gradient)
        length = 1.0
        while length > TOLERANCE:
            tried = parameters - length * step
            moments = _moments(slabs, tried)
            if moments[0] <= loss:
                break
            length /= 2
        gain = loss - moments[0]
        if length <= TOLERANCE or gain < 0:
            break
        parameters, (loss, gradient, hessian) = tried, moments
        if gain < TOLERANCE * loss:
            break
    slope, intercept = parameters
    return float(slope), float(intercept / slope), float(loss)


def _moments(slabs: Slabs, parameters: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Compute the mean cross-entropy of ``sigmoid(slope * cosine + intercept)``, its gradient (2,) and its Hessian (2, 2)."""
    loss, gradient, hessian, n = 0.0, np.zeros(2), np.zeros((2, 2)), 0
    for cosine, truth in slabs():
        x = cosine.astype(np.float64).reshape(-1)
        y = truth.reshape(-1)
        logit = parameters[0] * x + parameters[1]
        loss += float(np.sum(np.logaddexp(0, logit) - y * logit))
        p = expit(logit)
        residual, weight = p - y, p * (1 - p)
        gradient += [residual @ x, residual.sum()]
        hessian += [[weight @ x**2, weight @ x], [weight @ x, weight.sum()]]
        n += len(x)
    return loss / n, gradient / n, hessian / n
