"""Score units over all images, in one pass over the tables of activations and embeddings."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class UnitScores:
    """Scores of units over all images.

    Attributes
    ----------
    monosemanticity
        (U,) mean similarity of all pairs of images, weighted by the activations of both; NaN for a constant unit.
    null
        The same for a unit that all images activate alike.
    """

    monosemanticity: np.ndarray
    null: float


def monosemanticity_over_images(batches: Iterator[tuple[np.ndarray, np.ndarray]]) -> UnitScores:
    """Compute the MonoSemanticity score of units from batches of images.

    Parameters
    ----------
    batches
        Activations (b, U) and embeddings (b, D) of the images of each batch.

    Returns
    -------
    UnitScores
        The scores.

    Notes
    -----
    Pach et al. 2025, section 4: activations are brought to 0 to 1 over all images, embeddings to length 1. With weights
    w = (a - min) / (max - min) all sums over pairs follow from sum a, sum a^2, sum a e and sum e.
    """
    n_images = 0
    for number, (values, embeddings) in enumerate(batches):
        a, e = values.astype(np.float64), unit_length(embeddings)
        n_images += len(a)
        new = [a.sum(axis=0), (a**2).sum(axis=0), a.T @ e, e.sum(axis=0)]
        low, high = a.min(axis=0), a.max(axis=0)
        if number == 0:
            sums, least, most = new, low, high
        else:
            sums = [old + added for old, added in zip(sums, new, strict=True)]
            least, most = np.minimum(least, low), np.maximum(most, high)
    total, squares, directed, all_directions = sums
    span = np.where(most > least, most - least, np.nan)
    weight = (total - n_images * least) / span
    square = (squares - 2 * least * total + n_images * least**2) / span**2
    vector = (directed - least[:, None] * all_directions) / span[:, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        scores = ((vector**2).sum(axis=1) - square) / (weight**2 - square)
    # a unit that one image alone activates has no pair
    scores = np.where(weight**2 - square > 1e-9 * weight**2, scores, np.nan)
    null = ((all_directions**2).sum() - n_images) / max(n_images * (n_images - 1), 1)
    return UnitScores(scores, float(null))


def unit_length(embeddings: np.ndarray) -> np.ndarray:
    """Bring embeddings (..., D) to length 1; zeros stay."""
    vectors = embeddings.astype(np.float64)
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(length > 0, length, 1)
