"""References, relevances and patches against the definition and against zennit-crp."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from helpers import CIFAR_RESNET
from purelens.bench.reference import circuits
from purelens.bench.reference.boxes import published_box
from purelens.circuits.activations import activations
from purelens.circuits.pairs import select_pairs
from purelens.circuits.patches import patches
from purelens.circuits.relevances import relevances
from purelens.circuits.virtual_neurons import virtual_neurons
from purelens.networks.imports import torchvision
from purelens.networks.loading import load_network
from reference import canonical

LAYER, LOWER = "layer3", ["layer3.0", "layer2"]


def images_of(paths: dict[str, str]) -> torch.Tensor:
    network = load_network(paths["weights"], paths["card"])
    with h5py.File(paths["images_h5"]) as file:
        return network.normalize(torch.from_numpy(file["pixels"][...]))


def test_activations_and_references_are_the_definition(small: dict[str, str], run_stage: Callable[..., str]) -> None:
    path = run_stage(activations, layer=LAYER, n_references=7, batch_size=9)
    module = load_network(small["weights"], small["card"]).module
    maps = torch.cat([circuits.outputs(module, [LAYER], image[None])[LAYER] for image in images_of(small)])
    with h5py.File(path) as file:
        np.testing.assert_allclose(file["mean"][...], maps.mean(dim=(2, 3)), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(file["max"][...], maps.amax(dim=(2, 3)), rtol=1e-5, atol=1e-6)
        wanted = circuits.references(torch.from_numpy(file["max"][...]), 7)
        assert file["reference_id"][...].tolist() == wanted
        ids, positions = file["reference_id"][...], file["reference_position"][...]
        flat = maps.flatten(2)
        for neuron, rank in np.argwhere(ids >= 0):
            there = flat[ids[neuron, rank], neuron, positions[neuron, rank]]
            assert there == pytest.approx(file["reference_value"][neuron, rank], rel=1e-5)


def test_relevances_are_the_definition(small: dict[str, str], run_stage: Callable[..., str]) -> None:
    references = run_stage(activations, layer=LAYER, n_references=5)
    path = run_stage(
        relevances, activations_h5=references, layer=LAYER, lower_layers=LOWER, neurons=[3, "10-12"], batch_size=7
    )
    module = load_network(small["weights"], small["card"]).module
    images = images_of(small)
    with h5py.File(path) as file:
        assert file["neuron"][...].tolist() == [3, 10, 11, 12]
        for row, neuron in enumerate(file["neuron"][...]):
            for rank, image in enumerate(file["reference_id"][row]):
                for lower in LOWER:
                    found = file[f"relevance/{lower}"][row, rank]
                    wanted = (
                        circuits.relevance(module, LAYER, lower, int(neuron), images[image][None])
                        if image >= 0
                        else torch.zeros(len(found))
                    )
                    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_every_image_is_forwarded_once_and_nothing_flows_below(
    small: dict[str, str], run_stage: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = {"stem": 0, "below": 0}
    load = load_network

    def counting(*arguments: str):  # type: ignore[no-untyped-def]
        network = load(*arguments)
        stem = network.module.conv1
        stem.register_forward_hook(lambda _, inputs, __: counts.update(stem=counts["stem"] + len(inputs[0])))
        for block in (network.module.conv1, network.module.layer1, network.module.layer2[0]):
            block.register_full_backward_hook(lambda *_: counts.update(below=counts["below"] + 1))
        return network

    monkeypatch.setattr("purelens.circuits.activations.load_network", counting)
    monkeypatch.setattr("purelens.circuits.relevances.load_network", counting)
    references = run_stage(activations, layer=LAYER, n_references=5, batch_size=8)
    assert counts == {"stem": 40, "below": 0}
    counts.update(stem=0)
    path = run_stage(relevances, activations_h5=references, layer=LAYER, lower_layers=["layer2"], batch_size=4)
    with h5py.File(path) as file:
        ids = file["reference_id"][...]
    unique = np.unique(ids[ids >= 0])
    assert (ids >= 0).sum() > 2 * len(unique)
    in_whole_batches = -(-len(unique) // 4) * 4
    assert counts == {"stem": in_whole_batches, "below": 0}


@pytest.mark.parametrize("stage", [relevances, patches])
def test_one_backward_pass_for_each_pair(
    stage: Callable[..., None],
    small: dict[str, str],
    run_stage: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Pairs of different images share a pass; inside a pass of LRP every convolution has one branch."""
    passes: list[int] = []
    inside = []
    grad = torch.autograd.grad

    def counting(outputs, inputs, grad_outputs=None, **options):  # type: ignore[no-untyped-def]
        if isinstance(outputs, torch.Tensor):
            passes.append(int((grad_outputs.flatten(1) != 0).any(dim=1).sum()))
        else:
            inside.append(len(outputs))
        return grad(outputs, inputs, grad_outputs, **options)

    references = run_stage(activations, layer=LAYER, n_references=6)
    monkeypatch.setattr(torch.autograd, "grad", counting)
    lower = {"lower_layers": ["layer2"]} if stage is relevances else {}
    run_stage(stage, activations_h5=references, layer=LAYER, neurons=["0-7"], batch_size=5, **lower)
    with h5py.File(references) as file:
        pairs = select_pairs(file, ["0-7"], LAYER)
    groups = pairs.by_image()
    deepest = [max(len(of_image) for _, of_image in groups[start : start + 5]) for start in range(0, len(groups), 5)]
    assert len(passes) == sum(deepest)
    assert sum(passes) == (pairs.reference_id >= 0).sum() > len(groups)
    assert set(inside) == (set() if stage is relevances else {1})
    if stage is patches:
        module = load_network(small["weights"], small["card"]).module
        n_convolutions = sum(
            isinstance(part, torch.nn.Conv2d) for part in module.modules()
        )  # all are below the layer's end
        assert len(inside) == n_convolutions * len(passes)


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


def canonical_network(paths: dict[str, str]) -> torch.nn.Module:
    path, _ = CIFAR_RESNET.rsplit(":", 1)
    module = canonical.cifar_resnet(path, depth=14, num_classes=2)
    module.load_state_dict(load_network(paths["weights"], paths["card"]).module.state_dict())
    return module.eval()


def test_patches_are_those_of_zennit_crp(small: dict[str, str], run_stage: Callable[..., str]) -> None:
    references = run_stage(activations, layer=LAYER, n_references=6)
    path = run_stage(
        patches, activations_h5=references, layer=LAYER, neurons=["0-7"], crop_rule="published", batch_size=5
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


def test_circuits_are_stored_as_the_relevances_are(small: dict[str, str], tmp_path: Path) -> None:
    paths = {name: f"{tmp_path}/{name}.h5" for name in ("activations", "relevances", "virtual_neurons")}
    activations(**small, activations_h5=paths["activations"], layer="layer3", n_references=6, storage="half")
    for normalize, dtype in (("l1", "f2"), ("none", "f4")):
        relevances(
            **small, activations_h5=paths["activations"], relevances_h5=paths["relevances"], layer="layer3",
            lower_layers=["layer2"], neurons=[0, 1], normalize=normalize, storage="half",
        )  # fmt: skip
        virtual_neurons(paths["relevances"], paths["activations"], [], paths["virtual_neurons"], [], [2])
        with h5py.File(paths["relevances"]) as file, h5py.File(paths["virtual_neurons"]) as clusters:
            assert file["relevance/layer2"].dtype == clusters["circuit/layer2"].dtype == np.dtype(dtype)
