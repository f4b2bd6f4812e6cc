"""Modules that compute their weights are refused by LRP, or are given plain ones."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from purelens.circuits.pixel_heatmaps import PixelHeatmaps
from purelens.errors import UserError
from purelens.networks.baked import bake_weights
from purelens.networks.inspection import Inspection
from purelens.networks.loading import Network
from purelens.networks.subnetwork import LayerView, Segment


class Standardized(nn.Conv2d):
    """A convolution with weight standardization."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        weight = self.weight - self.weight.mean(dim=(1, 2, 3), keepdim=True)
        return self._conv_forward(input, weight / (weight.std(dim=(1, 2, 3), keepdim=True) + 1e-5), self.bias)


class Padded(nn.Conv2d):
    """A convolution that pads before it: its weight is its parameter."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return self._conv_forward(nn.functional.pad(input, (1, 1, 1, 1)), self.weight, self.bias)


class Normalized(nn.Conv2d):
    """A convolution whose outputs have length one."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return nn.functional.normalize(super().forward(input), dim=1)


class Gated(nn.Conv2d):
    """A convolution with squeeze-and-excitation in it."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        output = super().forward(input)
        return output * output.mean(dim=(2, 3), keepdim=True).sigmoid()


class Cosine(nn.Linear):
    """The cosines with the weights."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(nn.functional.normalize(input, dim=-1))


class Scaled(nn.Identity):
    """A gain that calls itself nothing."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return input * torch.linspace(-1, 1, input.shape[1], device=input.device)[:, None, None]


class Sharpened(nn.MaxPool2d):
    """A maximum less the value."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(input) - input


class Attending(nn.ReLU):
    """A ReLU with a gate."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(input) * input.mean(dim=(2, 3), keepdim=True)


class Activated(nn.BatchNorm2d):
    """BatchNorm and ReLU in one, as timm has it."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(input).relu()


SUBCLASSES = {
    "normalized": (lambda: Normalized(8, 8, 1), False),
    "gated": (lambda: Gated(8, 8, 1), False),
    "cosine": (lambda: Cosine(12, 12), False),
    "scaled": (Scaled, False),
    "sharpened": (lambda: Sharpened(3, 1, 1), False),
    "attending": (Attending, False),
    "activated": (lambda: Activated(8), True),
    "padded": (lambda: Padded(8, 8, 3), True),
}


def with_subclass(kind: str) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), SUBCLASSES[kind][0](), nn.ReLU())


@pytest.mark.parametrize("kind", SUBCLASSES)
def test_subclasses_that_compute_something_else(kind: str) -> None:
    inspection = Inspection(f"{__file__}:with_subclass", {"kind": kind}, 16)
    if SUBCLASSES[kind][1]:
        inspection.check_rules("4")
    else:
        with pytest.raises(UserError, match=rf"something else than their kind below layer '4': 3 \({kind.title()}\)"):
            inspection.check_rules("4")


KINDS: dict[str, Any] = {"standardized": Standardized, "padded": Padded, "plain": nn.Conv2d}


def network(kind: str, place: int = 2) -> nn.Module:
    layers: list[nn.Module] = [
        nn.Conv2d(3, 6, 3),
        nn.ReLU(),
        nn.Conv2d(6, 8, 3),
        nn.ReLU(),
        nn.Conv2d(8, 5, 3),
        nn.ReLU(),
    ]
    plain = layers[place]
    assert isinstance(plain, nn.Conv2d)
    layers[place] = KINDS[kind](plain.in_channels, plain.out_channels, 3)
    return nn.Sequential(*layers)


@pytest.mark.parametrize("place", [0, 2, 4])
def test_a_computed_weight_is_found_before_anything_runs(place: int) -> None:
    inspection = Inspection(f"{__file__}:network", {"kind": "standardized", "place": place}, 16)
    with pytest.raises(
        UserError, match=rf"compute something else than their kind below layer '5': {place} \(Standardized\)"
    ):
        inspection.check_rules("5")


@pytest.mark.parametrize("kind", ["padded", "plain"])
def test_other_convolutions_are_not_refused(kind: str) -> None:
    Inspection(f"{__file__}:network", {"kind": kind}, 16).check_rules("5")


def heatmaps(module: nn.Module, images: torch.Tensor) -> torch.Tensor:
    net = Network(module.requires_grad_(False), (0.5,) * 3, (0.5,) * 3)
    with Segment(module, "5") as segment, PixelHeatmaps(net, segment, LayerView("5"), "lrp", 16) as maps:
        maps.forward(images)
        return torch.stack([maps.backward(np.arange(2), np.full(2, n), np.full(2, 30))[0] for n in range(5)])


@pytest.mark.parametrize("norm", [parametrizations.weight_norm, parametrizations.spectral_norm])
def test_heatmaps_of_normalized_weights_are_those_of_plain_ones(norm: Any) -> None:
    module, images = network("plain").eval(), torch.randn(2, 3, 16, 16)
    for place in (0, 2, 4):
        norm(module[place])  # type: ignore[index]
    plain = network("plain").eval()
    for place in (0, 2, 4):
        plain[place].load_state_dict({"weight": module[place].weight, "bias": module[place].bias})  # type: ignore[index]
    expected = heatmaps(plain, images)
    assert expected.abs().max() > 0
    torch.testing.assert_close(heatmaps(bake_weights(module), images), expected)
