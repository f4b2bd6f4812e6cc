"""Embedders: published classes with local weights, tokens, networks, files; equal patches embedded once."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from helpers import CIFAR_RESNET, ROOT
from purelens.circuits.activations import activations
from purelens.circuits.embeddings import embeddings, stretched, unique_patches
from purelens.circuits.patches import patches
from purelens.errors import UserError
from purelens.networks.embedders import build_clip, load_embedder, read_embeddings
from purelens.networks.imports import open_clip
from purelens.networks.loading import build_network

CPU = torch.device("cpu")
SCENE_CLIP = str(ROOT / "workflow_scripts/purelens/world/scene_clip.json")


@pytest.fixture(scope="module")
def clip_weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(3)
    model = build_clip(SCENE_CLIP, "random")
    path = tmp_path_factory.mktemp("clip") / "clip.safetensors"
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, path)
    return str(path)


def test_a_local_clip_gives_open_clips_embeddings(clip_weights: str) -> None:
    embedder = load_embedder("open_clip", {"architecture": SCENE_CLIP, "weights": clip_weights}, CPU)
    library = open_clip()
    model, _, preprocess = library.create_model_and_transforms("scene_clip", pretrained=clip_weights)
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8))
    pixels = torch.from_numpy(embedder.geometry.apply(picture))[None]
    wanted = model.eval().encode_image(preprocess(picture)[None]).detach()
    torch.testing.assert_close(embedder.embed(pixels), wanted, rtol=1e-4, atol=1e-4)


def test_tokens_are_the_last_hidden_state(clip_weights: str) -> None:
    settings = {"architecture": SCENE_CLIP, "weights": clip_weights, "output": "tokens"}
    embedder = load_embedder("open_clip", settings, CPU)
    pixels = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8)
    visual = embedder.network.module.visual
    hidden: list[torch.Tensor] = []
    handle = visual.transformer.register_forward_hook(lambda _, __, output: hidden.append(output))
    with torch.no_grad():
        visual(embedder.network.normalize(pixels))
    handle.remove()
    assert hidden[0].shape == (2, 65, 96)
    torch.testing.assert_close(embedder.embed(pixels), hidden[0].mean(dim=1))


def test_timm_models_and_their_tokens() -> None:
    settings = {"architecture": "vit_tiny_patch16_224", "weights": "random", "size": 32}
    pixels = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8)
    pooled = load_embedder("timm", settings, CPU, seed=1)
    tokens = load_embedder("timm", settings | {"output": "tokens"}, CPU, seed=1)
    with torch.no_grad():
        hidden = tokens.network.module.forward_features(tokens.network.normalize(pixels))
    assert pooled.embed(pixels).shape == (2, 192)
    torch.testing.assert_close(tokens.embed(pixels), hidden.mean(dim=1))
    assert pooled.geometry.resize == int(32 / 0.9)


def test_a_layer_of_any_network(small: dict[str, str]) -> None:
    settings = {"architecture": CIFAR_RESNET, "options": {"depth": 14, "num_classes": 2}, "layer": "layer2", "size": 32}
    embedder = load_embedder("network", settings | {"weights": small["weights"]}, CPU)
    pixels = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8)
    network = build_network(CIFAR_RESNET, settings["options"], small["weights"])
    module, images = network.module, network.normalize(pixels)
    wanted = module.layer2(module.layer1(torch.relu(module.bn1(module.conv1(images))))).mean(dim=(2, 3))
    torch.testing.assert_close(embedder.embed(pixels), wanted)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"architecture": "ViT-B-33", "weights": "openai"}, r"no model 'ViT-B-33' \(did you mean 'ViT-B-32"),
        ({"architecture": "ViT-B-32", "weights": "openia"}, r"no pretrained tag 'openia' \(did you mean 'openai'\?\)"),
        ({"architecture": "gone.json", "weights": "random"}, "there is no model config gone.json"),
        ({"architecture": SCENE_CLIP, "weights": "gone.safetensors"}, "there is no file gone.safetensors"),
    ],
)
def test_clips_that_are_none(settings: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_embedder("open_clip", settings, CPU)


def test_a_checkpoint_of_another_clip(small: dict[str, str]) -> None:
    with pytest.raises(UserError, match="are not of architecture .*scene_clip.json.*missing: .*unexpected: "):
        load_embedder("open_clip", {"architecture": SCENE_CLIP, "weights": small["weights"]}, CPU)


def test_files_of_embeddings(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(5, 3)).astype("f4")
    np.save(tmp_path / "e.npy", values)
    save_file({"embedding": torch.from_numpy(values), "other": torch.zeros(2)}, tmp_path / "e.safetensors")
    with h5py.File(tmp_path / "e.h5", "w") as file:
        file["anything"] = values
    for name in ("e.npy", "e.safetensors", "e.h5"):
        np.testing.assert_array_equal(read_embeddings(str(tmp_path / name)), values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((2, 3, 4)), r"must hold floats \(images, components\)"),
        (np.zeros((2, 3), dtype=int), "must hold floats"),
        (np.array([[1.0], [np.nan]]), "NaN or infinite in row 1"),
        (np.array([{"a": 1}], dtype=object), "cannot read"),
    ],
)
def test_bad_files_of_embeddings(tmp_path: Path, values: np.ndarray, message: str) -> None:
    np.save(tmp_path / "e.npy", values)
    with pytest.raises(UserError, match=message):
        read_embeddings(str(tmp_path / "e.npy"))


@pytest.fixture
def located(small: dict[str, str], run_stage: Callable[..., str]) -> str:
    references = run_stage(activations, layer="layer3", n_references=6)
    return run_stage(patches, activations_h5=references, layer="layer3", neurons=["0-3"])


def test_embeddings_of_whole_images_from_a_file(located: str, small: dict[str, str], tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(40, 3)).astype("f4")
    np.save(tmp_path / "e.npy", values)
    out = str(tmp_path / "out.h5")
    embeddings(small["images_h5"], located, out, {"source": "file", "weights": str(tmp_path / "e.npy")})
    with h5py.File(out) as file:
        ids = file["reference_id"][...]
        np.testing.assert_array_equal(file["embedding"][...][ids >= 0], values[ids[ids >= 0]])
        assert (file["embedding"][...][ids < 0] == 0).all()
    np.save(tmp_path / "e.npy", values[1:])
    with pytest.raises(UserError, match="has 39 rows, but the images' source lists 40"):
        embeddings(small["images_h5"], located, out, {"source": "file", "weights": str(tmp_path / "e.npy")})


def test_patches_are_cut_stretched_and_embedded(
    located: str, small: dict[str, str], tmp_path: Path, clip_weights: str
) -> None:
    settings = {"source": "open_clip", "architecture": SCENE_CLIP, "weights": clip_weights}
    out = str(tmp_path / "out.h5")
    embeddings(small["images_h5"], located, out, settings, batch_size=5)
    embedder = load_embedder("open_clip", {k: v for k, v in settings.items() if k != "source"}, CPU)
    with h5py.File(out) as file, h5py.File(located) as where, h5py.File(small["images_h5"]) as images:
        for row, rank in [(0, 0), (1, 3), (3, 5)]:
            top, left, bottom, right = where["box"][row, rank]
            patch = images["pixels"][where["reference_id"][row, rank]][top:bottom, left:right]
            picture = Image.fromarray(stretched(patch))
            wanted = embedder.embed(torch.from_numpy(embedder.geometry.apply(picture))[None])[0]
            np.testing.assert_allclose(file["embedding"][row, rank], wanted, rtol=1e-3, atol=1e-4)


def test_stretch_is_zennits() -> None:
    from zennit.image import imgify

    patch = np.random.default_rng(0).integers(40, 190, (9, 7, 3), dtype=np.uint8)
    wanted = np.asarray(imgify(torch.from_numpy(patch).permute(2, 0, 1).float() / 255))
    assert np.abs(stretched(patch).astype(int) - wanted).max() <= 1
    assert stretched(np.full((3, 3, 3), 7, dtype=np.uint8)).max() == 0


def test_equal_patches_are_one() -> None:
    ids = np.array([[4, 2, -1], [4, 4, 2]])
    box = np.zeros((2, 3, 4), dtype=np.int16)
    box[:, :, 2:] = 8
    box[1, 1, 0] = 3
    patches_, pairs = unique_patches(ids, box)
    assert patches_[:, 0].tolist() == [2, 4, 4]
    assert [p.tolist() for p in pairs] == [[1, 5], [0, 3], [4]]
