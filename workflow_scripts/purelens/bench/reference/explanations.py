"""Linear explanations and CLIP-Dissect, transcribed: every fit is made from the data, every sum is a loop."""

import math

import numpy as np


def correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Pearson's, 0 where one is constant."""
    if x.std() < 1e-12 or y.std() < 1e-12:
        return 0.0
    return float(np.corrcoef(x, y)[0, 1])


def fit(concepts: np.ndarray, neuron: np.ndarray) -> tuple[np.ndarray, float]:
    """Weights and constant of least squares on (n, m)."""
    design = np.column_stack([concepts, np.ones(len(concepts))])
    found = np.linalg.lstsq(design, neuron, rcond=None)[0]
    return found[:-1], float(found[-1])


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
    """Algorithm 1 of the paper: concepts in the order in which they are chosen, and the correlation they reach."""
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
    """Scores (C, M) of concepts for neurons, from cosines (N, M) and activations (N, C)."""
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
