"""Running a network up to a layer, and differentiating between two layers."""

from collections import OrderedDict

import pytest
import torch
from torch import nn

from helpers import CIFAR_RESNET
from purelens.bench.reference import circuits
from purelens.circuits.relevances import Attribution
from purelens.errors import UserError
from purelens.networks.inspection import Inspection
from purelens.networks.loading import build_architecture
from purelens.networks.subnetwork import Segment, as_maps, block_before, seed_like


@pytest.mark.parametrize(
    ("shape", "channels", "neurons"),
    [((2, 5), "auto", 5), ((2, 7, 5), "auto", 5), ((2, 5, 3, 4), "auto", 5), ((2, 3, 4, 5), "last", 5)],
)
def test_maps_and_back(shape: tuple[int, ...], channels: str, neurons: int) -> None:
    output = torch.randn(shape)
    maps = as_maps(output, "l", channels)
    assert maps.shape[:2] == (2, neurons)
    assert maps.shape[2] == output[0].numel() // neurons
    torch.testing.assert_close(seed_like(output, maps, channels), output)


def test_maps_of_something_else() -> None:
    with pytest.raises(UserError, match=r"layer 'l' gives 5 dimensions"):
        as_maps(torch.zeros(1, 2, 3, 4, 5), "l")
    with pytest.raises(UserError, match=r"layer 'l' gives a tuple"):
        as_maps((torch.zeros(1),), "l")  # type: ignore[arg-type]


class InPlace(nn.Module):
    """Every activation overwrites its input, as torchvision's and timm's ResNets do."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3)
        self.second = nn.Conv2d(4, 6, 3)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu_(self.second(self.relu(self.first(x))))


def test_in_place_operations_do_not_change_what_was_recorded() -> None:
    torch.manual_seed(0)
    network, image = InPlace().requires_grad_(False), torch.randn(1, 3, 8, 8)
    with Segment(network, "second", ["first"]) as segment, torch.enable_grad():
        output, lower = segment.forward(image)
    assert lower["first"].min() < 0
    assert output.min() < 0
    torch.testing.assert_close(output.detach(), network.second(network.first(image).relu()))


@pytest.mark.parametrize("lower", ["first", "relu"])
def test_relevance_through_in_place_operations_is_the_definition(lower: str) -> None:
    torch.manual_seed(1)
    network, image = InPlace().double().requires_grad_(False), torch.randn(1, 3, 8, 8).double()
    clean = nn.Sequential(
        OrderedDict(first=network.first, relu=nn.ReLU(), second=network.second)
    )  # the same without overwriting
    with Segment(network, "second", [lower]) as segment:
        attribution = Attribution(segment, "second")
        attribution.forward(image)
        found = attribution.backward([0], [2])[lower][0]
    torch.testing.assert_close(found, circuits.relevance(clean, "second", lower, 2, image))


def test_tokens_of_a_transformer_are_positions() -> None:
    torch.manual_seed(0)
    network = build_architecture(
        "timm:vit_tiny_patch16_224", {"img_size": 32, "patch_size": 8, "num_classes": 3, "depth": 2}
    ).double()
    image = torch.randn(1, 3, 32, 32).double()
    layer, lower = "blocks.1.mlp.act", "blocks.0.mlp.act"
    with Segment(network, layer, [lower]) as segment:
        attribution = Attribution(segment, layer)
        attribution.forward(image)
        found = attribution.backward([0], [5])[lower][0]
    output = circuits.outputs(network, [lower], image)[lower]
    assert output.shape[1:] == (17, 768)
    captured: dict[str, torch.Tensor] = {}
    network.get_submodule(lower).register_forward_hook(lambda _, __, out: captured.update(lower=out))
    network.get_submodule(layer).register_forward_hook(lambda _, __, out: captured.update(layer=out))
    network(image.requires_grad_())
    objective = 0.5 * captured["layer"][0, :, 5].clamp(min=0).square().sum()
    (gradient,) = torch.autograd.grad(objective, captured["lower"])
    wanted = (gradient * captured["lower"]).sum(dim=1)[0].detach()
    torch.testing.assert_close(found, wanted / wanted.abs().sum())


def test_units_of_linear_layers_are_neurons() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.ReLU(), nn.Linear(5, 4)).requires_grad_(False)
    image = torch.randn(2, 3, 2, 2)
    with Segment(network, "3", ["2"]) as segment:
        attribution = Attribution(segment, "3", normalize="none")
        attribution.forward(image)
        found = attribution.backward([1], [2])["2"][0]
    hidden = network[:3](image)[1]
    value = network(image)[1, 2].clamp(min=0)
    torch.testing.assert_close(found, hidden * network[3].weight[2] * value)


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
        inspection.check_layer(layer, lower, "auto")


def test_networks_that_do_not_take_the_image() -> None:
    with pytest.raises(UserError, match="fails on an image of 4x4 pixels"):
        Inspection("torchvision:alexnet", {}, 4)


def test_the_default_lower_layer_is_one_that_can_be_used() -> None:
    resnet = Inspection("torchvision:resnet18", {}, 64)
    assert resnet.block_before("layer3.0.conv2", "auto") == "layer3.0.bn1"
    assert (
        Inspection("torchvision:squeezenet1_1", {}, 64).block_before("features.12.expand3x3", "auto")
        == "features.12.squeeze_activation"
    )
    with pytest.raises(UserError, match=r"no layer 'layer9'"):
        resnet.block_before("layer9", "auto")


def test_channels_last_holds_for_lower_layers_too() -> None:
    swin = Inspection("torchvision:swin_t", {}, 64)
    found = swin.check_layer("features.3.0.mlp.0", ["features.1"], "last")
    assert found == {"features.3.0.mlp.0": 768, "features.1": 96}
