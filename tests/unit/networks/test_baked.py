"""Networks whose weights are computed in each forward pass are the same functions with plain weights."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

from purelens.networks.baked import bake_weights

WAYS: dict[str, Any] = {
    "weight norm": nn.utils.weight_norm,
    "weight norm as a parametrization": parametrizations.weight_norm,
    "spectral norm": nn.utils.spectral_norm,
    "spectral norm as a parametrization": parametrizations.spectral_norm,
    "orthogonal": parametrizations.orthogonal,
    "pruned": lambda layer: prune.l1_unstructured(layer, "weight", amount=0.5),
    "pruned twice": lambda layer: prune.random_unstructured(prune.l1_unstructured(layer, "weight", 0.2), "weight", 0.2),
}


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("way", WAYS)
def test_the_function_is_the_same_and_the_weights_are_plain(way: str) -> None:
    network = nn.Sequential(WAYS[way](nn.Conv2d(3, 6, 3)), nn.ReLU(), nn.Flatten(), WAYS[way](nn.Linear(216, 4))).eval()
    images = torch.randn(2, 3, 8, 8)
    before = network(images)
    assert torch.equal(bake_weights(network)(images), before)
    assert sorted(network.state_dict()) == ["0.bias", "0.weight", "3.bias", "3.weight"]
    assert isinstance(network[0].weight, nn.Parameter)
