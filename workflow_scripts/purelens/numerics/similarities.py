"""Measure how alike images are that units respond to, in an embedding, and by their classes.

One formula serves two scores: the mean cosine similarity over pairs of images, each pair weighted by the product of the two
weights of its images. With activations as weights it is the MonoSemanticity score (Pach et al. 2025, section 4), with the
weight 1 for the five strongest images and 0 for all others the interpretability index (Klindt et al. 2023, section 2).
"""

import numpy as np

STRONGEST = 5
"""Images of a unit that the interpretability index compares (Klindt et al. 2023)."""


def similarities_of_parts(similarity: np.ndarray, weight: np.ndarray, labels: np.ndarray, n_parts: int) -> np.ndarray:
    """Average the similarity over the pairs within each part, with weights, for many divisions of the same images.

    Parameters
    ----------
    similarity
        (n, n) cosine similarities, 1 on the diagonal.
    weight
        (n,) weight of each image, or (P, n).
    labels
        (P, n) part of each image in each division; -1: none.
    n_parts
        Number of parts k.

    Returns
    -------
    numpy.ndarray
        (P, k) sum_{n<m} w_n w_m s_nm / sum_{n<m} w_n w_m over the images of a part; NaN where fewer than two have a weight.

    Notes
    -----
    Both sums follow from sums over images: (w's w - sum w^2) / ((sum w)^2 - sum w^2).
    """
    values = []
    for part in range(n_parts):
        own = np.where(labels == part, weight, 0.0)
        squares = (own**2).sum(axis=1)
        total = ((own @ similarity) * own).sum(axis=1)
        values.append(_ratio(total - squares, own.sum(axis=1) ** 2 - squares, (own > 0).sum(axis=1)))
    return np.stack(values, axis=1)


def strongest(labels: np.ndarray, n_parts: int) -> np.ndarray:
    """Find the first `STRONGEST` images of each part: (P, n) bool, for labels (P, n) of images in order of activation."""
    chosen = np.zeros(labels.shape, dtype=bool)
    for part in range(n_parts):
        own = labels == part
        chosen |= own & (own.cumsum(axis=1) <= STRONGEST)
    return chosen


def purities(classes: np.ndarray, labels: np.ndarray, n_parts: int) -> np.ndarray:
    """Compute the share of the most frequent class in each part.

    Parameters
    ----------
    classes
        (n,) class of each image; -1: none, such images do not count.
    labels
        (P, n) part of each image in each division; -1: none.
    n_parts
        Number of parts k.

    Returns
    -------
    numpy.ndarray
        (P, k); NaN where no image of a part has a class.
    """
    _, numbers = np.unique(classes, return_inverse=True)
    indicators = np.eye(numbers.max(initial=0) + 1)[numbers][:, np.unique(classes) >= 0]
    if not indicators.shape[1]:
        return np.full((len(labels), n_parts), np.nan)
    counts = np.stack([(labels == part) @ indicators for part in range(n_parts)], axis=1)
    totals = counts.sum(axis=2)
    with np.errstate(invalid="ignore"):
        return np.where(totals > 0, counts.max(axis=2) / totals, np.nan)


def _ratio(numerator: np.ndarray, denominator: np.ndarray, n_weighted: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(n_weighted >= 2, numerator / denominator, np.nan)
