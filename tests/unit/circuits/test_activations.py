"""Activations and references beside their definition; dead neurons, few images, NaN, little memory."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from helpers import CIFAR_RESNET, make_model
from purelens.bench.reference import circuits
from purelens.circuits.activations import activations
from purelens.errors import UserError
from purelens.networks.checkpoints import read_checkpoint
from purelens.networks.loading import load_network
from purelens.networks.subnetwork import LayerView
from purelens.storage.provenance import Execution
from support.layers import DEAD, RARE, images_of

LAYER, LOWER = "layer3", ["layer3.0", "layer2"]


def test_activations_and_references_are_the_definition(small: dict[str, Any], run_stage: Callable[..., str]) -> None:
    path = run_stage(activations, layer=LayerView(LAYER), n_references=7, execution=Execution(batch_size=9))
    module = load_network(*small["model"]).module
    maps = torch.cat([circuits.outputs(module, [LAYER], image[None])[LAYER] for image in images_of(small)])
    with h5py.File(path) as file:
        np.testing.assert_allclose(file["mean"][...], maps.mean(dim=(2, 3)), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(file["max"][...], maps.amax(dim=(2, 3)), rtol=1e-5, atol=1e-6)
        expected = circuits.references(torch.from_numpy(file["max"][...]), 7)
        assert file["reference_id"][...].tolist() == expected
        ids, positions = file["reference_id"][...], file["reference_position"][...]
        flat = maps.flatten(2)
        for neuron, rank in np.argwhere(ids >= 0):
            there = flat[ids[neuron, rank], neuron, positions[neuron, rank]]
            assert there == pytest.approx(file["reference_value"][neuron, rank], rel=1e-5)


def test_dead_and_rare_neurons_have_missing_references(study: dict[str, Any]) -> None:
    with h5py.File(study["activations"]) as file:
        counts = (file["reference_id"][...] >= 0).sum(axis=1)
        assert counts[DEAD] == 0
        assert counts[RARE] == 7
        assert counts[0] == 12
        assert (file["reference_value"][DEAD] == 0).all()
        assert (file["reference_position"][DEAD] == -1).all()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_activations_that_are_not_finite(small: dict[str, Any], tmp_path: Path, value: float) -> None:
    state = read_checkpoint(small["model"][0])
    state["layer3.1.bn2.bias"][7] = value
    torch.save(state, tmp_path / "m.pth")
    paths: dict[str, Any] = {
        "images_h5": small["images_h5"],
        "model": (f"{tmp_path}/m.safetensors", f"{tmp_path}/m.json"),
    }
    options = {"depth": 14, "num_classes": 2}
    make_model(paths, f"{tmp_path}/m.pth", CIFAR_RESNET, options)
    with pytest.raises(UserError, match="layer 'layer3': neuron 7 is NaN or infinite on image 0"):
        activations(**paths, activations_h5=f"{tmp_path}/a.h5", layer=LayerView("layer3"), n_references=3)
    assert not (tmp_path / "a.h5").exists()


def test_more_references_than_images(small: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="50 requested, but .* has only 40 images"):
        activations(**small, activations_h5=f"{tmp_path}/a.h5", layer=LayerView("layer3"), n_references=50)


def test_memory_that_ends_halves_the_batch(run_stage: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run_stage(activations, layer=LayerView("layer3"), n_references=4, execution=Execution(batch_size=10))
    with h5py.File(whole) as file:
        expected = file["reference_id"][...], file["mean"][...]
    module_forward = torch.nn.Module.__call__

    def forward(self: torch.nn.Module, *args: torch.Tensor, **kwargs: object) -> torch.Tensor:
        if type(self).__name__ == "CifarResNet" and len(args[0]) > 6:
            raise torch.OutOfMemoryError("no room")
        return module_forward(self, *args, **kwargs)

    monkeypatch.setattr(torch.nn.Module, "__call__", forward)
    with h5py.File(
        run_stage(activations, layer=LayerView("layer3"), n_references=4, execution=Execution(batch_size=10))
    ) as file:
        np.testing.assert_array_equal(file["reference_id"][...], expected[0])
        np.testing.assert_allclose(file["mean"][...], expected[1], rtol=1e-5)
