"""Checkpoints as libraries and wrappers save them: they are loaded rightly, or refused in one line."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from helpers import CIFAR_RESNET, ROOT
from purelens.errors import UserError
from purelens.networks.architectures import build_architecture
from purelens.networks.embedders import build_clip
from purelens.networks.imports import open_clip, timm
from purelens.networks.loading import build_network

DEIT = {"depth": 1, "embed_dim": 32, "num_heads": 2}
SCENE_CLIP = ROOT / "workflow_scripts/purelens/world/scene_clip.json"


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "_orig_mod.module.", "model._orig_mod."])
def test_names_with_what_wrappers_put_before_them(tmp_path: Path, prefix: str) -> None:
    state = build_architecture(CIFAR_RESNET, {"depth": 8}).state_dict()
    torch.save({f"{prefix}{key}": value for key, value in state.items()}, tmp_path / "w.pt")
    loaded = build_network(CIFAR_RESNET, {"depth": 8}, str(tmp_path / "w.pt")).module.state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in state.items())


@pytest.mark.parametrize("safetensors", [True, False])
def test_files_without_a_suffix_are_known_by_their_first_bytes(tmp_path: Path, safetensors: bool) -> None:
    state = build_architecture(CIFAR_RESNET, {"depth": 8}).state_dict()
    (save_file if safetensors else torch.save)(state, tmp_path / "a1b2c3")
    loaded = build_network(CIFAR_RESNET, {"depth": 8}, str(tmp_path / "a1b2c3")).module.state_dict()
    assert torch.equal(loaded["conv1.weight"], state["conv1.weight"])


def small_network(kind: str) -> nn.Module:
    """A network, wrapped."""
    inner = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 1))
    if kind == "compiled":
        return torch.compile(inner)  # type: ignore[return-value]
    if kind == "compiled inside":
        inner[0] = torch.compile(inner[0])  # type: ignore[assignment]
    if kind == "parallel":
        return nn.DataParallel(inner)
    if kind == "scripted":
        return torch.jit.script(inner)
    if kind == "traced inside":
        inner[0] = torch.jit.trace(inner[0], torch.zeros(1, 3, 4, 4))
    if kind == "lazy":
        inner[0] = nn.LazyConv2d(4, 1)
    if kind == "fx":
        return torch.fx.symbolic_trace(inner)
    return inner


@pytest.mark.parametrize("kind", ["compiled", "compiled inside", "parallel", "fx"])
def test_wrappers_are_taken_off(kind: str) -> None:
    module = build_architecture(f"{__file__}:small_network", {"kind": kind})
    assert {"0", "1", "2"} <= dict(module.named_modules()).keys()
    assert not any("_orig_mod" in name for name in module.state_dict())


@pytest.mark.parametrize(
    ("kind", "message"),
    [("scripted", "the network is scripted or traced"), ("traced inside", "module '0' is scripted"), ("lazy", "lazy")],
)
def test_modules_that_nothing_can_look_into_are_refused(kind: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_architecture(f"{__file__}:small_network", {"kind": kind})


def test_timm_adapts_a_checkpoint_of_its_own(tmp_path: Path) -> None:
    """A classifier that is not wanted, and positions of another image size."""
    whole = timm().create_model("test_resnet").state_dict()
    save_file(whole, tmp_path / "r.safetensors")
    loaded = build_network("timm:test_resnet", {"num_classes": 0}, str(tmp_path / "r.safetensors")).module.state_dict()
    assert all(torch.equal(loaded[key], whole[key]) for key in loaded)
    save_file(
        timm().create_model("vit_small_patch14_dinov2", num_classes=0, **DEIT).state_dict(), tmp_path / "d.safetensors"
    )
    options = {**DEIT, "num_classes": 0, "img_size": 224}
    module: Any = build_network("timm:vit_small_patch14_dinov2", options, str(tmp_path / "d.safetensors")).module
    overlay = {"file": str(tmp_path / "d.safetensors")}
    right = timm().create_model("vit_small_patch14_dinov2", pretrained=True, pretrained_cfg_overlay=overlay, **options)
    assert all(torch.equal(value, right.state_dict()[key]) for key, value in module.state_dict().items())


def test_timm_leaves_no_weight_random(tmp_path: Path) -> None:
    state = timm().create_model("test_resnet").state_dict()
    save_file({key: value for key, value in state.items() if "layer1" not in key}, tmp_path / "r.safetensors")
    with pytest.raises(UserError, match="missing: layer1"):
        build_network("timm:test_resnet", {"num_classes": 0}, str(tmp_path / "r.safetensors"))


def test_open_clip_adapts_a_checkpoint_of_its_own(tmp_path: Path) -> None:
    model = build_clip(str(SCENE_CLIP), "random")
    state = {key: value.contiguous() for key, value in model.state_dict().items()}
    save_file(state, tmp_path / "c.safetensors")
    settings = json.loads(SCENE_CLIP.read_text())
    settings["vision_cfg"]["image_size"] = 96
    (tmp_path / "scene96.json").write_text(json.dumps(settings))
    loaded = build_clip(str(tmp_path / "scene96.json"), str(tmp_path / "c.safetensors")).state_dict()
    assert torch.equal(loaded["visual.conv1.weight"], state["visual.conv1.weight"])
    del state["visual.conv1.weight"]
    save_file(state, tmp_path / "less.safetensors")
    with pytest.raises(UserError, match="missing: visual.conv1.weight"):
        build_clip(str(tmp_path / "scene96.json"), str(tmp_path / "less.safetensors"))


def test_models_in_a_folder(tmp_path: Path) -> None:
    state = {key: value.contiguous() for key, value in build_clip(str(SCENE_CLIP), "random").state_dict().items()}
    save_file(state, tmp_path / "open_clip_model.safetensors")
    config = {"model_cfg": json.loads(SCENE_CLIP.read_text()), "preprocess_cfg": {}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    loaded = build_clip(f"local-dir:{tmp_path}", "published").state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in state.items())
    assert open_clip().create_model(f"local-dir:{tmp_path}") is not None
    with pytest.raises(UserError, match="cannot be had"):
        build_clip(f"local-dir:{tmp_path}/none", "published")


def timm_folder(folder: Path, state: dict[str, torch.Tensor]) -> str:
    config = {
        "architecture": "test_resnet",
        "num_classes": 1000,
        "pretrained_cfg": {"num_classes": 1000, "classifier": "fc"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    save_file(state, folder / "model.safetensors")
    return f"timm:local-dir:{folder}"


def test_a_timm_model_in_a_folder_has_no_random_weights(tmp_path: Path) -> None:
    state = timm().create_model("test_resnet").state_dict()
    name = timm_folder(tmp_path, state)
    loaded = build_network(name, {"num_classes": 0}, "published").module.state_dict()
    assert all(torch.equal(loaded[key], state[key]) for key in loaded)
    timm_folder(tmp_path, {key: value for key, value in state.items() if "layer1" not in key})
    with pytest.raises(UserError, match="layer1"):
        build_network(name, {"num_classes": 0}, "published")


def test_timm_drops_no_weights_but_those_of_the_classifier(tmp_path: Path) -> None:
    state = timm().create_model("test_resnet").state_dict()
    save_file({**state, "adapter.weight": torch.zeros(2)}, tmp_path / "r.safetensors")
    with pytest.raises(UserError, match="unexpected: .*adapter.weight"):
        build_network("timm:test_resnet", {"num_classes": 0}, str(tmp_path / "r.safetensors"))


def test_an_open_clip_folder_without_weights_is_no_model(tmp_path: Path) -> None:
    config = {"model_cfg": json.loads(SCENE_CLIP.read_text()), "preprocess_cfg": {}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="cannot be had"):
        build_clip(f"local-dir:{tmp_path}", "published")
    build_clip(f"local-dir:{tmp_path}", "random")
