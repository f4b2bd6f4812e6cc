"""Blocks that the closed form does not describe are refused."""

import pytest

from purelens.errors import UserError
from purelens.lens.vision_tower import Tower
from support.lens import random_tower


def test_the_last_block_has_no_later_attention() -> None:
    with pytest.raises(
        UserError, match="block 1: neurons act through the attention of later blocks, so take blocks 0-0"
    ):
        Tower(random_tower("two blocks"), 1)
