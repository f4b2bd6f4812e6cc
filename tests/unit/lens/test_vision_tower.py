"""Towers that the closed form does not describe are refused."""

from typing import Any

import pytest

from purelens.errors import UserError
from purelens.lens.vision_tower import Tower, check_activations
from purelens.networks.embedders import build_clip
from purelens.networks.imports import open_clip
from support.lens import random_tower


def test_the_last_block_has_no_later_attention() -> None:
    with pytest.raises(
        UserError, match="block 1: neurons act through the attention of later blocks, so take blocks 0-0"
    ):
        Tower(random_tower("two blocks"), 1)


def test_towers_with_different_activations(clip: dict[str, Any]) -> None:
    model = build_clip(clip["architecture"], "random")
    check_activations(model, None)
    with pytest.raises(UserError, match="the weights were trained with QuickGELU, the model uses GELU"):
        check_activations(model, True)
    for block in model.transformer.resblocks:
        block.mlp.gelu = open_clip().transformer.QuickGELU()
    with pytest.raises(UserError, match="one tower of this CLIP uses QuickGELU, the other GELU"):
        check_activations(model, None)
