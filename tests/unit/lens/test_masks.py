"""Masks of datasets and of the file of ImageNet-Segmentation."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from purelens.data.images import Geometry
from purelens.errors import UserError
from purelens.lens.masks import fitted, open_masks
from support.lens import matlab_file


def test_masks_lie_on_their_images() -> None:
    mask = np.zeros((40, 90), dtype=np.uint8)
    mask[10:30, 50:70] = 1
    image = Image.fromarray(np.repeat(255 * mask[..., None], 3, axis=2))
    pixels, seen = fitted((image, mask), Geometry(20, 20, "bicubic", 1))
    assert seen.shape == (20, 20)
    assert ((pixels[..., 0] > 128) == (seen > 0)).mean() > 0.97


def test_the_format_of_imagenet_segmentation(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (5, 7, 3), dtype=np.uint8), rng.integers(0, 256, (9, 4, 3), dtype=np.uint8)]
    masks = [rng.integers(0, 2, image.shape[:2], dtype=np.uint8) for image in images]
    path = matlab_file(tmp_path / "gtsegs.mat", images, masks)
    with open_masks("unused", path) as scenes:
        assert scenes is not None
        assert len(scenes) == 2
        for number in range(2):
            image, mask = scenes.pair(number)
            np.testing.assert_array_equal(np.asarray(image), images[number])
            np.testing.assert_array_equal(mask, masks[number])
    (tmp_path / "other.mat").write_bytes(b"MATLAB 5.0")
    with (
        pytest.raises(UserError, match="not in ImageNet-Segmentation's format"),
        open_masks("unused", f"{tmp_path}/other.mat"),
    ):
        pass


def test_a_file_of_masks_that_do_not_fit(tmp_path: Path) -> None:
    image, mask = np.zeros((5, 7, 3), dtype=np.uint8), np.zeros((7, 5), dtype=np.uint8)
    for wrong in (([image], [mask]), ([image[..., 0]], [mask]), ([image.astype(float)], [mask.T])):
        path = matlab_file(tmp_path / "wrong.mat", *wrong)
        with pytest.raises(UserError, match="pair 0 is"), open_masks("unused", path) as scenes:
            assert scenes is not None
            scenes.pair(0)
