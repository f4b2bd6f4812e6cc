"""Divide the work of a stage into shards, each a job of its own.

See invariant 6 (shards) in ``docs/reruns.md``.
"""

import re

import numpy as np

from purelens.errors import UserError

NO_SHARDS = "1/1"
"""The only shard of a stage that is one job."""


def shard_of(items: np.ndarray, shard: str) -> np.ndarray:
    """Take one shard of some items: consecutive ones, all shards as even as can be.

    Parameters
    ----------
    items
        (n,) images or neurons, in their order.
    shard
        Number of the shard and how many there are, such as ``2/4``.

    Raises
    ------
    UserError
        If there are fewer items than shards, or ``shard`` is something else.
    """
    match = re.fullmatch(r"(\d+)/(\d+)", shard)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise UserError(f"shard: expected such as '2/4', not {shard!r}")
    number, n_shards = int(match[1]), int(match[2])
    if n_shards > len(items):
        raise UserError(f"shards: {n_shards} shards of {len(items)} images or neurons; take fewer")
    ends = [round(len(items) * i / n_shards) for i in range(n_shards + 1)]
    return items[ends[number - 1] : ends[number]]
