"""Score heatmaps of objects: pixel accuracy, mean intersection over union, mean average precision."""

from collections.abc import Mapping

import numpy as np
from sklearn.metrics import average_precision_score

from purelens.lens.segmenter import rescaled
from purelens.numerics.bootstrap import Intervals

THRESHOLD = 0.5
COUNTS = ("correct", "labeled", "object_both", "object_either", "background_both", "background_either")


def counts(maps: np.ndarray, masks: np.ndarray) -> dict[str, np.ndarray]:
    """Count the pixels of each image that the scores are made of.

    Parameters
    ----------
    maps
        (b, S, S) between 0 and 1; above ``THRESHOLD`` is object.
    masks
        (b, S, S), 0 or 1.

    Returns
    -------
    dict
        (b,) pixels of each of ``COUNTS``.
    """
    object_there, true = maps > THRESHOLD, masks > 0

    def pixels(where: np.ndarray) -> np.ndarray:
        return where.sum(axis=(1, 2))

    return {
        "correct": pixels(object_there == true),
        "labeled": np.full(len(maps), maps[0].size),
        "object_both": pixels(object_there & true),
        "object_either": pixels(object_there | true),
        "background_both": pixels(~object_there & ~true),
        "background_either": pixels(~object_there | ~true),
    }


def average_precision(heat: np.ndarray, mask: np.ndarray) -> float:
    """Compute the average precision of the pixels of a map and of its complement together, as the method's evaluation does."""
    true = mask.ravel() > 0
    scores = np.concatenate([1 - heat.ravel(), heat.ravel()])
    return float(average_precision_score(np.concatenate([~true, true]), scores))


def summary(table: Mapping[str, np.ndarray], intervals: Intervals) -> dict[str, tuple[float, float, float]]:
    """Compute pixel accuracy, mean IoU and mean average precision of a set of images, with intervals over images.

    Parameters
    ----------
    table
        ``COUNTS`` and ``average_precision`` of each image (n,).
    intervals
        Settings of the bootstrap.

    Returns
    -------
    dict
        Value, low and high, in percent. Pixels are summed over the images before they are divided.
    """
    n = len(table["correct"])
    columns = np.stack([np.asarray(table[name], dtype=float) for name in (*COUNTS, "average_precision")], axis=1)
    draws = np.random.default_rng(intervals.seed).multinomial(n, np.full(n, 1 / n), size=intervals.bootstrap)
    values, resampled = _ratios(columns.sum(axis=0)[None], n), _ratios(draws @ columns, n)
    tail = 50 * (1 - intervals.confidence)
    low, high = np.percentile(resampled, [tail, 100 - tail], axis=0)
    names = ("pixel_accuracy", "mean_iou", "mean_average_precision")
    return {name: (float(values[0, i]), float(low[i]), float(high[i])) for i, name in enumerate(names)}


def _ratios(sums: np.ndarray, n_images: int) -> np.ndarray:
    """Compute the scores (r, 3) of sums (r, 7) over images."""
    total = dict(zip((*COUNTS, "average_precision"), sums.T, strict=True))
    accuracy = total["correct"] / total["labeled"]
    overlap = [total[f"{part}_both"] / np.maximum(total[f"{part}_either"], 1) for part in ("object", "background")]
    return 100 * np.stack([accuracy, np.mean(overlap, axis=0), total["average_precision"] / n_images], axis=1)


def center_blob(size: int) -> np.ndarray:
    """Draw the baseline map (S, S), which depends on no image: a Gaussian in the middle, a quarter of the side wide."""
    place = (np.arange(size) - (size - 1) / 2) / (size / 4)
    return rescaled(np.exp(-(place[:, None] ** 2 + place[None] ** 2) / 2)[None])[0]
