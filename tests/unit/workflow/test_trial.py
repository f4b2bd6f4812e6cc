"""Checkpoints are loaded, and LRP is tried, before the first job."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from helpers import CIFAR_RESNET
from purelens.config.inputs import Dataset, Model
from purelens.config.study import load_config
from purelens.errors import UserError
from purelens.networks.architectures import build_architecture
from purelens.reruns.digests import Digests
from purelens.workflow import trial
from purelens.workflow.preflight import Facts
from purelens.workflow.trial import try_networks
from support.workplace import TINY

NET = """
import torch
from torch import nn

def make(scale=1.0):
    first, second = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3)
    with torch.no_grad():
        second.bias.fill_(scale)
    return nn.Sequential(first, nn.ReLU(), second, nn.ReLU())
"""


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(tmp_path)
    for number in range(8):
        path = tmp_path / "photos/a" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(path)
    (tmp_path / "photos/a/broken.png").write_text("no image")
    (tmp_path / "own.py").write_text(NET)
    model = {"architecture": f"{tmp_path}/own.py:make", "weights": "w.safetensors", "layers": {"3": {}}}
    return {
        **{key: TINY[key] for key in ("results", "references")},
        "datasets": {"photos": {"images": f"{tmp_path}/photos", "size": 16}},
        "models": {"net": model},
        "embedders": {"e": {"source": "timm", "architecture": "resnet10t", "weights": "random"}},
    }


def save(architecture: str, options: dict[str, Any], path: str = "w.safetensors") -> None:
    torch.manual_seed(0)
    save_file(build_architecture(architecture, options).state_dict(), path)


@pytest.mark.parametrize(("scale", "warned"), [(0.01, False), (1e6, True)])
def test_relevance_that_vanishes_is_told_before_the_first_job(
    study: dict[str, Any], scale: float, warned: bool
) -> None:
    """A bias that is far larger than the weights takes all of it."""
    save(study["models"]["net"]["architecture"], {"scale": scale})
    warnings = try_networks(load_config(study), Digests())
    assert [text[:43] for text in warnings] == ["model net, 3: relevance vanishes in this ne"] * warned


def test_what_was_tried_is_not_tried_again(study: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[Model] = []
    original = trial._try_model

    def counted(model: Model, dataset: Dataset | None) -> Facts:
        tried.append(model)
        return original(model, dataset)

    monkeypatch.setattr(trial, "_try_model", counted)
    architecture = study["models"]["net"]["architecture"]
    save(architecture, {"scale": 1e6})
    warnings = try_networks(load_config(study), Digests())
    assert try_networks(load_config(study), Digests()) == warnings != []
    assert len(tried) == 1
    save(architecture, {"scale": 1e5})
    try_networks(load_config(study), Digests())
    assert len(tried) == 2


def test_checkpoints_of_embedding_models(study: dict[str, Any]) -> None:
    save(study["models"]["net"]["architecture"], {})
    save(CIFAR_RESNET, {"depth": 8}, "e.safetensors")
    embedder = {"source": "network", "architecture": CIFAR_RESNET, "layer": "layer3", "size": 16}
    study["embedders"] = {"e": {**embedder, "options": {"depth": 8}, "weights": "e.safetensors"}}
    try_networks(load_config(study), Digests())
    study["embedders"]["e"]["options"] = {"depth": 14}
    with pytest.raises(UserError, match=r"e\.safetensors are not of architecture"):
        try_networks(load_config(study), Digests())
