"""Fixtures."""

from pathlib import Path

import numpy as np
import pytest
from studies import MadeUpLayer, write_images

from support.pages import DEAD


@pytest.fixture(scope="module")
def layer(tmp_path_factory: pytest.TempPathFactory) -> tuple[MadeUpLayer, Path]:
    """A made-up layer, and the folder of its pages."""
    root = tmp_path_factory.mktemp("pages")
    pixels = np.random.default_rng(1).integers(0, 256, (40, 32, 32, 3), dtype="u1")
    write_images(root / "images.h5", pixels, ["cat", "dog"], [f"{i}.png" for i in range(40)], [])
    made = MadeUpLayer(root / "layer", root / "images.h5", "layer2", "layer1", n_neurons=5, dead=(DEAD,))
    made.write(40, 32)
    return made, Path(made.pages(root / "report", "photos", "net", n_references=6, patch_size=16, image_size=24))
