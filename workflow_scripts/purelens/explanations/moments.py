"""Accumulate means and covariances of concepts and activations: all that least squares need to know of the images."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

SLAB_IMAGES = 1024


@dataclass(frozen=True)
class Moments:
    """Means and covariances over n images.

    Attributes
    ----------
    n
        Number of images.
    mean
        (M,) mean of each concept.
    gram
        (M, M) covariances of concepts, divided by n.
    mean_y, cross, variance
        (B,) means of activations, (B, M) their covariances with concepts, (B,) their variances; all divided by n.
    """

    n: int
    mean: np.ndarray
    gram: np.ndarray
    mean_y: np.ndarray
    cross: np.ndarray
    variance: np.ndarray


@dataclass(frozen=True)
class ConceptMoments:
    """The moments that do not depend on the neurons (see `Moments`)."""

    n: int
    mean: np.ndarray
    gram: np.ndarray


Slabs = Iterable[tuple[np.ndarray, np.ndarray]]


def concept_moments(slabs: Iterable[np.ndarray], n_concepts: int) -> ConceptMoments:
    """Accumulate the mean and the covariances of concepts whose values (b, M) come slab by slab."""
    n, total, product = 0, np.zeros(n_concepts), np.zeros((n_concepts, n_concepts))
    for slab in slabs:
        x = slab.astype(np.float64)
        n, total = n + len(x), total + x.sum(axis=0)
        product += x.T @ x
    mean = total / max(n, 1)
    return ConceptMoments(n, mean, product / max(n, 1) - np.outer(mean, mean))


def with_activations(concepts: ConceptMoments, slabs: Slabs, n_neurons: int) -> Moments:
    """Add the moments of activations.

    Parameters
    ----------
    concepts
        Moments of the concepts on the same images.
    slabs
        Concepts (b, M) and activations (b, B), slab by slab.
    n_neurons
        B.

    Returns
    -------
    Moments
        Of concepts and activations.
    """
    total, square = np.zeros(n_neurons), np.zeros(n_neurons)
    product = np.zeros((n_neurons, len(concepts.mean)))
    for slab, activations in slabs:
        y = activations.astype(np.float64)
        total, square = total + y.sum(axis=0), square + (y**2).sum(axis=0)
        product += y.T @ slab.astype(np.float64)
    n = max(concepts.n, 1)
    mean_y = total / n
    cross = product / n - np.outer(mean_y, concepts.mean)
    variance = np.maximum(square / n - mean_y**2, 0)
    return Moments(concepts.n, concepts.mean, concepts.gram, mean_y, cross, variance)
