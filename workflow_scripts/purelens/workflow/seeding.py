"""Seed all generators of random numbers, and limit the threads."""

import random
import sys

import numpy as np


def seed_everything(seed: int, threads: int) -> None:
    """Seed all generators that a job may use, and limit its threads.

    Parameters
    ----------
    seed
        For Python, NumPy and, if it is imported, torch.
    threads
        CPU threads of torch.
    """
    random.seed(seed)
    np.random.seed(seed)
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.manual_seed(seed)
        torch.set_num_threads(max(1, threads))
