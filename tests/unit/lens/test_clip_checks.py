"""CLIPs that the lens does not describe are refused."""

from typing import Any

import pytest
import torch

from purelens.errors import UserError
from purelens.lens.clip_checks import check_activations, check_tower
from purelens.networks.embedders import build_clip
from purelens.networks.imports import open_clip


def test_towers_with_different_activations(clip: dict[str, Any]) -> None:
    model = build_clip(clip["architecture"], "random")
    check_activations(model, None)
    with pytest.raises(UserError, match="the weights were trained with QuickGELU, the model uses GELU"):
        check_activations(model, True)
    for block in model.transformer.resblocks:
        block.mlp.gelu = open_clip().transformer.QuickGELU()
    with pytest.raises(UserError, match="one tower of this CLIP uses QuickGELU, the other GELU"):
        check_activations(model, None)


def test_towers_of_another_kind(clip: dict[str, Any]) -> None:
    visual = build_clip(clip["architecture"], "random").visual
    check_tower(visual)
    with pytest.raises(UserError, match="this CLIP's images go through Linear"):
        check_tower(torch.nn.Linear(2, 2))
    visual.pool_type = "avg"
    with pytest.raises(UserError, match="must be read from the class token; this CLIP pools its tokens"):
        check_tower(visual)
