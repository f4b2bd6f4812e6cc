"""Fixtures of several packages."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from helpers import CIFAR_RESNET, make_model
from purelens.circuits.activations import activations
from purelens.circuits.alignment import alignment
from purelens.circuits.embeddings import embeddings
from purelens.circuits.interpretability import interpretability
from purelens.circuits.patches import patches
from purelens.circuits.projections import projections
from purelens.circuits.relevances import relevances
from purelens.circuits.tables import Circuits
from purelens.circuits.virtual_neurons import virtual_neurons
from purelens.networks.checkpoints import read_checkpoint
from purelens.networks.embedders import build_clip
from purelens.networks.subnetwork import LayerView
from purelens.numerics.bootstrap import Intervals
from support.layers import DEAD, RARE, SCENE_CLIP
from support.pages import DEAD as DEAD_OF_PAGES
from support.pages import MadeUpLayer, write_images


def largest_activations(paths: dict[str, Any], out: str) -> np.ndarray:
    activations(**paths, activations_h5=out, layer=LayerView("layer3"), n_references=2)
    with h5py.File(out) as file:
        return file["max"][...]


@pytest.fixture(scope="session")
def wounded(small: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The small network with a neuron that is never active, and one that is active on few images."""
    folder = tmp_path_factory.mktemp("wounded")
    state = read_checkpoint(small["model"][0])
    last = "layer3.1"
    state[f"{last}.bn2.weight"][DEAD] = 0
    state[f"{last}.bn2.bias"][DEAD] = -100
    highest = np.sort(largest_activations(small, f"{folder}/a.h5")[:, RARE])[::-1]
    state[f"{last}.bn2.bias"][RARE] -= (highest[6] + highest[7]) / 2
    checkpoint = folder / "wounded.pth"
    torch.save(state, checkpoint)
    paths: dict[str, Any] = {"images_h5": small["images_h5"], "model": (f"{folder}/m.safetensors", f"{folder}/m.json")}
    options = {"depth": 14, "num_classes": 2}
    make_model(paths, str(checkpoint), CIFAR_RESNET, options)
    return paths


@pytest.fixture(scope="session")
def study(wounded: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """All artifacts of eight neurons of the wounded network."""
    folder = tmp_path_factory.mktemp("study")
    names = ("activations", "relevances", "patches", "embeddings", "virtual_neurons")
    out: dict[str, Any] = {name: f"{folder}/{name}.h5" for name in names}
    common: dict[str, Any] = {"layer": LayerView("layer3"), "neurons": ["0-7"]}
    activations(**wounded, activations_h5=out["activations"], layer=LayerView("layer3"), n_references=12)
    stage = {**wounded, "activations_h5": out["activations"]}
    relevances(**stage, relevances_h5=out["relevances"], circuits=Circuits(["layer3.0", "layer2"]), **common)
    patches(**stage, patches_h5=out["patches"], **common)
    settings = {
        "source": "network", "architecture": CIFAR_RESNET, "options": {"depth": 14, "num_classes": 2},
        "weights": wounded["model"][0], "layer": "layer2", "size": 32,
    }  # fmt: skip
    embeddings(wounded["images_h5"], out["patches"], out["embeddings"], settings)
    virtual_neurons(
        out["relevances"], out["activations"], [out["embeddings"]], out["virtual_neurons"], ["net"], [2, 3, 4]
    )
    out["projections"] = f"{folder}/projections.h5"
    projections(out["relevances"], out["projections"], "layer3.0")
    out["interpretability"], out["summary"] = f"{folder}/i.csv", f"{folder}/is.csv"
    out["alignment"], out["alignment_summary"] = f"{folder}/a.csv", f"{folder}/as.csv"
    interpretability(
        out["relevances"], out["virtual_neurons"], [out["embeddings"]], out["interpretability"], out["summary"],
        ["net"], intervals=Intervals(bootstrap=200),
    )  # fmt: skip
    alignment(
        out["relevances"], out["activations"], [out["embeddings"]], out["alignment"], out["alignment_summary"],
        ["net"], intervals=Intervals(bootstrap=200), n_groups=3,
    )  # fmt: skip
    return out | wounded


@pytest.fixture(scope="session")
def clip_weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(3)
    model = build_clip(SCENE_CLIP, "random")
    path = tmp_path_factory.mktemp("clip") / "clip.safetensors"
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, path)
    return str(path)


@pytest.fixture(scope="session")
def layer(tmp_path_factory: pytest.TempPathFactory) -> tuple[MadeUpLayer, Path]:
    """A made-up layer, and the folder of its pages."""
    root = tmp_path_factory.mktemp("pages")
    pixels = np.random.default_rng(1).integers(0, 256, (40, 32, 32, 3), dtype="u1")
    write_images(root / "images.h5", pixels, ["cat", "dog"], [f"{i}.png" for i in range(40)], [])
    made = MadeUpLayer(root / "layer", root / "images.h5", "layer2", "layer1", n_neurons=5, dead=(DEAD_OF_PAGES,))
    made.write(40, 32)
    return made, Path(made.pages(root / "report", "photos", "net", n_references=6, patch_size=16, image_size=24))
