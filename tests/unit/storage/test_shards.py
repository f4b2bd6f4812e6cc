"""Shards cover all items once, and a wrong shard is refused."""

import numpy as np
import pytest

from purelens.errors import UserError
from purelens.storage.shards import shard_of


def test_shards_cover_everything_once() -> None:
    for n_items in (1, 5, 17):
        for n_shards in range(1, n_items + 1):
            shards = [shard_of(np.arange(n_items), f"{i}/{n_shards}") for i in range(1, n_shards + 1)]
            assert np.concatenate(shards).tolist() == list(range(n_items))
            assert max(map(len, shards)) - min(map(len, shards)) <= 1


@pytest.mark.parametrize("shard", ["", "0/2", "3/2", "a/b", "1", "4/4"])
def test_wrong_shards_are_refused(shard: str) -> None:
    with pytest.raises(UserError, match="shard"):
        shard_of(np.arange(3), shard)
