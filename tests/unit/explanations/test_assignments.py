"""Assignments of images to virtual neurons, beside their definition."""

from typing import Any

import h5py
import numpy as np

from purelens.circuits.attribution import Attribution
from purelens.data.dataset import open_images
from purelens.networks.loading import load_network
from purelens.networks.subnetwork import LayerView, Segment
from purelens.storage.reading import strings


def test_images_are_assigned_to_the_nearest_circuit(assigned: dict[str, Any]) -> None:
    network = load_network(*assigned["model"])
    with (
        h5py.File(assigned["assignments_h5"]) as assignments,
        h5py.File(assigned["virtual_neurons_h5"]) as clusters,
        h5py.File(assigned["activations_h5"]) as file,
        open_images(assigned["images_h5"]) as images,
        Segment(network.module, "layer3", ["layer2"]) as segment,
    ):
        assert len(assignments["neuron"]) == 5
        attribution = Attribution(segment, LayerView("layer3"))
        seen = set()
        for row, neuron in enumerate(assignments["neuron"][...].tolist()):
            circuit = clusters["circuit/layer2"][0, neuron, :2]
            for image in range(len(images)):
                assigned_to = int(assignments["virtual_neuron"][row, image])
                if file["max"][image, neuron] <= 0:
                    assert assigned_to == -1
                    continue
                attribution.forward(network.prepare(images.take(np.array([image]))))
                relevance = attribution.backward(np.array([0]), np.array([neuron]))["layer2"].numpy()[0]
                distances = np.linalg.norm(circuit - relevance, axis=1)
                if abs(distances[0] - distances[1]) > 1e-5:
                    assert assigned_to == distances.argmin()
                seen.add(assigned_to)
        assert seen >= {0, 1}


def test_references_are_assigned_to_their_virtual_neuron(assigned: dict[str, Any]) -> None:
    """k-means ended with references at their nearest mean."""
    with h5py.File(assigned["assignments_h5"]) as assignments, h5py.File(assigned["virtual_neurons_h5"]) as clusters:
        method = strings(clusters["method"]).index("pure:layer2")
        for row, neuron in enumerate(assignments["neuron"][...].tolist()):
            ids, label = clusters["reference_id"][neuron], clusters["label"][method, 0, neuron]
            assert (assignments["virtual_neuron"][row][ids[ids >= 0]] == label[ids >= 0]).all()
