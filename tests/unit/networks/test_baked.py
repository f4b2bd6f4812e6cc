"""Networks whose weights are computed in each forward pass are the same functions with plain weights."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

from purelens.circuits.pixel_heatmaps import PixelHeatmaps
from purelens.networks.baked import bake_weights
from purelens.networks.loading import Network
from purelens.networks.subnetwork import LayerView, Segment

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
@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_the_function_is_the_same_and_the_weights_are_plain(way: str, frozen: bool) -> None:
    network = nn.Sequential(WAYS[way](nn.Conv2d(3, 6, 3)), nn.ReLU(), nn.Flatten(), WAYS[way](nn.Linear(216, 4))).eval()
    network.requires_grad_(not frozen)
    images = torch.randn(2, 3, 8, 8)
    before = network(images)
    assert torch.equal(bake_weights(network)(images), before)
    assert sorted(network.state_dict()) == ["0.bias", "0.weight", "3.bias", "3.weight"]
    assert isinstance(network[0].weight, nn.Parameter)


def test_a_batch_norm_without_parameters_is_merged() -> None:
    """As one with a weight of one and a bias of zero, which is the same function."""
    network = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6, affine=False), nn.ReLU(), nn.Conv2d(6, 5, 3)).eval()
    network[1].running_mean.uniform_(-1, 1)  # type: ignore[operator]
    network[1].running_var.uniform_(0.5, 2)  # type: ignore[operator]
    images = torch.randn(2, 3, 8, 8)
    before = network(images)
    assert torch.equal(bake_weights(network)(images), before)
    with Segment(network, "3") as segment:
        net = Network(network, (0.5,) * 3, (0.5,) * 3)
        with PixelHeatmaps(net, segment, LayerView("3"), "lrp", 8) as maps:
            maps.forward(images)
            assert maps.backward(np.arange(2), np.zeros(2, dtype=int), np.zeros(2, dtype=int))[0].shape == (2, 8, 8)
