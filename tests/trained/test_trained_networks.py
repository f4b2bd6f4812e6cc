"""Trained networks and real images against zennit-crp: references, relevances, boxes. Skipped where they are absent."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from helpers import CIFAR_RESNET, DATA, ROOT, make_model, needs_data
from purelens.bench.reference.boxes import published_box
from purelens.circuits.activations import activations
from purelens.circuits.patches import Cut, patches
from purelens.circuits.relevances import relevances
from purelens.circuits.tables import Circuits
from purelens.data.dataset import dataset
from purelens.networks.imports import torchvision
from purelens.networks.loading import load_network
from purelens.networks.subnetwork import LayerView
from support import canonical

pytestmark = needs_data


@dataclass(frozen=True)
class Case:
    """A trained network, some images, and how much of them to compare."""

    images: str
    per_class: int
    n_classes: int
    size: int
    resize: int
    architecture: str
    options: dict[str, Any]
    weights: str
    layer: str
    lower: list[str]
    neurons: list[int]
    n_references: int


CASES = {
    "resnet20": Case(
        "cifar10/test", 60, 10, 32, 32, CIFAR_RESNET, {"depth": 20}, "cifar10/resnet20.safetensors",
        "layer3", ["layer3.1", "layer2"], list(range(0, 64, 6)), 20,
    ),
    "squeezenet": Case(
        "imagenet/sample_images", 1, 60, 224, 256, "torchvision:squeezenet1_1", {}, "imagenet/squeezenet1_1.safetensors",
        "features.12", ["features.11", "features.9"], [1, 22, 63, 200, 511], 12,
    ),
}  # fmt: skip


@pytest.fixture(scope="module", params=CASES)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Case, dict[str, Any]]:
    """A case and the artifacts of its GPU stages."""
    case: Case = CASES[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    for group in sorted((DATA / case.images).iterdir())[: case.n_classes]:
        (folder / "images" / group.name).mkdir(parents=True)
        for path in sorted(group.iterdir())[: case.per_class]:
            (folder / "images" / group.name / path.name).symlink_to(path.resolve())
    stages = ("images", "activations", "relevances", "patches")
    paths: dict[str, Any] = {f"{name}_h5": f"{folder}/{name}.h5" for name in stages}
    paths |= {"model": (f"{folder}/m.safetensors", f"{folder}/m.json")}
    dataset(f"{folder}/images", paths["images_h5"], case.size, case.resize)
    weights = str(DATA / case.weights)
    make_model(paths, weights, case.architecture, case.options)
    inputs: dict[str, Any] = {key: paths[key] for key in ("images_h5", "model")}
    activations(
        **inputs, activations_h5=paths["activations_h5"], layer=LayerView(case.layer), n_references=case.n_references
    )
    inputs |= {"activations_h5": paths["activations_h5"], "layer": LayerView(case.layer), "neurons": case.neurons}
    relevances(**inputs, relevances_h5=paths["relevances_h5"], circuits=Circuits(case.lower, skip_channels="keep"))
    patches(**inputs, patches_h5=paths["patches_h5"], cut=Cut(crop_rule="published"))
    torchvision()
    return case, paths


def oracle_module(case: Case, paths: dict[str, Any]) -> torch.nn.Module:
    """The same network in a form that zennit's canonizers know."""
    module = load_network(*paths["model"]).module
    if case.architecture == CIFAR_RESNET:
        path, _ = CIFAR_RESNET.rsplit(":", 1)
        known = canonical.cifar_resnet(path, num_classes=10, **case.options)
        known.load_state_dict(module.state_dict())
        module = known
    return module.eval()


def normalized(paths: dict[str, Any]) -> torch.Tensor:
    network = load_network(*paths["model"])
    with h5py.File(paths["images_h5"]) as file:
        return network.normalize(torch.from_numpy(file["pixels"][...]))


class Pictures(torch.utils.data.Dataset):
    """Images as zennit-crp wants them; it indexes with numpy integers."""

    def __init__(self, images: torch.Tensor) -> None:
        self.images = images

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.images[int(index)], 0

    def __len__(self) -> int:
        return len(self.images)


