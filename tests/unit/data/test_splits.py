"""The split of the images is complete and reproducible."""

import numpy as np

from purelens.data.splits import split_images


def test_the_split_is_whole_and_the_same_again() -> None:
    part = split_images(1000, 0)
    assert np.bincount(part).tolist() == [700, 100, 200]
    assert (part == split_images(1000, 0)).all()
    assert (part != split_images(1000, 1)).any()
    assert np.bincount(split_images(3, 0), minlength=3).tolist() == [2, 0, 1]
