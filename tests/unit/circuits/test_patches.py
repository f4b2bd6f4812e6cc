"""Patches beside zennit-crp, and by gradients where LRP has no rules."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import pytest
import torch

from helpers import CIFAR_RESNET, make_model
from purelens.bench.reference.boxes import published_box
from purelens.circuits.activations import activations
from purelens.circuits.patches import Cut, patches
from purelens.circuits.relevances import relevances
from purelens.circuits.tables import Circuits
from purelens.errors import UserError
from purelens.networks.imports import torchvision
from purelens.networks.loading import load_network
from purelens.networks.subnetwork import LayerView
from purelens.storage.provenance import Execution
from support import canonical
from support.layers import images_of

LAYER, LOWER = "layer3", ["layer3.0", "layer2"]


def crp_heatmap(module: torch.nn.Module, image: torch.Tensor, neuron: int, position: int) -> torch.Tensor:
    """zennit-crp's heatmap of one unit."""
    torchvision()
    from crp.attribution import CondAttribution
    from crp.concepts import ChannelConcept
    from zennit.canonizers import SequentialMergeBatchNorm
    from zennit.composites import EpsilonPlusFlat

    attribution = CondAttribution(module)
    return (
        attribution(
            image[None].clone().requires_grad_(),
            [{LAYER: {neuron: position}}],
            EpsilonPlusFlat([SequentialMergeBatchNorm()]),
            mask_map=ChannelConcept.mask_rf,
            start_layer=LAYER,
            exclude_parallel=False,
        )
        .heatmap[0]
        .detach()
    )


def canonical_network(paths: dict[str, Any]) -> torch.nn.Module:
    path, _ = CIFAR_RESNET.rsplit(":", 1)
    module = canonical.cifar_resnet(path, depth=14, num_classes=2)
    module.load_state_dict(load_network(*paths["model"]).module.state_dict())
    return module.eval()


def test_patches_are_those_of_zennit_crp(small: dict[str, Any], run_stage: Callable[..., str]) -> None:
    references = run_stage(activations, layer=LayerView(LAYER), n_references=6)
    path = run_stage(
        patches,
        activations_h5=references,
        layer=LayerView(LAYER),
        neurons=["0-7"],
        cut=Cut(crop_rule="published"),
        execution=Execution(batch_size=5),
    )
    images = images_of(small)
    module = canonical_network(small)
    compared, equal = 0, 0
    with h5py.File(path) as file, h5py.File(references) as top:
        for row, neuron in enumerate(file["neuron"][...]):
            for rank, image in enumerate(file["reference_id"][row]):
                if image < 0:
                    assert file["box"][row, rank].tolist() == [-1, -1, -1, -1]
                    continue
                heat = crp_heatmap(module, images[image], int(neuron), int(top["reference_position"][neuron, rank]))
                compared += 1
                equal += file["box"][row, rank].tolist() == published_box(heat)
    assert compared > 30
    assert equal == compared


def test_gradient_patches_of_a_transformer(small: dict[str, Any], tmp_path: Path) -> None:
    options = {"img_size": 32, "patch_size": 8, "num_classes": 2, "depth": 2}
    paths: dict[str, Any] = {
        "images_h5": small["images_h5"],
        "model": (f"{tmp_path}/m.safetensors", f"{tmp_path}/m.json"),
    }
    make_model(paths, "random", "timm:vit_tiny_patch16_224", options)
    layer = LayerView("blocks.1.mlp.act")
    activations(**paths, activations_h5=f"{tmp_path}/a.h5", layer=layer, n_references=4)
    stage = {**paths, "activations_h5": f"{tmp_path}/a.h5", "layer": layer, "neurons": [0, 1]}
    relevances(**stage, relevances_h5=f"{tmp_path}/r.h5", circuits=Circuits(["blocks.0.mlp.act"]))
    patches(**stage, patches_h5=f"{tmp_path}/p.h5", attribution="gradient")
    with h5py.File(f"{tmp_path}/p.h5") as file, h5py.File(f"{tmp_path}/a.h5") as top:
        present = file["reference_id"][...] >= 0
        assert (file["box"][...][present][:, 2] > file["box"][...][present][:, 0]).all()
        assert top["reference_position"][...].max() < 17
    with pytest.raises(UserError, match="attribution: gradient"):
        patches(**stage, patches_h5=f"{tmp_path}/q.h5")
