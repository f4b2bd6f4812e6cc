"""What tests of several folders share."""

import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from purelens.networks.architectures import load_factory
from purelens.networks.model import model
from purelens.storage.checksums import FINISHED, variables
from purelens.storage.provenance import check_lineage

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("PURELENS_DATA", ROOT / "data"))
CIFAR_RESNET = f"{ROOT}/configs/networks/cifar_resnet.py:cifar_resnet"

needs_data = pytest.mark.skipif(
    not DATA.is_dir(), reason="trained weights and images are not here (set PURELENS_DATA to their folder)"
)


def randomize(network: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Give BatchNorms statistics that are not the identity, as training would."""
    generator = torch.Generator().manual_seed(seed)
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            assert layer.running_mean is not None
            assert layer.running_var is not None
            layer.running_mean.copy_(torch.randn(layer.running_mean.shape, generator=generator) * 0.1)
            layer.running_var.copy_(torch.rand(layer.running_var.shape, generator=generator) + 0.5)
            layer.weight.data.copy_(torch.rand(layer.weight.shape, generator=generator) + 0.5)
            layer.bias.data.copy_(torch.randn(layer.bias.shape, generator=generator) * 0.1)
    return network.eval().requires_grad_(False)


def load_cifar_resnet(seed: int, **options: int) -> torch.nn.Module:
    """A residual network with random weights."""
    path, name = CIFAR_RESNET.rsplit(":", 1)
    torch.manual_seed(seed)
    return randomize(load_factory(path, name)(**options), seed)


def make_model(paths: dict[str, Any], weights: str, architecture: str, options: dict[str, Any]) -> None:
    """Run the stage ``model`` with the paths of a fixture."""
    stored: tuple[str, str] = paths["model"]
    model(paths["images_h5"], weights, *stored, architecture, options)


def data_of(path: str | Path) -> dict[str, bytes]:
    """The bytes of all data of an artifact."""
    with h5py.File(path) as file:
        return {name: np.asarray(file[name][...]).tobytes() for name in variables(file) if name != FINISHED}


def fingerprint_of(path: str | Path) -> str:
    """The fingerprint of a file as the input of a job."""
    return check_lineage({"file": str(path)}).fingerprints["file"]
