"""The rule ``gates``: which virtual neuron of a neuron is at work on each image."""

from collections.abc import Sequence

import numpy as np
import torch

from purelens.circuits.relevances import Attribution
from purelens.data.dataset import open_images
from purelens.networks.batching import choose_device, filled, in_batches
from purelens.networks.loading import load_network
from purelens.networks.subnetwork import Segment
from purelens.progress import Progress
from purelens.storage.artifacts import create, read
from purelens.storage.provenance import Provenance


def gates(
    images_h5: str,
    weights: str,
    card: str,
    activations_h5: str,
    virtual_neurons_h5: str,
    gates_h5: str,
    layer: str,
    lower_layer: str,
    n_clusters: int,
    neurons: int,
    channels: str = "auto",
    normalize: str = "l1",
    device: str = "auto",
    batch_size: int | None = None,
    provenance: Provenance | None = None,
) -> None:
    """Find the nearest circuit of each neuron on each image on which it is active.

    Parameters
    ----------
    images_h5, weights, card, activations_h5, virtual_neurons_h5
        Artifacts of the rules of these names.
    gates_h5
        The artifact.
    layer, lower_layer, n_clusters
        Whose virtual neurons, by which circuits, and how many.
    neurons
        How many neurons: those whose circuits are farthest apart for their spread (the highest silhouette).
    channels, normalize
        As in `purelens.circuits.relevances.relevances`.
    device, batch_size
        See `purelens.networks.batching`.
    provenance
        What the artifact is made from.

    Notes
    -----
    Circuits are the means of the relevances that PURE clusters (Dreyer et al. 2024, section 3), so the nearest one decides as
    k-means does.
    """
    where = choose_device(device)
    network = load_network(weights, card)
    network.module.to(where)
    with read(virtual_neurons_h5, "virtual_neurons") as file:
        rows = _clearest(file, lower_layer, n_clusters, neurons)
        numbers = file["neuron"][...][rows]
        place = file["n_clusters"][...].tolist().index(n_clusters)
        circuits = file[f"circuit/{lower_layer}"][place][rows][:, :n_clusters].astype(np.float32)
    with (
        open_images(images_h5) as images,
        read(activations_h5, "activations") as file,
        Segment(network.module, layer, [lower_layer]) as segment,
        create(gates_h5, "gates", provenance, str(where)) as out,
        Progress(len(images), "gates", "images") as progress,
    ):
        attribution = Attribution(segment, layer, channels, normalize)
        found = np.full((len(numbers), len(images)), -1, dtype=np.int8)

        def gate(start: int, stop: int, size: int) -> np.ndarray:
            pixels = filled(images.file["pixels"][start:stop], size)
            attribution.forward(network.normalize(torch.from_numpy(pixels).to(where)))
            active = file["max"][start:stop][:, numbers] > 0
            return nearest_circuits(attribution, numbers, active, circuits, lower_layer)

        for start, stop, values in in_batches(gate, len(images), where, images.size, batch_size):
            found[:, start:stop] = values
            progress.advance(stop - start)
        out.coordinate("neuron", numbers)
        out.coordinate("image", len(images))
        out.variable("virtual_neuron", data=found)
        out.attribute("n_clusters", n_clusters)
        out.attribute("lower_layer", lower_layer)


def _clearest(file: object, lower_layer: str, n_clusters: int, n_neurons: int) -> np.ndarray:
    """Rows of the neurons with the highest silhouette, in their order."""
    from purelens.circuits.virtual_neurons import PURE
    from purelens.storage.artifacts import strings

    method = strings(file["method"]).index(PURE + lower_layer)  # type: ignore[index]
    place = file["n_clusters"][...].tolist().index(n_clusters)  # type: ignore[index]
    silhouette = file["silhouette"][method, place]  # type: ignore[index]
    order = np.argsort(-np.nan_to_num(silhouette, nan=-np.inf), kind="stable")
    return np.sort(order[: min(n_neurons, int(np.isfinite(silhouette).sum()))])


def nearest_circuits(
    attribution: Attribution, neurons: Sequence[int] | np.ndarray, active: np.ndarray, circuits: np.ndarray, lower: str
) -> np.ndarray:
    """Nearest circuit (G, b) of each neuron on each image of the batch that was forwarded; -1 where it is not active.

    Parameters
    ----------
    attribution
        After its forward pass.
    neurons, active
        (G,) numbers, and (b, G) where they are active.
    circuits
        (G, k, C_lower); NaN where there is none.
    lower
        The layer of the circuits.
    """
    found = np.full(active.T.shape, -1, dtype=np.int8)
    for row, neuron in enumerate(neurons):
        images = np.flatnonzero(active[:, row])
        if len(images):
            relevance = attribution.backward(images, np.full(len(images), neuron))[lower].cpu().numpy()
            apart = ((relevance[:, None] - circuits[row][None]) ** 2).sum(axis=2)
            found[row, images] = np.argmin(np.where(np.isnan(apart), np.inf, apart), axis=1)
    return found
