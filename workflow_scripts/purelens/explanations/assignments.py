"""The rule ``assignments``: find which virtual neuron of a neuron is active on each image."""

from collections.abc import Sequence

import numpy as np

from purelens.circuits.attribution import LEAVE_OUT, Attribution, open_attribution
from purelens.circuits.methods import PURE
from purelens.data.dataset import open_images
from purelens.networks.batching import choose_device, filled, in_batches
from purelens.networks.loading import load_network
from purelens.networks.subnetwork import LayerView, Segment
from purelens.progress import Progress
from purelens.storage.artifacts import Writer, create
from purelens.storage.provenance import DEFAULT_EXECUTION, Execution
from purelens.storage.reading import Artifact, read, strings


def assignments(
    images_h5: str,
    model: tuple[str, str],
    activations_h5: str,
    virtual_neurons_h5: str,
    assignments_h5: str,
    layer: LayerView,
    lower_layer: str,
    n_clusters: int,
    neurons: int,
    normalize: str = "l1",
    skip_channels: str = LEAVE_OUT,
    execution: Execution = DEFAULT_EXECUTION,
) -> None:
    """Assign each image on which a neuron is active to the virtual neuron with the nearest circuit.

    Parameters
    ----------
    images_h5, model, activations_h5, virtual_neurons_h5
        Artifacts of the rules of these names.
    assignments_h5
        The artifact.
    layer, lower_layer, n_clusters
        Whose virtual neurons, by which circuits, and how many.
    neurons
        Number of neurons: those with the highest silhouettes.
    normalize, skip_channels
        As in `purelens.circuits.relevances.relevances`.
    execution
        Device, batch size and provenance record.

    Notes
    -----
    Circuits are the means of the relevances that PURE clusters (Dreyer et al. 2024, section 3), so the nearest one decides as
    k-means does.
    """
    device = choose_device(execution.device)
    network = load_network(*model, device)
    with read(virtual_neurons_h5, "virtual_neurons") as file:
        numbers, circuits = _best_separated(file, lower_layer, n_clusters, neurons)
    with (
        open_images(images_h5) as images,
        read(activations_h5, "activations") as file,
        Segment(network.module, layer.name, [lower_layer]) as segment,
        create(assignments_h5, "assignments", execution.provenance, str(device)) as out,
        Progress(len(images), "assignments", "images") as progress,
    ):
        layer, image = segment.resolve(layer, images.size)[0], network.prepare(images.take(np.array([0])))
        attribution = open_attribution(segment, layer, image, normalize, skip_channels)
        assigned = np.full((len(numbers), len(images)), -1, dtype=np.int8)

        def assign(start: int, stop: int, size: int) -> np.ndarray:
            attribution.forward(network.prepare(filled(images.file["pixels"][start:stop], size)))
            active = file["max"][start:stop][:, numbers] > 0
            return nearest_circuits(attribution, numbers, active, circuits, lower_layer)

        for start, stop, values in in_batches(assign, len(images), device, images.size, execution.batch_size):
            assigned[:, start:stop] = values
            progress.advance(stop - start)
        _write(out, numbers, assigned)
        out.attribute("n_clusters", n_clusters)
        out.attribute("lower_layer", lower_layer)


def _write(out: Writer, neurons: np.ndarray, assigned: np.ndarray) -> None:
    out.coordinate("neuron", neurons)
    out.coordinate("image", assigned.shape[1])
    out.variable("virtual_neuron", data=assigned)


def _best_separated(file: Artifact, lower_layer: str, n_clusters: int, n_neurons: int) -> tuple[np.ndarray, np.ndarray]:
    """Read the neurons with the highest silhouettes: their (G,) numbers, ascending, and (G, n_clusters, M) circuits."""
    method = strings(file["method"]).index(PURE + lower_layer)
    position = file["n_clusters"][...].tolist().index(n_clusters)
    silhouette = file["silhouette"][method, position]
    order = np.argsort(-np.nan_to_num(silhouette, nan=-np.inf), kind="stable")
    rows = np.sort(order[: min(n_neurons, int(np.isfinite(silhouette).sum()))])
    return file["neuron"][...][rows], file[f"circuit/{lower_layer}"][position][rows][:, :n_clusters].astype(np.float32)


def nearest_circuits(
    attribution: Attribution,
    neurons: Sequence[int] | np.ndarray,
    active: np.ndarray,
    circuits: np.ndarray,
    lower_layer: str,
) -> np.ndarray:
    """Find the nearest circuit of each neuron on each image of a batch.

    Parameters
    ----------
    attribution
        After the forward pass of the batch.
    neurons
        (G,) numbers of the neurons.
    active
        (b, G) bool, where they are active.
    circuits
        (G, k, C_lower); NaN where there is none.
    lower_layer
        The layer of the circuits.

    Returns
    -------
    numpy.ndarray
        (G, b) int8; -1 where the neuron is not active.
    """
    nearest = np.full(active.T.shape, -1, dtype=np.int8)
    for row, neuron in enumerate(neurons):
        images = np.flatnonzero(active[:, row])
        if len(images):
            relevance = attribution.backward(images, np.full(len(images), neuron))[lower_layer].cpu().numpy()
            distance = ((relevance[:, None] - circuits[row][None]) ** 2).sum(axis=2)
            nearest[row, images] = np.argmin(np.where(np.isnan(distance), np.inf, distance), axis=1)
    return nearest
