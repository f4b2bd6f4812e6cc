"""Choose the device, and work in batches that halve when it runs out of memory."""

import logging
from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np
import torch

from purelens.errors import UserError

logger = logging.getLogger("purelens")

T = TypeVar("T")

LARGEST_BATCH = {"cpu": 32, "cuda": 256, "mps": 64}
PIXELS_AT_A_TIME = {"cpu": 8 * 224**2, "cuda": 256 * 224**2, "mps": 32 * 224**2}


def choose_device(device: str = "auto") -> torch.device:
    """Choose where to compute: the device that is named, or CUDA, MPS, CPU, whichever is there first.

    Parameters
    ----------
    device
        ``auto``, or the name of a torch device.

    Raises
    ------
    UserError
        If the device that is named is not there.
    """
    if device == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        return torch.device(name)
    try:
        chosen = torch.device(device)
        torch.zeros(1, device=chosen)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UserError(f"config: device {device!r} is not available: {' '.join(str(error).split())[:120]}") from None
    return chosen


def first_batch_size(device: torch.device, side: int) -> int:
    """Return the number of images of a side, in pixels, that a device is given at a time at first."""
    kind = device.type if device.type in LARGEST_BATCH else "cpu"
    return max(1, min(LARGEST_BATCH[kind], PIXELS_AT_A_TIME[kind] // side**2))


def in_batches(
    function: Callable[[int, int, int], T],
    n_items: int,
    device: torch.device,
    side: int,
    batch_size: int | None = None,
    first: int = 0,
) -> Iterator[tuple[int, int, T]]:
    """Call a function over consecutive batches; halve them when the device is out of memory.

    Parameters
    ----------
    function
        ``function(start, stop, size)`` computes one batch. The last may have fewer items than ``size``; see `filled`.
    n_items
        Number of items in all.
    device, side
        Where it computes, and the side of an image in pixels: they decide the first batch size.
    batch_size
        The first batch size, if another.
    first
        The item to begin with.

    Yields
    ------
    start, stop : int
        The items of the batch.
    result : T
        What the function returned.
    """
    size = batch_size or first_batch_size(device, side)
    start = first
    while start < n_items:
        stop = min(start + size, n_items)
        try:
            result = function(start, stop, size)
        except torch.OutOfMemoryError:
            if size == 1:
                raise
            size = max(1, size // 2)
            logger.warning("out of memory on %s: going on with batches of %d", device, size)
            if device.type == "cuda":
                torch.cuda.empty_cache()
            continue
        yield start, stop, result
        start = stop


def filled(items: np.ndarray, size: int) -> np.ndarray:
    """Fill a batch up by repeating its last item.

    The last digits of what a network computes for an image depend on the size of the batch, not on the other images in it. With
    all batches of one size they do not depend on how images are dealt into batches or shards either.

    Parameters
    ----------
    items
        (b, ...) images of the batch.
    size
        The full batch size.

    Returns
    -------
    numpy.ndarray
        (size, ...).
    """
    missing = max(0, size - len(items))
    return np.concatenate([items, np.repeat(items[-1:], missing, axis=0)])
