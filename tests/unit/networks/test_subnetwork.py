"""Outputs of all layouts as maps of neurons, and segments of networks that overwrite their activations."""

from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from purelens.bench.reference import circuits
from purelens.circuits.attribution import Attribution
from purelens.errors import UserError
from purelens.networks.architectures import build_architecture
from purelens.networks.subnetwork import LayerView, Segment


@pytest.mark.parametrize(
    ("shape", "channels", "neurons"),
    [((2, 5), "auto", 5), ((2, 7, 5), "auto", 5), ((2, 5, 3, 4), "auto", 5), ((2, 3, 4, 5), "last", 5)],
)
def test_maps_and_back(shape: tuple[int, ...], channels: str, neurons: int) -> None:
    output, view = torch.randn(shape), LayerView("l", channels)
    maps = view.maps(output)
    assert maps.shape[:2] == (2, neurons)
    assert maps.shape[2] == output[0].numel() // neurons
    torch.testing.assert_close(view.unmap(output, maps), output)


def test_maps_of_something_else() -> None:
    with pytest.raises(UserError, match=r"layer 'l' gives 5 dimensions"):
        LayerView("l").maps(torch.zeros(1, 2, 3, 4, 5))
    with pytest.raises(UserError, match=r"layer 'l' gives a tuple"):
        LayerView("l").maps((torch.zeros(1),))  # type: ignore[arg-type]


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
        attribution = Attribution(segment, LayerView("second"))
        attribution.forward(image)
        relevances = attribution.backward(np.array([0]), np.array([2]))[lower][0]
    torch.testing.assert_close(relevances, circuits.relevance(clean, "second", lower, 2, image))


def test_tokens_of_a_transformer_are_positions() -> None:
    torch.manual_seed(0)
    network = build_architecture(
        "timm:vit_tiny_patch16_224", {"img_size": 32, "patch_size": 8, "num_classes": 3, "depth": 2}
    ).double()
    image = torch.randn(1, 3, 32, 32).double()
    layer, lower = "blocks.1.mlp.act", "blocks.0.mlp.act"
    with Segment(network, layer, [lower]) as segment:
        attribution = Attribution(segment, LayerView(layer))
        attribution.forward(image)
        relevances = attribution.backward(np.array([0]), np.array([5]))[lower][0]
    output = circuits.outputs(network, [lower], image)[lower]
    assert output.shape[1:] == (17, 768)
    captured: dict[str, torch.Tensor] = {}
    network.get_submodule(lower).register_forward_hook(lambda _, __, out: captured.update(lower=out))
    network.get_submodule(layer).register_forward_hook(lambda _, __, out: captured.update(layer=out))
    network(image.requires_grad_())
    objective = 0.5 * captured["layer"][0, :, 5].clamp(min=0).square().sum()
    (gradient,) = torch.autograd.grad(objective, captured["lower"])
    expected = (gradient * captured["lower"]).sum(dim=1)[0].detach()
    torch.testing.assert_close(relevances, expected / expected.abs().sum())


def test_units_of_linear_layers_are_neurons() -> None:
    network: Any = nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.ReLU(), nn.Linear(5, 4)).requires_grad_(False)
    image = torch.randn(2, 3, 2, 2)
    with Segment(network, "3", ["2"]) as segment:
        attribution = Attribution(segment, LayerView("3"), normalize="none")
        attribution.forward(image)
        relevances = attribution.backward(np.array([1]), np.array([2]))["2"][0]
    hidden = network[:3](image)[1]
    value = network(image)[1, 2].clamp(min=0)
    torch.testing.assert_close(relevances, hidden * network[3].weight[2] * value)
