"""CLIP-Dissect: find the concept that fits the most active images of a neuron best, by SoftWPMI (Oikarinen & Weng 2023)."""

from collections.abc import Callable, Iterator

import numpy as np
from scipy.special import softmax

TEMPERATURE = 10.0
N_IMAGES = 100
FIRST, LAST = 0.998, 0.97
FLOOR = 1e-7


def concept_shares(cosine: np.ndarray) -> np.ndarray:
    """Divide each image among the concepts: a softmax (b, M) over cosines (b, M)."""
    return softmax(TEMPERATURE * cosine.astype(np.float64), axis=1)


def rank_weights(n_images: int) -> np.ndarray:
    """Compute the probability (n,) that an image is one that the neuron stands for, by its rank."""
    return FIRST - np.arange(n_images) / n_images * (FIRST - LAST)


def log_likelihood(shares: np.ndarray) -> np.ndarray:
    """Compute the log-probability (B, M) of each concept from shares (B, n, M) on the images of each neuron, best first."""
    weights = rank_weights(shares.shape[1])[:, None]
    return np.log(1 + weights * (shares - 1) + FLOOR).sum(axis=1)


def soft_wpmi(likelihoods: Callable[[], Iterator[np.ndarray]], n_neurons: int) -> tuple[np.ndarray, np.ndarray]:
    """Find the concept of each neuron by soft-WPMI (Oikarinen & Weng 2023).

    Parameters
    ----------
    likelihoods
        Gives, each time it is called, log-probabilities (B, M) of slabs of neurons.
    n_neurons
        C. Scores depend on which neurons are looked at together, as published.

    Returns
    -------
    best : numpy.ndarray
        (C,) number of the concept.
    score : numpy.ndarray
        (C,) its score.
    """
    prior: np.ndarray | float = -np.inf
    for slab in likelihoods():
        prior = np.logaddexp(prior, np.logaddexp.reduce(slab, axis=0))
    prior = prior - np.log(n_neurons)
    best, score = np.zeros(n_neurons, dtype=np.int64), np.zeros(n_neurons)
    start = 0
    for slab in likelihoods():
        rows = slice(start, start + len(slab))
        best[rows], score[rows] = (slab - prior).argmax(axis=1), (slab - prior).max(axis=1)
        start = rows.stop
    return best, score
