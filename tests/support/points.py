"""Points in groups that are known, for what splits them."""

import numpy as np


def groups(sizes: list[int], seed: int, apart: float = 6.0) -> tuple[np.ndarray, np.ndarray]:
    """Draw groups of some sizes in two views: scalar products (2, n, n) of centered points, and the group (n,) of each."""
    rng = np.random.default_rng(seed)
    truth = np.repeat(np.arange(len(sizes)), sizes)
    points = rng.standard_normal((2, len(truth), 30)) / np.sqrt(np.arange(1, 31))
    points[:, np.arange(len(truth)), truth] += apart
    points -= points.mean(axis=1, keepdims=True)
    return points @ points.swapaxes(1, 2), truth
