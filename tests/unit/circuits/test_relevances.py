"""Relevances beside their definition; every image is forwarded once."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from purelens.bench.reference import circuits
from purelens.circuits.activations import activations
from purelens.circuits.relevances import relevances
from purelens.circuits.tables import Circuits
from purelens.errors import UserError
from purelens.networks.loading import Network, load_network
from purelens.networks.subnetwork import LayerView
from purelens.storage.provenance import Execution
from support.layers import DEAD, images_of

LAYER, LOWER = "layer3", ["layer3.0", "layer2"]

JOINED = {"layer3.0": lambda neuron: neuron, "layer2": lambda neuron: neuron - 16 if 16 <= neuron < 48 else None}
"""The lower neuron that the shortcuts hand on: the first block of a stage pads 32 neurons with 16 zeros on both sides."""


def test_relevances_are_the_definition(small: dict[str, Any], run_stage: Callable[..., str]) -> None:
    references = run_stage(activations, layer=LayerView(LAYER), n_references=5)
    path = run_stage(
        relevances,
        activations_h5=references,
        layer=LayerView(LAYER),
        circuits=Circuits(LOWER),
        neurons=[3, "10-12", 20],
        execution=Execution(batch_size=7),
    )
    module = load_network(*small["model"]).module
    images = images_of(small)
    with h5py.File(path) as file:
        assert file["neuron"][...].tolist() == [3, 10, 11, 12, 20]
        for row, neuron in enumerate(file["neuron"][...]):
            for rank, image in enumerate(file["reference_id"][row]):
                for lower in LOWER:
                    circuit = file[f"relevance/{lower}"][row, rank]
                    joined = JOINED[lower](int(neuron))
                    expected = (
                        circuits.relevance(module, LAYER, lower, int(neuron), images[image][None], joined=joined)
                        if image >= 0
                        else torch.zeros(len(circuit))
                    )
                    np.testing.assert_allclose(circuit, expected, atol=1e-6)


def test_every_image_is_forwarded_once_and_nothing_flows_below(
    small: dict[str, Any], run_stage: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = {"stem": 0, "below": 0}
    load = load_network

    def computed(pixels: torch.Tensor) -> int:
        return 0 if pixels.is_meta else len(pixels)  # shapes alone cost nothing

    def counting(*arguments: Any) -> Network:
        network = load(*arguments)
        module: Any = network.module
        stem = module.conv1
        stem.register_forward_hook(lambda _, inputs, __: counts.update(stem=counts["stem"] + computed(inputs[0])))
        for block in (module.conv1, module.layer1, module.layer2[0]):
            block.register_full_backward_hook(lambda *_: counts.update(below=counts["below"] + 1))
        return network

    monkeypatch.setattr("purelens.circuits.activations.load_network", counting)
    monkeypatch.setattr("purelens.circuits.relevances.load_network", counting)
    references = run_stage(activations, layer=LayerView(LAYER), n_references=5, execution=Execution(batch_size=8))
    assert counts == {"stem": 40, "below": 0}
    counts.update(stem=0)
    path = run_stage(
        relevances,
        activations_h5=references,
        layer=LayerView(LAYER),
        circuits=Circuits(["layer2"]),
        execution=Execution(batch_size=4),
    )
    with h5py.File(path) as file:
        ids = file["reference_id"][...]
    unique = np.unique(ids[ids >= 0])
    assert (ids >= 0).sum() > 2 * len(unique)
    in_whole_batches = -(-len(unique) // 4) * 4
    to_find_shortcuts = 1
    assert counts == {"stem": in_whole_batches + to_find_shortcuts, "below": 0}


def test_a_selection_of_dead_neurons_only(wounded: dict[str, Any], study: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="all of them are dead"):
        relevances(
            **wounded, activations_h5=study["activations"], relevances_h5=str(tmp_path / "r.h5"), layer=LayerView("layer3"),
            circuits=Circuits(["layer2"]), neurons=[DEAD],
        )  # fmt: skip
    assert list(tmp_path.iterdir()) == []
