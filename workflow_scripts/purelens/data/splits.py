"""Split the images into those that explanations are fitted on, chosen on and scored on."""

import numpy as np

TRAIN, VALIDATION, TEST = 0, 1, 2
SHARES = (0.7, 0.1, 0.2)


def split_images(n_images: int, seed: int) -> np.ndarray:
    """Split images at random: 70 % training, 10 % validation, 20 % test.

    Parameters
    ----------
    n_images
        N.
    seed
        Seed of the split: all stages of a study use the same one.

    Returns
    -------
    numpy.ndarray
        (N,) uint8, ``TRAIN``, ``VALIDATION`` or ``TEST``.
    """
    split = np.full(n_images, TEST, dtype=np.uint8)
    order = np.random.default_rng([seed, 70_10_20]).permutation(n_images)
    n_train, n_validation = (round(share * n_images) for share in SHARES[:2])
    split[order[:n_train]] = TRAIN
    split[order[n_train : n_train + n_validation]] = VALIDATION
    return split
