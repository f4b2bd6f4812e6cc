"""Synthetic neurons that are sums of concepts."""

import numpy as np

from purelens.explanations.calibration import probability
from purelens.explanations.moments import concept_moments, with_activations
from purelens.explanations.selection import Covariances


def made_up(seed: int, n: int = 300, m: int = 40, noise: float = 0.3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities (n, m) of concepts, a neuron that is the sum of four of them and noise, and the weights."""
    rng = np.random.default_rng(seed)
    concepts = probability(rng.normal(size=(n, m)) + 0.7 * rng.normal(size=(n, 1)), 3.0, -0.8)
    weights = np.zeros(m)
    weights[rng.choice(m, 4, replace=False)] = rng.uniform(0.5, 2, 4)
    return concepts, concepts @ weights + noise * rng.normal(size=n), weights


def covariances(concepts: np.ndarray, neuron: np.ndarray) -> Covariances:
    moments = with_activations(
        concept_moments(iter(np.array_split(concepts, 3)), concepts.shape[1]),
        zip(np.array_split(concepts, 3), np.array_split(neuron[:, None], 3), strict=True),
        1,
    )
    return Covariances(moments.gram, moments.cross[0], moments.variance[0], moments.mean, moments.mean_y[0])


def spoiled(truth: np.ndarray, wrong: str, rng: np.random.Generator) -> np.ndarray:
    """Labels of which half are missing, or as many again are wrong."""
    spoilt = truth.copy()
    for column in range(truth.shape[1]):
        ones, zeros = np.flatnonzero(truth[:, column]), np.flatnonzero(truth[:, column] == 0)
        if wrong == "missing":
            spoilt[rng.choice(ones, len(ones) // 2, replace=False), column] = 0
        else:
            spoilt[rng.choice(zeros, len(ones), replace=False), column] = 1
    return spoilt
