"""Images with known concepts, and a small network whose images are assigned to virtual neurons."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from purelens.circuits.activations import activations
from purelens.circuits.relevances import relevances
from purelens.circuits.tables import Circuits
from purelens.circuits.virtual_neurons import virtual_neurons
from purelens.data.dataset import dataset
from purelens.explanations.assignments import assignments
from purelens.networks.subnetwork import LayerView
from purelens.storage.provenance import Execution
from support.explanations import CONCEPTS, N_IMAGES, made_up, write_activations


@pytest.fixture(scope="module")
def labeled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images that nobody looks at, whose concepts are known, and the activations of five neurons."""
    folder = tmp_path_factory.mktemp("labeled")
    rng = np.random.default_rng(0)
    truth = rng.random((N_IMAGES, len(CONCEPTS))) < [0.3, 0.3, 0.2, 0.03, 0, 1]
    with h5py.File(folder / "source.h5", "w") as file:
        file["pixels"] = np.zeros((N_IMAGES, 8, 8, 3), dtype=np.uint8)
        file["label"] = np.arange(N_IMAGES) % 2
        file["class_name"] = ["null", "None"]
        file["concept"] = truth.astype(np.uint8)
        file["concept_label"] = CONCEPTS
    dataset(str(folder / "source.h5"), str(folder / "images.h5"), 8)
    write_activations(folder / "activations.h5", made_up(truth, rng))
    return folder


@pytest.fixture(scope="module")
def assigned(small: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """All artifacts of the small network up to the assignments."""
    folder = tmp_path_factory.mktemp("assigned")
    names = ("activations", "relevances", "virtual_neurons", "assignments")
    paths = dict(small) | {f"{name}_h5": str(folder / f"{name}.h5") for name in names}
    inputs = dict(small) | {"activations_h5": paths["activations_h5"]}
    activations(**inputs, layer=LayerView("layer3"), n_references=12)
    relevances(
        **inputs,
        relevances_h5=paths["relevances_h5"],
        layer=LayerView("layer3"),
        circuits=Circuits(["layer2"]),
        neurons=["0-15"],
    )
    virtual_neurons(paths["relevances_h5"], paths["activations_h5"], [], paths["virtual_neurons_h5"], [], [2, 3])
    assignments(
        **inputs, virtual_neurons_h5=paths["virtual_neurons_h5"], assignments_h5=paths["assignments_h5"],
        layer=LayerView("layer3"), lower_layer="layer2", n_clusters=2, neurons=5, execution=Execution(batch_size=7),
    )  # fmt: skip
    return paths
