"""CLIP-Dissect: the concept that is most like the images a neuron likes (Oikarinen & Weng 2023), by soft-WPMI."""

from collections.abc import Callable, Iterator

import numpy as np
from scipy.special import softmax

TEMPERATURE = 10.0
N_IMAGES = 100
FIRST, LAST = 0.998, 0.97
FLOOR = 1e-7


def concept_shares(cosine: np.ndarray) -> np.ndarray:
    """How much of each image (b, M) each concept has: a softmax over concepts."""
    return softmax(TEMPERATURE * cosine.astype(np.float64), axis=1)


def rank_weights(n_images: int) -> np.ndarray:
    """Probability (n,) that an image is one the neuron stands for, by its rank."""
    return FIRST - np.arange(n_images) / n_images * (FIRST - LAST)


def log_likelihood(shares: np.ndarray) -> np.ndarray:
    """Log-probability of each concept: (B, M) from shares (B, n, M) on the images of each neuron, best first."""
    weights = rank_weights(shares.shape[1])[:, None]
    return np.log(1 + weights * (shares - 1) + FLOOR).sum(axis=1)


def soft_wpmi(likelihoods: Callable[[], Iterator[np.ndarray]], n_neurons: int) -> tuple[np.ndarray, np.ndarray]:
    """Find the concept of each neuron.

    Parameters
    ----------
    likelihoods
        Gives, each time it is called, log-probabilities (B, M) of slabs of neurons.
    n_neurons
        C; the score depends on which neurons are looked at together, as published.

    Returns
    -------
    tuple
        The best concept (C,) and its score (C,).
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
