"""Sizes of published CLIPs, and models that cannot be read."""

import json
from pathlib import Path

import pytest

from purelens.errors import UserError
from purelens.lens.clip_shape import clip_shape
from support.lens import CLIP


@pytest.mark.parametrize(
    ("architecture", "weights", "message"),
    [
        ("RN50", "random", "RN50: images go through a ResNet, not through open_clip's vision transformer"),
        ("ViT-B-16-SigLIP", "random", "images go through vit_base_patch16_siglip_224"),
        ("coca_ViT-B-32", "random", "pooled, not read from the class token"),
        ("ViT-B-32", "openai", "were trained with QuickGELU, which the model does not use; take ViT-B-32-quickgelu"),
        ("ViT-L-14-quickgelu", "laion2b_s32b_b82k", "has no pretrained tag"),
    ],
)
def test_models_that_the_lens_cannot_read(architecture: str, weights: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        clip_shape(architecture, weights)


def test_shapes_of_published_models() -> None:
    small = clip_shape("ViT-B-32-quickgelu", "openai")
    assert (small.layers, small.heads, small.neurons, small.components) == (12, 12, 3072, 512)
    large = clip_shape("ViT-L-14", "laion2b_s32b_b82k")
    assert (large.layers, large.heads, large.neurons, large.components) == (24, 16, 4096, 768)


def test_images_that_are_no_squares(tmp_path: Path) -> None:
    path = tmp_path / "oblong_clip.json"
    path.write_text(json.dumps({**CLIP, "vision_cfg": {**CLIP["vision_cfg"], "image_size": [16, 8]}}))
    with pytest.raises(UserError, match="its images are no squares"):
        clip_shape(str(path), "random")
