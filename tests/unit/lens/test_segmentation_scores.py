"""Scores of a segmentation beside loops over pixels."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from purelens.lens.segmentation_scores import COUNTS, average_precision, counts, summary
from purelens.lens.segmenter import rescaled
from purelens.numerics.bootstrap import Intervals


def test_counts_are_those_of_a_loop() -> None:
    rng = np.random.default_rng(0)
    heat, mask = rescaled(rng.random((3, 5, 4))), (rng.random((3, 5, 4)) < 0.3).astype(np.uint8)
    pixels = counts(heat, mask)
    for image in range(3):
        expected = dict.fromkeys(COUNTS, 0)
        for row in range(5):
            for column in range(4):
                here, true = heat[image, row, column] > 0.5, mask[image, row, column] == 1
                expected["correct"] += here == true
                expected["labeled"] += 1
                expected["object_both"] += here and true
                expected["object_either"] += here or true
                expected["background_both"] += not here and not true
                expected["background_either"] += not here or not true
        assert {name: int(values[image]) for name, values in pixels.items()} == expected
    flat = np.concatenate([mask[0].ravel() == 0, mask[0].ravel() == 1])
    by_hand = average_precision_score(flat, np.concatenate([1 - heat[0].ravel(), heat[0].ravel()]))
    assert average_precision(heat[0], mask[0]) == pytest.approx(by_hand)
    scores = summary({**pixels, "average_precision": np.full(3, 0.25)}, Intervals(bootstrap=100))
    assert scores["pixel_accuracy"][0] == pytest.approx(100 * pixels["correct"].sum() / 60)
    both = [pixels[f"{p}_both"].sum() / pixels[f"{p}_either"].sum() for p in ("object", "background")]
    assert scores["mean_iou"][0] == pytest.approx(50 * sum(both))
    assert scores["mean_average_precision"] == pytest.approx((25, 25, 25))
