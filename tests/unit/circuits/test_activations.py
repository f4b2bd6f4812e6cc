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
from purelens.circuits.relevances import relevances
from purelens.circuits.tables import Circuits
from purelens.errors import UserError
from purelens.networks.checkpoints import read_checkpoint
from purelens.networks.loading import load_network
from purelens.networks.subnetwork import LayerView
from purelens.storage.provenance import Execution
from support.layers import DEAD, RARE, clipped_network, images_of

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


def test_ties_at_a_ceiling_are_broken_by_what_the_function_is_given(
    small: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    paths = clipped_network(small["images_h5"], tmp_path)
    activations(**paths, activations_h5=f"{tmp_path}/a.h5", layer=LayerView("act"), n_references=10)
    assert "act ends in hardtanh, which has a ceiling" in caplog.text
    module = load_network(*paths["model"]).module
    before = torch.cat([100 * module.conv(image[None]) for image in images_of(paths)]).amax(dim=(2, 3))  # type: ignore[operator]
    with h5py.File(f"{tmp_path}/a.h5") as file:
        np.testing.assert_allclose(file["max"][...], before.clamp(0, 6), rtol=1e-4, atol=1e-4)
        assert file["reference_id"][...].tolist() == circuits.references(before, 10)
        assert (file["reference_value"][...] > 6).any()
    relevances(
        **paths, activations_h5=f"{tmp_path}/a.h5", relevances_h5=f"{tmp_path}/r.h5", layer=LayerView("act"),
        circuits=Circuits(["conv"], skip_channels="keep", normalize="none"), neurons=[0],
    )  # fmt: skip
    with h5py.File(f"{tmp_path}/r.h5") as file:
        assert np.abs(file["relevance/conv"][0]).sum(axis=1).min() > 0  # at the ceiling no gradient would flow


@pytest.mark.parametrize("criterion", ["mean", "preactivation"])
def test_other_criteria(small: dict[str, Any], run_stage: Callable[..., str], criterion: str) -> None:
    path = run_stage(activations, layer=LayerView(LAYER), n_references=7, reference_criterion=criterion)
    with h5py.File(path) as file:
        ranked = torch.from_numpy(file["mean" if criterion == "mean" else "max"][...])
        assert file["reference_id"][...].tolist() == circuits.references(ranked, 7)


def test_relevance_is_for_the_predicted_class(small: dict[str, Any], run_stage: Callable[..., str]) -> None:
    path = run_stage(activations, layer=LayerView(LAYER), n_references=7, reference_criterion="relevance")
    network, images = load_network(*small["model"]), images_of(small)
    expected = []
    for image in images:
        kept: list[torch.Tensor] = []
        layer = network.module.get_submodule(LAYER)

        def keep(_: object, __: object, output: torch.Tensor, kept: list[torch.Tensor] = kept) -> torch.Tensor:
            kept.append(output.detach().requires_grad_())
            return kept[0] * 1

        handle = layer.register_forward_hook(keep)
        with torch.enable_grad():
            logits = network.module(image[None])[0]
            gradient = torch.autograd.grad(logits[logits.argmax()], kept)[0]
        handle.remove()
        expected.append((kept[0] * gradient).sum(dim=(2, 3))[0].detach())
    ranked = torch.stack(expected)
    with h5py.File(path) as file:
        ids, values = file["reference_id"][...], file["reference_value"][...]
        order = torch.sort(ranked, dim=0, descending=True)[0][:7].T.clamp(min=0)
        np.testing.assert_allclose(values, order, atol=1e-4 * float(order.max()))
        for neuron in range(0, 64, 9):
            own = ids[neuron][ids[neuron] >= 0]
            np.testing.assert_allclose(ranked[own, neuron], values[neuron, : len(own)], atol=1e-4 * float(order.max()))
        plain = run_stage_max(small, path)
        np.testing.assert_allclose(file["max"][...], plain, rtol=1e-5)


def run_stage_max(small: dict[str, Any], path: str) -> np.ndarray:
    activations(**small, activations_h5=f"{path}.max.h5", layer=LayerView(LAYER), n_references=7)
    with h5py.File(f"{path}.max.h5") as file:
        return file["max"][...]


def test_relevance_needs_classes(small: dict[str, Any], tmp_path: Path) -> None:
    network = tmp_path / "features.py"
    network.write_text(
        "import torch\n\n\nclass Net(torch.nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.conv = torch.nn.Conv2d(3, 4, 3)\n\n    def forward(self, x):\n        return self.conv(x)\n\n\n"
        "def net():\n    return Net()\n"
    )
    paths: dict[str, Any] = {
        "images_h5": small["images_h5"],
        "model": (f"{tmp_path}/m.safetensors", f"{tmp_path}/m.json"),
    }
    make_model(paths, "random", f"{network}:net", {})
    with pytest.raises(UserError, match="one output for each class"):
        activations(
            **paths, activations_h5=f"{tmp_path}/a.h5", layer=LayerView("conv"), n_references=2,
            reference_criterion="relevance",
        )  # fmt: skip
