"""Heatmaps lie where the patches of the image are."""

import json
from pathlib import Path

import numpy as np
import torch

from purelens.lens.clip import load_clip
from purelens.lens.segmenter import Segmenter, rescaled
from support.lens import BLOCK, CLIP


def test_patches_that_do_not_cover_the_image(tmp_path: Path) -> None:
    """A patch is drawn where it lies; the edge that no patch sees gets what is nearest."""
    path = tmp_path / "uncovered_lens_clip.json"
    path.write_text(json.dumps({**CLIP, "vision_cfg": {**CLIP["vision_cfg"], "image_size": 19}}))
    clip = load_clip({"source": "open_clip", "architecture": str(path), "weights": "random"}, torch.device("cpu"))
    segmenter = Segmenter(clip, [BLOCK], np.eye(32, 12, dtype="f4"), np.eye(3, 12, dtype="f4"), 4)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 19, 19, 3), dtype=np.uint8)
    classes, maps = segmenter(pixels)
    again, grids = segmenter.grids(pixels)
    assert classes.tolist() == again.tolist()
    for method, grid in grids.items():
        large = torch.nn.functional.interpolate(torch.from_numpy(grid)[:, None], size=(16, 16), mode="bilinear")
        expected = rescaled(np.pad(large[:, 0].numpy(), ((0, 0), (0, 3), (0, 3)), mode="edge"))
        np.testing.assert_allclose(maps[method], expected, atol=1e-5)


def test_a_constant_map_is_zero() -> None:
    assert (rescaled(np.full((1, 4, 4), 3.0)) == 0).all()
