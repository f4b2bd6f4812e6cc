"""Embedding models beside the libraries that they come from, and files of embeddings."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from helpers import CIFAR_RESNET
from purelens.errors import UserError
from purelens.networks.embedders import load_embedder
from purelens.networks.imports import open_clip
from purelens.networks.loading import build_network
from support.layers import SCENE_CLIP

CPU = torch.device("cpu")


def test_a_local_clip_gives_open_clips_embeddings(clip_weights: str) -> None:
    embedder = load_embedder("open_clip", {"architecture": SCENE_CLIP, "weights": clip_weights}, CPU)
    library = open_clip()
    model, _, preprocess = library.create_model_and_transforms("scene_clip", pretrained=clip_weights)
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8))
    pixels = embedder.geometry.apply(picture)[None].copy()
    expected = model.eval().encode_image(preprocess(picture)[None]).detach()
    torch.testing.assert_close(embedder.embed(pixels), expected, rtol=1e-4, atol=1e-4)


def test_tokens_are_the_last_hidden_state(clip_weights: str) -> None:
    settings = {"architecture": SCENE_CLIP, "weights": clip_weights, "output": "tokens"}
    embedder = load_embedder("open_clip", settings, CPU)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    visual: Any = embedder.network.module.visual
    hidden: list[torch.Tensor] = []
    handle = visual.transformer.register_forward_hook(lambda _, __, output: hidden.append(output))
    with torch.no_grad():
        visual(embedder.network.prepare(pixels))
    handle.remove()
    assert hidden[0].shape == (2, 65, 96)
    torch.testing.assert_close(embedder.embed(pixels), hidden[0].mean(dim=1))


def test_timm_models_and_their_tokens() -> None:
    settings = {"architecture": "vit_tiny_patch16_224", "weights": "random", "size": 32}
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    pooled = load_embedder("timm", settings, CPU, seed=1)
    tokens = load_embedder("timm", settings | {"output": "tokens"}, CPU, seed=1)
    with torch.no_grad():
        module: Any = tokens.network.module
        hidden = module.forward_features(tokens.network.prepare(pixels))
    assert pooled.embed(pixels).shape == (2, 192)
    torch.testing.assert_close(tokens.embed(pixels), hidden.mean(dim=1))
    assert pooled.geometry.resize == int(32 / 0.9)


def test_a_layer_of_any_network(small: dict[str, Any]) -> None:
    settings: dict[str, Any] = {
        "architecture": CIFAR_RESNET,
        "options": {"depth": 14, "num_classes": 2},
        "layer": "layer2",
        "size": 32,
    }
    embedder = load_embedder("network", settings | {"weights": small["model"][0]}, CPU)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    network = build_network(CIFAR_RESNET, settings["options"], small["model"][0])
    module: Any = network.module
    images = network.prepare(pixels)
    expected = module.layer2(module.layer1(torch.relu(module.bn1(module.conv1(images))))).mean(dim=(2, 3))
    torch.testing.assert_close(embedder.embed(pixels), expected)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"architecture": "ViT-B-33", "weights": "openai"}, r"no model 'ViT-B-33' \(did you mean 'ViT-B-32"),
        ({"architecture": "ViT-B-32", "weights": "openia"}, r"no pretrained tag 'openia' \(did you mean 'openai'\?\)"),
        ({"architecture": "gone.json", "weights": "random"}, "there is no model config gone.json"),
        ({"architecture": SCENE_CLIP, "weights": "gone.safetensors"}, "there is no file gone.safetensors"),
    ],
)
def test_clips_that_are_none(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_embedder("open_clip", settings, CPU)


def test_a_checkpoint_of_another_clip(small: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="are not of architecture .*scene_clip.json.*missing: .*unexpected: "):
        load_embedder("open_clip", {"architecture": SCENE_CLIP, "weights": small["model"][0]}, CPU)
