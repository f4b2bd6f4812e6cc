"""Fixtures shared by all tests."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from helpers import CIFAR_RESNET, make_model, randomize
from purelens.data.dataset import dataset
from purelens.networks.architectures import load_factory


@pytest.fixture(scope="session", autouse=True)
def _threads() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty random images of 32x32 in two classes, smooth so that neurons differ."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for number in range(40):
        coarse = rng.integers(0, 256, (5, 5, 3), dtype=np.uint8)
        path = folder / ("even" if number % 2 == 0 else "odd") / f"{number:02d}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(coarse).resize((32, 32), Image.Resampling.BICUBIC).save(path)
    return folder


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory, image_folder: Path) -> dict[str, Any]:
    """Paths of a dataset and of a small random residual network with 64 neurons in ``layer3``."""
    folder = tmp_path_factory.mktemp("small")
    paths: dict[str, Any] = {
        "images_h5": f"{folder}/images.h5",
        "model": (f"{folder}/model.safetensors", f"{folder}/model.json"),
    }
    dataset(str(image_folder), paths["images_h5"], size=32)
    checkpoint = folder / "random.pth"
    torch.manual_seed(0)
    path, name = CIFAR_RESNET.rsplit(":", 1)
    torch.save(randomize(load_factory(path, name)(depth=14, num_classes=2)).state_dict(), checkpoint)
    make_model(paths, str(checkpoint), CIFAR_RESNET, {"depth": 14, "num_classes": 2})
    return paths


@pytest.fixture
def run_stage(small: dict[str, Any], tmp_path: Path) -> Callable[..., str]:
    """Run a GPU stage on the small network; returns the path of its artifact."""

    def run(stage: Callable[..., None], **arguments: object) -> str:
        path = tmp_path / f"{stage.__name__}.h5"
        inputs = dict(small) | {f"{stage.__name__}_h5": str(path)}
        stage(**inputs, **arguments)
        return str(path)

    return run
