"""Layers that can be studied, and the errors about others."""

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from helpers import CIFAR_RESNET
from purelens.errors import UserError
from purelens.networks.architectures import build_architecture
from purelens.networks.inspection import Inspection
from purelens.networks.subnetwork import LayerView, block_before


def test_block_before() -> None:
    network = build_architecture(CIFAR_RESNET, {"depth": 14})
    assert block_before(network, "layer3") == "layer2"
    assert block_before(network, "layer3.1") == "layer3.0"
    assert block_before(network, "layer3.0") == "layer2"
    with pytest.raises(UserError, match="no block before"):
        block_before(network, "conv1")
    with pytest.raises(UserError, match=r"no layer 'layer9' \(did you mean 'layer"):
        block_before(network, "layer9")


class Odd(nn.Module):
    """One layer used twice, one beside the path, one never used."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 3, 1)
        self.side = nn.Conv2d(3, 3, 1)
        self.b = nn.Conv2d(3, 3, 1)
        self.unused = nn.Conv2d(3, 3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        side = self.side(x)
        return self.b(self.a(self.a(x))) + side


def odd_network() -> Odd:
    return Odd()


@pytest.mark.parametrize(
    ("layer", "lower", "message"),
    [
        ("c", ["a"], "no layer 'c'"),
        ("b", ["a"], "'a' is used 2 times"),
        ("unused", ["side"], "'unused' is used 0 times"),
        ("side", ["b"], "'b' does not lie below 'side'"),
        ("b", ["side"], "'side' does not lie below 'b': it does not feed it"),
        ("b", ["b"], "cannot be its own lower layer"),
    ],
)
def test_layers_that_cannot_be_studied(layer: str, lower: list[str], message: str) -> None:
    inspection = Inspection(f"{__file__}:odd_network", {}, 8)
    with pytest.raises(UserError, match=message):
        inspection.check_layer(LayerView(layer), lower)


def test_networks_that_do_not_take_the_image() -> None:
    with pytest.raises(UserError, match="fails on an image of 4x4 pixels"):
        Inspection("torchvision:alexnet", {}, 4)


def test_the_default_lower_layer_is_one_that_can_be_used() -> None:
    resnet = Inspection("torchvision:resnet18", {}, 64)
    assert resnet.block_before(LayerView("layer3.0.conv2")) == "layer3.0.bn1"
    assert (
        Inspection("torchvision:squeezenet1_1", {}, 64).block_before(LayerView("features.12.expand3x3"))
        == "features.12.squeeze_activation"
    )
    with pytest.raises(UserError, match=r"no layer 'layer9'"):
        resnet.block_before(LayerView("layer9"))


def test_channels_last_holds_for_lower_layers_too() -> None:
    swin = Inspection("torchvision:swin_t", {}, 64)
    n_neurons = swin.check_layer(LayerView("features.3.0.mlp.0", "last"), ["features.1"])
    assert n_neurons == {"features.3.0.mlp.0": 768, "features.1": 96}


class Blind(nn.Module):
    """Its backbone computes without gradients, in one of two ways."""

    def __init__(self, reentrant: bool) -> None:
        super().__init__()
        self.a, self.b, self.c = (nn.Conv2d(3, 3, 1) for _ in range(3))
        self.reentrant = reentrant

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.reentrant:
            return self.c(checkpoint(lambda y: self.b(self.a(y)), x, use_reentrant=True))
        with torch.no_grad():
            x = self.b(self.a(x))
        return self.c(x)


def blind_network(reentrant: bool) -> Blind:
    return Blind(reentrant)


@pytest.mark.parametrize("reentrant", [False, True])
def test_gradients_that_are_switched_off_are_told_of(reentrant: bool) -> None:
    inspection = Inspection(f"{__file__}:blind_network", {"reentrant": reentrant}, 8)
    with pytest.raises(UserError, match=r"'a' feeds 'c', but gradients are switched off between them"):
        inspection.check_layer(LayerView("c"), ["a"])
