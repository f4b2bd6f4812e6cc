"""The geometry of images."""

import numpy as np
import pytest
from PIL import Image

from purelens.data.decoding import BadImageError
from purelens.data.images import Geometry
from purelens.networks.imports import torchvision
from support.images import gradient


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("size", "resize"), [(16, 16), (16, 20), (30, 33)])
def test_geometry_is_torchvisions(interpolation: str, size: int, resize: int) -> None:
    transforms = torchvision().transforms
    for shape in ((24, 36), (41, 17), (33, 33)):
        image = Image.fromarray(gradient(*shape))
        mode = transforms.InterpolationMode(interpolation)
        expected = transforms.CenterCrop(size)(transforms.Resize(resize, mode)(image))
        decoded = Geometry(size, resize, interpolation, 1).apply(image)
        np.testing.assert_array_equal(decoded, np.asarray(expected))


def test_a_strip_is_not_resized() -> None:
    with pytest.raises(BadImageError, match="1000000x8 pixels are a strip too long"):
        Geometry(16, 2000, "bilinear", 1).apply(Image.new("1", (1_000_000, 8)))
