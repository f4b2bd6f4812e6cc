"""The rule ``relevances``: attribute each neuron, on its references, to the neurons of its lower layers."""

import numpy as np
import torch

from purelens.circuits.attribution import open_attribution
from purelens.circuits.neuron_kinds import MAX, functions_before
from purelens.circuits.pairs import select_pairs
from purelens.circuits.tables import Circuits, attribute_pairs, define_tables
from purelens.data.dataset import open_images
from purelens.networks.batching import choose_device
from purelens.networks.loading import load_network
from purelens.networks.subnetwork import LayerView, Segment
from purelens.storage.artifacts import Writer
from purelens.storage.provenance import DEFAULT_EXECUTION, Execution
from purelens.storage.reading import read
from purelens.storage.resumable import resume
from purelens.storage.schemas import SINGLE


def relevances(
    images_h5: str,
    model: tuple[str, str],
    activations_h5: str,
    relevances_h5: str,
    layer: LayerView,
    circuits: Circuits,
    neurons: str | list[int | str] = "all",
    reference_criterion: str = MAX,
    storage: str = SINGLE,
    execution: Execution = DEFAULT_EXECUTION,
) -> None:
    """Attribute each neuron, on each of its references, to the neurons of the lower layers.

    Every unique image is forwarded once. Its outputs at the lower layers are the leaves of the graph, so the backward passes,
    one per (neuron, image) pair, stay between the lower layers and the layer.

    Parameters
    ----------
    images_h5, model, activations_h5
        Artifacts of the rules ``dataset``, ``model`` and ``activations``.
    relevances_h5
        The artifact.
    layer, circuits
        The layer, and what its neurons are attributed to.
    neurons
        ``all``, or numbers and ranges.
    reference_criterion
        As in `purelens.circuits.activations.activations`.
    storage
        ``half`` or ``single``: store large tables in 16 or in 32 bits; always in 32 if they are not normalized.
    execution
        Device, batch size, shard of the neurons, and provenance record.

    Raises
    ------
    UserError
        If a lower layer is not below the layer, or a relevance is NaN or infinite.

    Notes
    -----
    Dreyer et al. 2024, equation 2 (see `purelens.circuits.attribution`).
    """
    device = choose_device(execution.device)
    network = load_network(*model, device)
    with read(activations_h5, "activations") as file:
        pairs = select_pairs(file, neurons, layer.name, execution.shard)
    bits = storage if circuits.normalize == "l1" else SINGLE
    before = functions_before(reference_criterion)
    with (
        open_images(images_h5) as images,
        Segment(network.module, layer.name, circuits.lower_layers, before) as segment,
        resume(relevances_h5, "relevances", execution.provenance, str(device), bits) as work,
    ):
        layer, n_neurons = segment.resolve(layer, images.size)
        image = network.prepare(images.take(np.array([0])))
        attribution = open_attribution(segment, layer, image, circuits.normalize, circuits.skip_channels)

        def neurons_of(rows: np.ndarray) -> torch.Tensor:
            return attribution.directions(pairs.neurons[rows])

        def define(out: Writer) -> None:
            out.references(pairs.neurons, pairs.reference_id)
            define_tables(out, circuits, n_neurons, attribution.joined)

        work.define(define)
        attribute_pairs(attribution, images, network, pairs, neurons_of, execution.batch_size, work)
        work.finish()
