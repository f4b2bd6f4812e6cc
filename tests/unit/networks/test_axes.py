"""Outputs whose images or neurons are not where they are expected."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from purelens.errors import UserError
from purelens.networks.axes import axis_of
from purelens.networks.inspection import Inspection
from purelens.networks.subnetwork import LayerView, Segment


class TokensFirst(nn.Module):
    """Blocks that see (tokens, images, width), as OpenAI's CLIP."""

    def __init__(self, patch: int) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 6, patch, patch)
        self.block = nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 12), nn.GELU())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.block(self.embed(x).flatten(2).permute(2, 0, 1)).permute(1, 0, 2)


class Tiles(nn.Module):
    """Quarters of an image go through a convolution as images of a batch."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.relu = nn.Conv2d(3, 6, 3), nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        quarters = x.unflatten(2, (2, -1)).unflatten(4, (2, -1)).permute(0, 2, 4, 1, 3, 5).flatten(0, 2)
        return self.relu(self.conv(quarters)).unflatten(0, (len(x), 4)).mean(dim=1)


class BatchStatistics(nn.Sequential):
    """A BatchNorm that never kept statistics."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6, track_running_stats=False), nn.ReLU())


class Centered(nn.Module):
    """Activations are centered over the batch, by no module."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.relu = nn.Conv2d(3, 6, 3), nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x)
        return self.relu(x - x.mean(dim=0))


def network(kind: str, **options: Any) -> nn.Module:
    return {"tokens": TokensFirst, "tiles": Tiles, "statistics": BatchStatistics, "centered": Centered}[kind](**options)


@pytest.mark.parametrize(
    ("options", "layer", "lower", "message"),
    [
        ({"kind": "tokens", "patch": 2}, "block.2", "block.0", r"'block.2' gives \(64, 2, 12\) for two images and"),
        (
            {"kind": "tokens", "patch": 8},
            "block.2",
            "block.0",
            r"\(4, 2, 12\) for two images and \(4, 3, 12\) for three",
        ),
        ({"kind": "tiles"}, "relu", "conv", "'relu' gives .* its first axis is not that of the images"),
        ({"kind": "statistics"}, "2", "0", "layer '2' depends on what else is in the batch"),
        ({"kind": "centered"}, "relu", "conv", "layer 'relu' depends on what else is in the batch"),
    ],
)
def test_layers_without_activations_of_an_image(options: dict[str, Any], layer: str, lower: str, message: str) -> None:
    inspection = Inspection(f"{__file__}:network", options, 16)
    with pytest.raises(UserError, match=message):
        inspection.check_layer(LayerView(layer), [lower])
        inspection.check_independent(layer, [lower])


@pytest.mark.parametrize(
    ("name", "size", "layer", "lower"),
    [
        ("resnet18", 64, "layer3", "layer2"),
        ("vit_b_32", 224, "encoder.layers.encoder_layer_2", "encoder.layers.encoder_layer_1"),
        ("swin_t", 64, "features.3", "features.1"),
        ("convnext_tiny", 64, "features.3", "features.1"),
        ("densenet121", 64, "features.denseblock2", "features.denseblock1"),
        ("mobilenet_v3_small", 64, "features.5", "features.4"),
    ],
)
def test_images_of_real_networks_are_independent(name: str, size: int, layer: str, lower: str) -> None:
    inspection = Inspection(f"torchvision:{name}", {}, size)
    inspection.check_layer(LayerView(layer), [lower])
    inspection.check_independent(layer, [lower])


def n_neurons(module: nn.Module, layer: str, lower: str, size: int, **view: Any) -> dict[str, int]:
    with Segment(module, layer, [lower]) as segment:
        return segment.resolve(LayerView(layer, **view), size)[1]


class Mixed(nn.Module):
    """Convolutions see (b, c, h, w), a linear layer and what follows it (b, h, w, c)."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.conv, self.act = nn.Conv2d(3, width, 3, padding=1), nn.ReLU()
        self.fc, self.gelu = nn.Linear(width, hidden), nn.GELU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.gelu(self.fc(self.act(self.conv(x)).permute(0, 2, 3, 1)))


