"""The stage that a layer ends, in networks of many kinds."""

from typing import Any

import pytest

from helpers import ROOT
from purelens.errors import UserError
from purelens.networks.inspection import Inspection
from purelens.networks.subnetwork import LayerView

CIFAR = f"{ROOT}/configs/networks/cifar_resnet.py:cifar_resnet"
V2 = f"{ROOT}/configs/networks/resnet_v2.py:resnet50_v2_trunk"


@pytest.mark.parametrize(
    ("architecture", "options", "size", "layer", "outputs", "inside"),
    [
        (CIFAR, {"depth": 20}, 32, "layer3", ["layer3.1", "layer3.0", "layer2"],
         ["layer3.2.bn1", "layer3.1.bn1", "layer3.0.bn1"]),
        (CIFAR, {"depth": 20}, 32, "layer3.0.bn1", ["layer2"], []),
        ("torchvision:resnet50", {}, 64, "layer4", ["layer4.1", "layer4.0", "layer3"],
         ["layer4.2.bn1", "layer4.1.bn1", "layer4.0.bn1"]),
        ("torchvision:resnet50", {}, 64, "layer4.1.bn2", ["layer4.0", "layer3"], ["layer4.1.bn1", "layer4.0.bn1"]),
        (V2, {}, 64, "layer2.1", ["layer2.0", "layer1"], ["layer2.1.bn2", "layer2.0.bn2"]),
        ("torchvision:vit_b_16", {}, 224, "encoder.layers.encoder_layer_1",
         ["encoder.layers.encoder_layer_0", "encoder.dropout"],
         ["encoder.layers.encoder_layer_1.mlp.0", "encoder.layers.encoder_layer_0.mlp.0"]),
        ("torchvision:mobilenet_v2", {}, 64, "features.16", ["features.15", "features.14"],
         ["features.16.conv.0.1", "features.15.conv.0.1"]),
        # without residual blocks: the modules beside the layer, down to the pooling
        ("torchvision:squeezenet1_1", {}, 96, "features.12", ["features.11", "features.10", "features.9", "features.8"],
         ["features.12.squeeze", "features.11.squeeze", "features.10.squeeze", "features.9.squeeze"]),
        ("torchvision:vgg11_bn", {}, 64, "features.13", ["features.10", "features.7"], []),
    ],
)  # fmt: skip
def test_the_stage_of_a_layer(
    architecture: str, options: dict[str, Any], size: int, layer: str, outputs: list[str], inside: list[str]
) -> None:
    inspection = Inspection(architecture, options, size)
    lower_layers, inner = inspection.stage(LayerView(layer))
    assert lower_layers == [*outputs, *inside]
    assert inner == inside
    inspection.check_mixes(layer, lower_layers)


def test_layers_inside_residual_blocks_are_known() -> None:
    inspection = Inspection(CIFAR, {"depth": 20}, 32)
    assert inspection.inside_blocks(["layer3.0", "layer3.1.conv1", "layer2.1", "layer1.0.bn2"]) == [
        "layer3.1.conv1",
        "layer1.0.bn2",
    ]


def test_the_first_layer_has_no_stage() -> None:
    with pytest.raises(UserError, match=r"lower_layers of layer 'conv1': there is none in its stage; name its"):
        Inspection(CIFAR, {"depth": 20}, 32).stage(LayerView("conv1"))


def test_a_layer_that_hands_its_neurons_on_has_no_circuits() -> None:
    inspection = Inspection(CIFAR, {"depth": 20}, 32)
    with pytest.raises(UserError, match=r"'layer3.0.conv1'.*comes from one of its neurons alone.*skip_channels: keep"):
        inspection.check_mixes("layer3.0.bn1", ["layer3.0.conv1"])
