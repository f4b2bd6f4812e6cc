"""Manipulated synthetic visualizations: references, virtual neurons and words stay. Skipped without data."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from sklearn.metrics import adjusted_rand_score

from helpers import CIFAR_RESNET, DATA, make_model, needs_data
from purelens.circuits.activations import activations
from purelens.circuits.polysemanticity import polysemanticity
from purelens.circuits.relevances import relevances
from purelens.circuits.tables import Circuits
from purelens.data.dataset import dataset
from purelens.explanations.concepts import concepts
from purelens.explanations.explain import explain
from purelens.networks.loading import load_network
from purelens.networks.subnetwork import LayerView
from support import slingshot
from support.explanations import explanation

pytestmark = needs_data

NEURON, N_REFERENCES, N_CLASSES, PER_CLASS, N_OTHERS = 9, 100, 10, 200, 60
LOWER = ["layer3.1", "layer3.0", "layer2"]
INNER = ["layer3.0.bn1", "layer3.1.bn1", "layer3.2.bn1"]


@dataclass(frozen=True)
class Study:
    """What is found in a network: its weights, and the artifacts made from them."""

    paths: dict[str, Any]

    def references(self) -> np.ndarray:
        with h5py.File(self.paths["relevances"]) as file:
            ids: np.ndarray = file["reference_id"][0]
        return ids

    def labels(self) -> np.ndarray:
        """The virtual neuron of each reference; all 0 if the neuron is not polysemantic."""
        with h5py.File(self.paths["polysemanticity"]) as file:
            labels: np.ndarray = file["label"][0]
        return labels

    def words(self) -> dict[str, float]:
        return explanation(self.paths["explanations"], "le:labels", 0)

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            return torch.cat([self.network(batch) for batch in images.split(250)])

    @property
    def network(self) -> torch.nn.Module:
        return load_network(*self.paths["model"]).module


def study(folder: Path, images_h5: str, weights: str, neuron: int) -> Study:
    folder.mkdir()
    names = ("activations", "relevances", "polysemanticity", "concepts", "explanations")
    paths: dict[str, Any] = {name: f"{folder}/{name}.h5" for name in names}
    paths |= {"images_h5": images_h5, "model": (f"{folder}/m.safetensors", f"{folder}/m.json")}
    make_model(paths, weights, CIFAR_RESNET, {"depth": 20})
    inputs = {"images_h5": images_h5, "model": paths["model"], "layer": LayerView("layer3")}
    activations(**inputs, activations_h5=paths["activations"], n_references=N_REFERENCES)
    relevances(
        **inputs, activations_h5=paths["activations"], relevances_h5=paths["relevances"], neurons=[neuron],
        circuits=Circuits(LOWER, inner_layers=INNER, weighted_activations=True),
    )  # fmt: skip
    polysemanticity(
        paths["relevances"], paths["activations"], paths["polysemanticity"], f"{folder}/polysemanticity.csv"
    )
    concepts(images_h5, [], [], paths["concepts"], {"source": "labels"})
    explain(
        paths["activations"], [paths["concepts"]], [], [], paths["explanations"], names=["labels"], neurons=[neuron],
        layer="layer3",
    )  # fmt: skip
    return Study(paths)


@pytest.fixture(scope="module")
def image_files(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Images of the study, and other images of the same classes."""
    folder = tmp_path_factory.mktemp("images")
    for group in sorted((DATA / "cifar10/test").iterdir())[:N_CLASSES]:
        for number, path in enumerate(sorted(group.iterdir())[: PER_CLASS + N_OTHERS]):
            at = folder / ("study" if number < PER_CLASS else "others") / group.name / path.name
            at.parent.mkdir(parents=True, exist_ok=True)
            at.symlink_to(path.resolve())
    for name in ("study", "others"):
        dataset(str(folder / name), f"{folder}/{name}.h5", 32, 32)
    return f"{folder}/study.h5", f"{folder}/others.h5"


def load(images_h5: str, network: Study) -> tuple[torch.Tensor, torch.Tensor]:
    normalize = load_network(*network.paths["model"]).normalize
    with h5py.File(images_h5) as file:
        return normalize(torch.from_numpy(file["pixels"][...])), torch.from_numpy(file["label"][...])


def test_a_manipulated_visualization_changes_nothing(image_files: tuple[str, str], tmp_path: Path) -> None:
    before = study(tmp_path / "before", image_files[0], str(DATA / "cifar10/resnet20.safetensors"), NEURON)
    assert before.labels().max() > 0
    neuron, target = slingshot.Neuron(NEURON), slingshot.square()
    images, _ = load(image_files[0], before)
    references = torch.from_numpy(before.references())
    attacked = slingshot.manipulated(before.network, neuron, target, images, references, steps=400)
    save_file(attacked.state_dict(), f"{tmp_path}/attacked.safetensors")
    after = study(tmp_path / "after", image_files[0], f"{tmp_path}/attacked.safetensors", NEURON)

    shown = [slingshot.likeness(neuron.visualize(s.network, seed), target) for s in (before, after) for seed in (1, 2)]
    assert max(shown[:2]) < 0.3
    assert min(shown[2:]) > 0.8
    others, classes = load(image_files[1], before)
    correct = [(s.logits(others).argmax(dim=1) == classes).float().mean().item() for s in (before, after)]
    assert correct[1] > correct[0] - 0.02

    common, one, other = np.intersect1d(before.references(), after.references(), return_indices=True)
    assert len(common) >= 0.9 * N_REFERENCES
    assert adjusted_rand_score(before.labels()[one], after.labels()[other]) >= 0.9
    assert list(before.words()) == list(after.words())
