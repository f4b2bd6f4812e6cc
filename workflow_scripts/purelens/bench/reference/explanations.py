"""Compute linear explanations and CLIP-Dissect by their definitions: every fit from the data, every sum as a loop."""

import math

import numpy as np


def correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Return Pearson's correlation; 0 where one side is constant."""
    if x.std() < 1e-12 or y.std() < 1e-12:
        return 0.0
    return float(np.corrcoef(x, y)[0, 1])


def fit(concepts: np.ndarray, neuron: np.ndarray) -> tuple[np.ndarray, float]:
    """Fit least squares on (n, m): weights (m,) and constant."""
    design = np.column_stack([concepts, np.ones(len(concepts))])
    solution = np.linalg.lstsq(design, neuron, rcond=None)[0]
    return solution[:-1], float(solution[-1])


def greedy(
    train: np.ndarray,
    y_train: np.ndarray,
    validation: np.ndarray,
    y_validation: np.ndarray,
    order: list[int],
    length: int = 10,
    width: int = 10,
    tolerance: float = 0.02,
) -> tuple[list[int], float]:
    """Select concepts greedily (Oikarinen & Weng 2024, Algorithm 1).

    Parameters
    ----------
    train, y_train, validation, y_validation
        Concepts (n, M) and activations (n,) on training and validation images.
    order
        Concepts, most promising first.
    length, width, tolerance
        Most concepts, concepts tried in each step, and least gain in correlation.

    Returns
    -------
    tuple
        Concepts in the order in which they were chosen, and the correlation on validation images.
    """
    chosen: list[int] = []
    bad: set[int] = set()
    best = 0.0
    while len(chosen) < length:
        candidates = [c for c in order if c not in chosen and c not in bad][:width]
        winner, highest = None, best
        for candidate in candidates:
            columns = [*chosen, candidate]
            weights, constant = fit(train[:, columns], y_train)
            reached = correlation(validation[:, columns] @ weights + constant, y_validation)
            if chosen and reached - best < tolerance:
                bad.add(candidate)
            elif reached > highest:
                winner, highest = candidate, reached
        if winner is None:
            break
        chosen.append(winner)
        best = highest
    return chosen, best


def soft_wpmi(cosine: np.ndarray, activations: np.ndarray, n_best: int = 100) -> np.ndarray:
    """Score concepts for neurons by SoftWPMI (CLIP-Dissect).

    Parameters
    ----------
    cosine
        (N, M) cosine similarity of images and concepts.
    activations
        (N, C) of images and neurons.
    n_best
        Most active images of a neuron that count.

    Returns
    -------
    numpy.ndarray
        (C, M).
    """
    n_images, n_concepts = cosine.shape
    shares = np.zeros_like(cosine, dtype=float)
    for image in range(n_images):
        exponents = [math.exp(10 * value) for value in cosine[image]]
        for concept in range(n_concepts):
            shares[image, concept] = exponents[concept] / sum(exponents)
    likelihood = np.zeros((activations.shape[1], n_concepts))
    for neuron in range(activations.shape[1]):
        best = sorted(range(n_images), key=lambda image: (-activations[image, neuron], image))[:n_best]
        for concept in range(n_concepts):
            for rank, image in enumerate(best):
                p = 0.998 - rank / len(best) * (0.998 - 0.97)
                likelihood[neuron, concept] += math.log(1 + p * (shares[image, concept] - 1) + 1e-7)
    prior = [math.log(sum(math.exp(row[c]) for row in likelihood) / len(likelihood)) for c in range(n_concepts)]
    return likelihood - np.array(prior)
