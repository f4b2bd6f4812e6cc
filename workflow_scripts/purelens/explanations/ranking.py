"""Rank the concepts of a neuron by an elastic net over all images (Oikarinen & Weng 2024, section 3.1)."""

import numpy as np

TOLERANCE = 1e-9
MOST_STEPS = 10_000


def elastic_net(gram: np.ndarray, cross: np.ndarray, l1: float, l2: float) -> np.ndarray:
    """Minimize ``1/2 w'Gw - c'w + l1 |w|_1 + l2/2 |w|^2``.

    Parameters
    ----------
    gram, cross
        G (M, M), positive semidefinite, and c (M,).
    l1, l2
        Penalties.

    Returns
    -------
    numpy.ndarray
        w (M,), exact up to rounding.

    Raises
    ------
    ArithmeticError
        If the search does not end.

    Notes
    -----
    Feature-sign search (Lee et al. 2006): the signs of the weights that are not zero are guessed one by one, and the fit with
    known signs is a linear system.
    """
    w = np.zeros(len(cross))
    active = np.zeros(0, dtype=int)
    gradient = -cross
    for _ in range(MOST_STEPS):
        waiting = np.where(w == 0, np.abs(gradient) - l1, -np.inf)
        entering = int(np.argmax(waiting))
        if waiting[entering] <= TOLERANCE:
            return w
        active = np.append(active, entering)
        signs = np.append(np.sign(w[active[:-1]]), -np.sign(gradient[entering]))
        active = _fit_with_signs(w, active, signs, gram, cross, l1, l2)
        gradient = w[active] @ gram[active] + l2 * w - cross
    raise ArithmeticError(f"the sparse fit took more than {MOST_STEPS} steps")


def _fit_with_signs(
    w: np.ndarray, active: np.ndarray, signs: np.ndarray, gram: np.ndarray, cross: np.ndarray, l1: float, l2: float
) -> np.ndarray:
    """Move the active weights, in place, to the optimum with these signs; return those that are not zero."""
    while len(active):
        block = gram[np.ix_(active, active)] + l2 * np.eye(len(active))
        old, linear = w[active], cross[active]
        new = np.linalg.lstsq(block, linear - l1 * signs, rcond=None)[0]
        if (np.sign(new) == signs).all():
            w[active] = new
            return active
        # on the way a weight may change its sign: take the best of the points where one becomes zero, and of the end
        with np.errstate(divide="ignore", invalid="ignore"):
            crossing = old / (old - new)
        stops = np.append(crossing[(crossing > 0) & (crossing < 1)], 1.0)
        points = old + stops[:, None] * (new - old)
        points[np.abs(points) < 1e-14 * np.abs(new).max()] = 0
        value = (
            0.5 * np.einsum("sa,ab,sb->s", points, block, points) - points @ linear + l1 * np.abs(points).sum(axis=1)
        )
        best = points[np.argmin(value)]
        w[active] = best
        active, signs = active[best != 0], np.sign(best[best != 0])
    return active


def rank_concepts(
    gram: np.ndarray, cross: np.ndarray, variance: float, n: int, l1: float, l1_ratio: float
) -> tuple[np.ndarray, np.ndarray]:
    """Fit standardized activations by standardized concepts with an elastic net.

    Parameters
    ----------
    gram, cross, variance
        Covariances of concepts (M, M), of concepts and the neuron (M,), and the neuron's variance, divided by n.
    n
        Number of images.
    l1, l1_ratio
        The penalty is ``l1 |w|_1 + l1 (1 - l1_ratio) / l1_ratio / 2 |w|^2``.

    Returns
    -------
    weights : numpy.ndarray
        (M,).
    marginal : numpy.ndarray
        (M,) correlation of each concept with the neuron, by which concepts of equal weight are ordered.
    """
    unbiased = n / (n - 1)
    scale = np.sqrt(np.diag(gram) * unbiased)
    standard = np.outer(scale, scale)
    marginal = cross / (scale * np.sqrt(variance * unbiased))
    weights = elastic_net(gram / standard, marginal, l1, l1 * (1 - l1_ratio) / l1_ratio)
    return weights, marginal


def ranked(weights: np.ndarray, marginal: np.ndarray, inhibitory: bool = False) -> np.ndarray:
    """Order concepts by weight, best first; equal weights by correlation, then by number.

    Parameters
    ----------
    weights, marginal
        (M,) as `rank_concepts` gives them.
    inhibitory
        Whether a strong negative weight ranks as high as a strong positive one.

    Returns
    -------
    numpy.ndarray
        (M,) numbers of the concepts.
    """
    if inhibitory:
        weights, marginal = np.abs(weights), np.abs(marginal)
    return np.lexsort((np.arange(len(weights)), -marginal, -weights))
