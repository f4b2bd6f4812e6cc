"""Names and images of the small networks, and one whose layer has a ceiling."""

import inspect
from pathlib import Path
from typing import Any

import h5py
import torch

from helpers import ROOT, make_model
from purelens.networks.loading import load_network


def images_of(paths: dict[str, str]) -> torch.Tensor:
    network = load_network(*paths["model"])
    with h5py.File(paths["images_h5"]) as file:
        return network.normalize(torch.from_numpy(file["pixels"][...]))


DEAD, RARE = 3, 5


SCENE_CLIP = str(ROOT / "workflow_scripts/purelens/world/scene_clip.json")


class Clipped(torch.nn.Module):
    """A convolution with an activation function that has a ceiling, which most images reach."""

    def __init__(self, num_classes: int = 2) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 6, 3)
        self.act = torch.nn.ReLU6(inplace=True)
        self.head = torch.nn.Linear(6, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.act(100 * self.conv(x)).mean(dim=(2, 3)))


def clipped_network(images_h5: str, folder: Path) -> dict[str, Any]:
    """Write the network as a user's file with weights; returns the arguments of stages."""
    source = folder / "clipped.py"
    factory = "\n\ndef clipped(num_classes=2):\n    return Clipped(num_classes)\n"
    source.write_text("import torch\n" + inspect.getsource(Clipped) + factory)
    torch.manual_seed(0)
    torch.save(Clipped().state_dict(), folder / "m.pth")
    paths: dict[str, Any] = {"images_h5": images_h5, "model": (f"{folder}/m.safetensors", f"{folder}/m.json")}
    make_model(paths, f"{folder}/m.pth", f"{source}:clipped", {})
    return paths