def test_references_are_those_of_zennit_crp(made: tuple[Case, dict[str, Any]], tmp_path: Path) -> None:
    from crp.attribution import CondAttribution
    from crp.concepts import ChannelConcept
    from crp.helper import load_maximization
    from crp.visualization import FeatureVisualization
    from zennit.composites import EpsilonPlusFlat

    case, paths = made
    attribution = CondAttribution(oracle_module(case, paths))
    views = FeatureVisualization(
        attribution, Pictures(normalized(paths)), {case.layer: ChannelConcept()}, preprocess_fn=lambda x: x,
        path=str(tmp_path), max_target="max", abs_norm=False,
    )  # fmt: skip
    views.ActMax.SAMPLE_SIZE = views.RelMax.SAMPLE_SIZE = case.n_references
    views.run(EpsilonPlusFlat(), 0, len(views.dataset), 20, 500)
    ids, values, positions = load_maximization(views.ActMax.PATH, case.layer)
    with h5py.File(paths["activations_h5"]) as file:
        compared = 0
        for neuron in range(ids.shape[1]):
            mine, theirs = file["reference_value"][neuron], np.asarray(values)[:, neuron]
            np.testing.assert_allclose(mine, np.maximum(theirs, 0), rtol=1e-4, atol=1e-4)
            clear = (mine > 0) & (np.diff(mine, prepend=np.inf) < -1e-4) & (np.diff(mine, append=-np.inf) < -1e-4)
            compared += clear.sum()
            assert (file["reference_id"][neuron][clear] == np.asarray(ids)[: len(mine), neuron][clear]).all()
            same = file["reference_position"][neuron][clear] == np.asarray(positions)[: len(mine), neuron][clear]
            assert same.mean() > 0.99 if clear.any() else True
    assert compared > 0.8 * len(case.neurons) * case.n_references


def test_relevances_are_those_of_zennit_crp(made: tuple[Case, dict[str, Any]]) -> None:
    from crp.attribution import CondAttribution
    from zennit.composites import Composite

    case, paths = made
    attribution, images = CondAttribution(oracle_module(case, paths)), normalized(paths)
    worst, largest = 0.0, 0.0
    with h5py.File(paths["relevances_h5"]) as file:
        for row, neuron in enumerate(case.neurons):
            ids = file["reference_id"][row]
            ids = ids[ids >= 0]
            result = attribution(
                images[ids].requires_grad_(), [{case.layer: [neuron]}], Composite(), record_layer=case.lower,
                start_layer=case.layer, init_rel=lambda a: a.clamp(min=0), exclude_parallel=True,
            )  # fmt: skip
            for lower in case.lower:
                product = (result.activations[lower] * result.relevances[lower]).flatten(2).sum(dim=2)
                expected = (product / (product.abs().sum(dim=1, keepdim=True) + 1e-10)).detach().numpy()
                mine = file[f"relevance/{lower}"][row][: len(ids)]
                worst = max(worst, np.abs(mine - expected).max())
                largest = max(largest, np.abs(expected).max())
    assert worst <= 1e-5 * largest


def test_boxes_are_those_of_zennit_crp(made: tuple[Case, dict[str, Any]]) -> None:
    from crp.attribution import CondAttribution
    from crp.concepts import ChannelConcept
    from zennit.canonizers import SequentialMergeBatchNorm
    from zennit.composites import EpsilonPlusFlat

    case, paths = made
    attribution, images = CondAttribution(oracle_module(case, paths)), normalized(paths)
    equal, compared = 0, 0
    with h5py.File(paths["patches_h5"]) as file, h5py.File(paths["activations_h5"]) as top:
        for row, neuron in enumerate(case.neurons):
            ids = file["reference_id"][row]
            positions = top["reference_position"][neuron][ids >= 0]
            ids = ids[ids >= 0]
            heat = attribution(
                images[ids].requires_grad_(), [{case.layer: {neuron: int(p)}} for p in positions],
                EpsilonPlusFlat([SequentialMergeBatchNorm()]), mask_map=ChannelConcept.mask_rf,
                start_layer=case.layer, exclude_parallel=False,
            ).heatmap.detach()  # fmt: skip
            for rank in range(len(ids)):
                compared += 1
                equal += file["box"][row, rank].tolist() == published_box(heat[rank])
    assert compared > 50
    assert equal >= 0.995 * compared, f"{equal} of {compared}"


def test_the_trunk_of_a_pre_activation_network_can_be_studied() -> None:
    from purelens.networks.inspection import Inspection

    inspection = Inspection(f"{ROOT}/configs/networks/resnet_v2.py:resnet50_v2_trunk", {}, 224)
    assert inspection.check_layer(LayerView("layer3"), ["layer3.4", "layer2"])["layer3"] == 1024
    inspection.check_rules("layer3")
