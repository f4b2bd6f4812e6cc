"""Parts of a stage that run as jobs of their own."""

import re

import numpy as np

from purelens.errors import UserError

WHOLE = "1/1"


def part_of(items: np.ndarray, shard: str) -> np.ndarray:
    """Take a part of the items, in their order, as even as can be.

    Parameters
    ----------
    items
        What is divided.
    shard
        Which of how many parts, such as ``2/4``.

    Raises
    ------
    UserError
        If there are fewer items than parts, or ``shard`` is something else.
    """
    match = re.fullmatch(r"(\d+)/(\d+)", shard)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise UserError(f"shard: expected such as '2/4', not {shard!r}")
    number, n_parts = int(match[1]), int(match[2])
    if n_parts > len(items):
        raise UserError(f"shards: {n_parts} parts of {len(items)} images or neurons; take fewer")
    ends = [round(len(items) * i / n_parts) for i in range(n_parts + 1)]
    return items[ends[number - 1] : ends[number]]
