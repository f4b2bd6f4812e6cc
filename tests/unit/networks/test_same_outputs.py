"""A network gives the same for an image whenever it is asked."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import nn

from purelens.errors import UserError
from purelens.networks.architectures import build_architecture
from purelens.networks.same_outputs import check_same_in_a_batch, check_same_when_rebuilt


@dataclass
class Output:
    """What some libraries return instead of a tensor."""

    logits: torch.Tensor


class Unsaved(nn.Module):
    """Numbers that are drawn when it is built and not saved."""

    def __init__(self, head: nn.Module, wrap: Callable[[torch.Tensor], Any] = lambda x: x) -> None:
        super().__init__()
        self.features, self.head, self._wrap = nn.Conv2d(3, 4, 3), head, wrap
        self.register_buffer("noise", torch.randn(4, 1, 1), persistent=False)

    def forward(self, x: torch.Tensor) -> Any:
        """Multiply by the noise."""
        return self._wrap(self.head(self.features(x) * self.noise))


class ZeroHead(nn.Module):
    """A head as it is before training."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Nothing."""
        return nn.functional.relu(x) * 0


@pytest.mark.parametrize(
    "build",
    [
        lambda: Unsaved(nn.ReLU()),
        lambda: Unsaved(nn.ReLU(), Output),
        lambda: Unsaved(nn.Sequential(nn.ReLU(), ZeroHead())),
        lambda: Unsaved(nn.ReLU(), lambda x: {"out": [x, None]}),
    ],
    ids=["tensor", "dataclass", "zero head", "in a list in a dict"],
)
def test_numbers_that_are_not_saved(build: Callable[[], nn.Module]) -> None:
    module, rebuilt = build().eval(), build().eval()
    rebuilt.load_state_dict(module.state_dict())
    with pytest.raises(UserError, match="holds numbers that its state_dict"):
        check_same_when_rebuilt(module, rebuilt, 16, "own")
    rebuilt.noise = module.noise
    check_same_when_rebuilt(module, rebuilt, 16, "own")


class MixesImages(nn.Module):
    """ReZero: a branch of weight zero before training."""

    def __init__(self, gamma: float) -> None:
        super().__init__()
        self.first, self.second, self.gamma = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1), gamma

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Mix."""
        x = self.first(x)
        return self.second(x + self.gamma * x.mean(dim=0))


def test_images_that_are_mixed() -> None:
    check_same_in_a_batch(MixesImages(0.0), 16)
    with pytest.raises(UserError, match="module 'second' gives something else for an image when another one"):
        check_same_in_a_batch(MixesImages(1.0), 16)


@pytest.mark.parametrize(
    "name",
    [
        "torchvision:resnet18",
        "torchvision:swin_t",
        "torchvision:googlenet",
        "timm:mobilevit_xxs",
        "timm:vit_tiny_patch16_224",
    ],
)
def test_networks_that_do_not(name: str) -> None:
    """Also those that fold windows into the batch on the way."""
    options = {"init_weights": False} if "googlenet" in name else {}
    check_same_in_a_batch(build_architecture(name, options), 224)
