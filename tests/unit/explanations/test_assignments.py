"""TODO explanations.assignments"""

import h5py
import numpy as np
import torch

from purelens.circuits.relevances import Attribution
from purelens.data.dataset import open_images
from purelens.networks.loading import load_network
from purelens.networks.subnetwork import Segment
from purelens.storage.artifacts import strings


def test_gates_are_the_nearest_circuits(gated: dict[str, str]) -> None:
    network = load_network(*gated["model"])
    with (
        h5py.File(gated["assignments_h5"]) as found,
        h5py.File(gated["virtual_neurons_h5"]) as clusters,
        h5py.File(gated["activations_h5"]) as file,
        open_images(gated["images_h5"]) as images,
        Segment(network.module, "layer3", ["layer2"]) as segment,
    ):
        assert len(found["neuron"]) == 5
        attribution = Attribution(segment, "layer3")
        seen = set()
        for row, neuron in enumerate(found["neuron"][...].tolist()):
            circuit = clusters["circuit/layer2"][0, neuron, :2]
            for image in range(len(images)):
                gate = int(found["virtual_neuron"][row, image])
                if file["max"][image, neuron] <= 0:
                    assert gate == -1
                    continue
                attribution.forward(network.normalize(torch.from_numpy(images.take(np.array([image])))))
                relevance = attribution.backward(np.array([0]), np.array([neuron]))["layer2"].numpy()[0]
                distances = np.linalg.norm(circuit - relevance, axis=1)
                if abs(distances[0] - distances[1]) > 1e-5:
                    assert gate == distances.argmin()
                seen.add(gate)
        assert seen >= {0, 1}


def test_references_have_the_gate_of_their_cluster(gated: dict[str, str]) -> None:
    """Assigning to the nearest mean is what k-means ended with."""
    with h5py.File(gated["assignments_h5"]) as found, h5py.File(gated["virtual_neurons_h5"]) as clusters:
        method = strings(clusters["method"]).index("pure:layer2")
        for row, neuron in enumerate(found["neuron"][...].tolist()):
            ids, label = clusters["reference_id"][neuron], clusters["label"][method, 0, neuron]
            assert (found["virtual_neuron"][row][ids[ids >= 0]] == label[ids >= 0]).all()
