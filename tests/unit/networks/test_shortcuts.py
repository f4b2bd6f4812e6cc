"""Neurons that shortcuts join, beside the derivative of the network whose other ways are cut."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from helpers import CIFAR_RESNET
from purelens.errors import UserError
from purelens.networks.architectures import build_architecture
from purelens.networks.shortcuts import NOT_JOINED, joined_neurons
from purelens.networks.subnetwork import LayerView, Segment

CASES = [
    (CIFAR_RESNET, {"depth": 14}, 32, "layer3", ["layer3.0", "layer2", "layer3.1.bn1"], "conv2"),
    ("torchvision:resnet18", {}, 64, "layer4.1", ["layer4.0", "layer3", "layer4.1.bn1"], "conv2"),
    ("torchvision:mobilenet_v2", {}, 64, "features.16", ["features.15", "features.14"], "conv.2"),
]  # fmt: skip


@pytest.mark.parametrize(("architecture", "options", "size", "layer", "lower", "cut"), CASES)
def test_they_are_where_the_derivative_is_without_the_branches(
    architecture: str, options: dict[str, Any], size: int, layer: str, lower: list[str], cut: str
) -> None:
    torch.manual_seed(0)
    module = build_architecture(architecture, options).eval().requires_grad_(False)
    image = torch.randn(1, 3, size, size)
    with Segment(module, layer, lower) as segment:
        view, _ = segment.resolve(LayerView(layer), size)
        joined = joined_neurons(segment, view, image)
    # every branch of the stage ends in nothing now, projections too: only identity shortcuts are left
    for name, inner in module.named_modules():
        if isinstance(inner, nn.Conv2d) and (name.endswith(cut) or "downsample" in name):
            inner.weight.zero_()
        if isinstance(inner, nn.BatchNorm2d):
            inner.bias.fill_(0.5)
    with Segment(module, layer, lower) as segment, torch.enable_grad():
        output, below = segment.forward(image)
        maps = view.maps(output)
        for name, activation in below.items():
            expected = np.full(activation.shape[1], NOT_JOINED)
            for neuron in range(maps.shape[1]):
                (gradient,) = torch.autograd.grad(
                    maps[0, neuron].sum(), activation, retain_graph=True, allow_unused=True
                )
                if gradient is not None:
                    expected[(gradient[0].abs().sum(dim=(1, 2)) > 0).numpy()] = neuron
            np.testing.assert_array_equal(joined[name], expected if ".bn1" not in name else NOT_JOINED)


class Doubled(nn.Module):
    """Each neuron of the first layer goes to two of the second."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 8, 3, padding=1)
        self.end = nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.relu(self.first(x))
        return self.end(torch.cat([x, x], dim=1) + self.second(x))


def test_a_neuron_that_is_joined_to_two_is_told() -> None:
    with Segment(Doubled().requires_grad_(False), "end", ["first"]) as segment:
        with pytest.raises(UserError, match=r"skip_channels.*'first'.*several neurons of 'end'"):
            joined_neurons(segment, LayerView("end", "first", {"first": "first"}), torch.randn(1, 3, 8, 8))