@pytest.mark.parametrize(("width", "hidden"), [(5, 7), (8, 8), (8, 5), (5, 8)])
@pytest.mark.parametrize("layer", ["fc", "gelu"])
@pytest.mark.parametrize("lower", ["conv", "act"])
def test_neurons_are_found_in_either_layout(width: int, hidden: int, layer: str, lower: str) -> None:
    """Also where there are as many neurons as rows and columns."""
    view, sizes = Segment(Mixed(width, hidden).eval(), layer, [lower]), {layer: hidden, lower: width}
    with view as segment:
        resolved, found = segment.resolve(LayerView(layer), 8)
    assert found == sizes
    assert (resolved.channels, resolved.lower_channels) == ("last", {lower: "first"})


class FixedSize(nn.Module):
    """A reshape that takes images of one size only."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.act = nn.Conv2d(3, 8, 3, padding=1), nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(self.conv(x).reshape(len(x), 8, 8, 8))


def test_what_cannot_be_told_is_asked_for() -> None:
    with pytest.raises(UserError, match=r"'act' gives \(2, 8, 8, 8\).*set channels .*to first or last"):
        n_neurons(FixedSize(), "act", "conv", 8)
    assert n_neurons(FixedSize(), "act", "conv", 8, channels="first") == {"act": 8, "conv": 8}


@pytest.mark.parametrize(
    ("layer", "shape", "axis"),
    [
        (lambda: nn.Conv1d(3, 5, 1), (2, 5, 9), "first"),
        (lambda: nn.Linear(3, 9), (2, 5, 9), "last"),
        (lambda: nn.BatchNorm2d(9), (2, 9, 9, 9), "first"),
        (lambda: nn.LayerNorm(9), (2, 9, 9, 9), "last"),
        (nn.Identity, (2, 9, 9, 3), "last"),
    ],
)
def test_the_kind_of_a_layer_decides(layer: Callable[[], nn.Module], shape: tuple[int, ...], axis: str) -> None:
    assert axis_of("l", layer(), shape, None, set) == axis


def test_a_layer_that_gives_other_neurons_than_it_declares() -> None:
    with pytest.raises(UserError, match=r"layer 'l' declares 7 neurons, but its output is \(2, 5, 9, 9\)"):
        axis_of("l", nn.Conv2d(3, 7, 1), (2, 5, 9, 9), None, set)


def test_where_shapes_do_not_decide_the_modules_around_do() -> None:
    shape = (2, 5, 9)
    assert axis_of("l", nn.Identity(), shape, None, lambda: {"last"}) == "last"
    assert axis_of("l", nn.Identity(), shape, None, lambda: {"first"}) == "first"
    for kinds in (set[str](), {"first", "last"}):
        with pytest.raises(UserError, match="does not say where its neurons are"):
            axis_of("l", nn.Identity(), shape, None, kinds.copy)


POSITIONS = """
import torch
from torch import nn

class Net(nn.Module):
    '''Takes images of one size, and has its neurons before its positions.'''

    def __init__(self):
        super().__init__()
        self.patch = nn.Conv2d(3, 32, 8, 8)
        self.places = nn.Parameter(torch.zeros(1, 32, 64))
        self.act, self.conv, self.act2 = nn.ReLU(), nn.Conv1d(32, 40, 1), nn.ReLU()

    def forward(self, x):
        return self.act2(self.conv(self.act(self.patch(x).flatten(2) + self.places)))

def make():
    return Net()
"""


def test_a_network_of_one_size_with_neurons_before_positions(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(POSITIONS)
    inspection = Inspection(f"{tmp_path}/own.py:make", {}, 64)
    assert inspection.check_layer(LayerView("act2"), ["conv"]) == {"act2": 40, "conv": 40}
    with pytest.raises(UserError, match="layer 'act' gives .* does not say where its neurons are"):
        inspection.check_layer(LayerView("conv"), ["act"])
    view = LayerView("conv", lower_channels={"act": "first"})
    assert inspection.check_layer(view, ["act"]) == {"conv": 40, "act": 32}


def test_what_the_user_says_is_compared_with_what_the_layer_declares() -> None:
    inspection = Inspection("torchvision:resnet18", {}, 64)
    with pytest.raises(UserError, match="declares 128 neurons, but channels: last makes 8"):
        inspection.check_layer(LayerView("layer2.0.conv1", "last"), ["layer1"])
    with pytest.raises(UserError, match="declares 64 neurons, but channels: last makes 16"):
        inspection.check_layer(LayerView("layer2", "auto", {"layer1.1.conv2": "last"}), ["layer1.1.conv2"])
