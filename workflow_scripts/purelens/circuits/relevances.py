"""The rule ``relevances``: attribute each neuron, on its references, to the neurons of its lower layers."""

import logging
from collections.abc import Sequence

import numpy as np
import torch

from purelens.circuits.attribution import Attribution
from purelens.circuits.pairs import Pairs, Round, rounds, select_pairs
from purelens.data.dataset import Images, open_images
from purelens.errors import UserError
from purelens.networks.batching import choose_device, filled, in_batches
from purelens.networks.loading import Network, load_network
from purelens.networks.subnetwork import LayerView, Segment
from purelens.progress import Progress
from purelens.storage.artifacts import Writer
from purelens.storage.provenance import DEFAULT_EXECUTION, Execution
from purelens.storage.reading import read
from purelens.storage.resumable import Work, resume
from purelens.storage.schemas import SINGLE

logger = logging.getLogger("purelens")


def relevances(
    images_h5: str,
    model: tuple[str, str],
    activations_h5: str,
    relevances_h5: str,
    layer: LayerView,
    lower_layers: Sequence[str],
    neurons: str | list[int | str] = "all",
    normalize: str = "l1",
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
    layer, lower_layers
        The layer, and names of layers below it.
    neurons
        ``all``, or numbers and ranges.
    normalize
        ``l1``: divide each vector by the sum of its absolute values; ``none``.
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
    bits = storage if normalize == "l1" else SINGLE
    with (
        open_images(images_h5) as images,
        Segment(network.module, layer.name, lower_layers) as segment,
        resume(relevances_h5, "relevances", execution.provenance, str(device), bits) as work,
    ):
        layer, n_neurons = segment.resolve(layer, images.size)
        work.define(lambda out: _define(out, pairs, {name: n_neurons[name] for name in lower_layers}))
        _attribute(Attribution(segment, layer, normalize), images, network, pairs, execution.batch_size, work)
        work.finish()


def _attribute(
    attribution: Attribution, images: Images, network: Network, pairs: Pairs, batch_size: int | None, work: Work
) -> None:
    """Fill one table per lower layer, a row per (neuron, reference) pair."""
    groups = pairs.by_image()
    n_references = pairs.reference_id.shape[1]

    def attribute(start: int, stop: int, size: int) -> list[tuple[Round, dict[str, torch.Tensor]]]:
        batch = groups[start:stop]
        attribution.forward(network.prepare(filled(images.take(np.array([image for image, _ in batch])), size)))
        return [(r, attribution.backward(r.row, pairs.neurons[r.pair // n_references])) for r in rounds(batch)]

    n_pairs, n_done = (sum(len(group) for _, group in some) for some in (groups, groups[: work.done]))
    logger.info("%d pairs of a neuron and a reference on %d unique images", n_pairs, len(groups))
    batches = in_batches(attribute, len(groups), network.device, images.size, batch_size, work.done)
    with Progress(n_pairs, "relevances", "pairs", n_done) as progress:
        for _, stop, results in batches:
            for r, relevance_of in results:
                for name, relevance in relevance_of.items():
                    _check_finite(relevance, name, pairs.neurons[r.pair // n_references])
                    work.write(f"relevance/{name}", r.pair, relevance.cpu().numpy())
                progress.advance(len(r.pair))
            work.checkpoint(stop)


def _check_finite(relevance: torch.Tensor, lower_layer: str, neurons: np.ndarray) -> None:
    bad = ~torch.isfinite(relevance).all(dim=1)
    if bad.any():
        neuron = neurons[int(bad.nonzero()[0])]
        raise UserError(f"the relevance of neuron {neuron} at lower layer {lower_layer!r} is NaN or infinite")


def _define(out: Writer, pairs: Pairs, n_lower: dict[str, int]) -> None:
    out.references(pairs.neurons, pairs.reference_id)
    for name, n_neurons in n_lower.items():
        dim = f"lower_neuron.{name}"
        out.coordinate(dim, n_neurons)
        out.rows(f"relevance/{name}", dims=("neuron", "reference", dim))
