"""Which images explanations are fitted on, chosen on, and scored on."""

import numpy as np

TRAIN, VALIDATION, TEST = 0, 1, 2
SHARES = (0.7, 0.1, 0.2)


def split_images(n_images: int, seed: int) -> np.ndarray:
    """Deal images at random: (N,) 0 to fit on, 1 to choose concepts on, 2 to score on, 70, 10 and 20 of a hundred."""
    part = np.full(n_images, TEST, dtype=np.uint8)
    order = np.random.default_rng([seed, 70_10_20]).permutation(n_images)
    n_train, n_validation = (round(share * n_images) for share in SHARES[:2])
    part[order[:n_train]] = TRAIN
    part[order[n_train : n_train + n_validation]] = VALIDATION
    return part
