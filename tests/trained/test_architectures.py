"""The table of networks in the docs: what it says holds, with random weights."""

import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from helpers import ROOT, make_model
from purelens.circuits.activations import activations
from purelens.circuits.attribution import Attribution
from purelens.data.dataset import dataset
from purelens.errors import UserError
from purelens.networks.architectures import build_architecture
from purelens.networks.inspection import Inspection
from purelens.networks.loading import load_network
from purelens.networks.subnetwork import LayerView, Segment

OPTIONS: dict[str, dict[str, Any]] = {
    "torchvision:inception_v3": {"init_weights": False, "aux_logits": False},
    "timm:vit_small_patch14_reg4_dinov2": {"img_size": 56},
}
SIZES = {
    "torchvision:inception_v3": 96,
    "timm:deit_tiny_distilled_patch16_224": 224,
    "timm:vit_small_patch14_reg4_dinov2": 56,
}
N_IMAGES, N_REFERENCES, NEURONS = 5, 3, (0, 1, 7, 12, 20, 30)

TABLE = [
    [cell.strip().strip("`") for cell in line.strip("|").split("|")]
    for line in (ROOT / "docs/networks.md").read_text().splitlines()
    if re.match(r"\| `(torchvision|timm):", line)
]


def size_of(architecture: str) -> int:
    return SIZES.get(architecture, 64)


def maps(output: torch.Tensor, axis: str) -> torch.Tensor:
    """Neurons second, positions third, by the axis that the table names."""
    return (output if axis == "first" else output.movedim(-1, 1)).flatten(2)


def plain(module: torch.nn.Module, names: list[str], image: torch.Tensor) -> list[torch.Tensor]:
    """Outputs of layers in one whole forward pass of one image."""
    found: dict[str, torch.Tensor] = {}
    layers = dict(module.named_modules())
    handles = [layers[n].register_forward_hook(lambda *a, n=n: found.update({n: a[2]})) for n in names]
    module(image)
    for handle in handles:
        handle.remove()
    return [found[name] for name in names]


def test_the_table_has_ten_networks() -> None:
    assert len({row[0] for row in TABLE}) == len(TABLE) == 10


@pytest.mark.parametrize("row", TABLE, ids=[row[0] for row in TABLE])
def test_lrp_is_as_the_table_says(row: list[str]) -> None:
    architecture, layer, lower, _, lrp, gradient = row
    inspection = Inspection(architecture, OPTIONS.get(architecture, {}), size_of(architecture))
    inspection.check_layer(LayerView(layer), [lower])
    inspection.check_independent(layer, [lower])
    assert gradient == "yes"
    if lrp == "yes":
        inspection.check_rules(layer)
    else:
        with pytest.raises(UserError, match="set attribution: gradient"):
            inspection.check_rules(layer)


@pytest.mark.parametrize("row", TABLE, ids=[row[0] for row in TABLE])
def test_relevances_are_those_of_plain_automatic_differentiation(row: list[str]) -> None:
    architecture, layer, lower, axis, *_ = row
    torch.manual_seed(0)
    module = build_architecture(architecture, OPTIONS.get(architecture, {}))
    size = size_of(architecture)
    images = torch.randn(2, 3, size, size, dtype=torch.double)
    with Segment(module, layer, [lower]) as segment:
        view, _ = segment.resolve(LayerView(layer), size)
        module.double()
        attribution = Attribution(segment, view, "none")
        attribution.forward(images)
        found = {n: attribution.backward(np.array([0, 1]), np.array([n, n]))[lower] for n in NEURONS}
    n_active = 0
    for image in range(2):
        top, below = plain(module, [layer, lower], images[image : image + 1].requires_grad_())
        for neuron in NEURONS:
            objective = 0.5 * maps(top, axis)[0, neuron].clamp(min=0).square().sum()
            (gradient,) = torch.autograd.grad(objective, below, retain_graph=True)
            expected = maps(below * gradient, axis).sum(dim=2)[0]
            largest = expected.abs().max()
            n_active += int(largest > 0)
            assert (found[neuron][image] - expected).abs().max() <= 1e-6 * largest, (neuron, image)
    assert n_active >= 3


@pytest.mark.parametrize("row", TABLE, ids=[row[0] for row in TABLE])
def test_references_are_those_of_one_forward_pass_per_image(row: list[str], tmp_path: Path) -> None:
    architecture, layer, _, axis, *_ = row
    size = size_of(architecture)
    pixels = np.random.default_rng(0).integers(0, 256, (N_IMAGES, size, size, 3), dtype=np.uint8)
    with h5py.File(tmp_path / "source.h5", "w") as file:
        file["pixels"] = pixels
    dataset(str(tmp_path / "source.h5"), str(tmp_path / "images.h5"), size=size)
    stored = (str(tmp_path / "model.safetensors"), str(tmp_path / "model.json"))
    paths = {"images_h5": str(tmp_path / "images.h5"), "model": stored}
    make_model(paths, "random", architecture, OPTIONS.get(architecture, {}))
    activations(paths["images_h5"], stored, str(tmp_path / "a.h5"), LayerView(layer), N_REFERENCES)  # type: ignore[arg-type]
    network = load_network(*stored)
    with torch.no_grad():
        largest = [
            maps(plain(network.module, [layer], network.prepare(pixels[i : i + 1]))[0], axis)[0].amax(dim=1)
            for i in range(N_IMAGES)
        ]
    expected = torch.stack(largest).numpy()
    with h5py.File(tmp_path / "a.h5") as file:
        np.testing.assert_allclose(file["max"][...], expected, rtol=1e-4, atol=1e-5)
        ids, values = file["reference_id"][...], file["reference_value"][...]
    ranked = np.sort(expected, axis=0)[::-1][:N_REFERENCES].T
    np.testing.assert_allclose(np.where(ids >= 0, values, 0), ranked.clip(min=0), rtol=1e-4, atol=1e-5)
    rows, slots = np.nonzero(ids >= 0)
    np.testing.assert_allclose(expected[ids[rows, slots], rows], values[rows, slots], rtol=1e-4, atol=1e-5)
