"""The rule ``relevances``: attribute each neuron, on its references, to the neurons of its lower layers."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from purelens.circuits.attribution import LEAVE_OUT, Attributed, Attribution, open_attribution
from purelens.circuits.neuron_kinds import MAX, functions_before
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

Tables = dict[str, torch.Tensor]

WEIGHTED = "weighted_activation"


@dataclass(frozen=True)
class Circuits:
    """What is attributed to, and how.

    Attributes
    ----------
    lower_layers
        Names of layers below the layer.
    normalize
        ``l1``: divide each vector by the sum of its absolute values; ``none``.
    skip_channels
        ``leave_out``: lower neurons that an identity shortcut joins to the neuron get no relevance; ``keep``, as published.
    inner_layers
        Those of the lower layers that lie inside a block, where no shortcut leads.
    weighted_activations
        Whether the activations of the layer under the neuron's map are recorded too.
    """

    lower_layers: Sequence[str]
    normalize: str = "l1"
    skip_channels: str = LEAVE_OUT
    inner_layers: Sequence[str] = ()
    weighted_activations: bool = False


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
        work.define(lambda out: _define(out, pairs, circuits, n_neurons, attribution.joined))
        _attribute(attribution, images, network, pairs, circuits.weighted_activations, execution.batch_size, work)
        work.finish()


def _attribute(
    attribution: Attribution,
    images: Images,
    network: Network,
    pairs: Pairs,
    weighted: bool,
    batch_size: int | None,
    work: Work,
) -> None:
    """Fill one table per lower layer, a row per (neuron, reference) pair."""
    groups = pairs.by_image()
    n_references = pairs.reference_id.shape[1]

    def attribute(start: int, stop: int, size: int) -> list[tuple[Round, Tables]]:
        batch = groups[start:stop]
        attribution.forward(network.prepare(filled(images.take(np.array([image for image, _ in batch])), size)))
        return [
            (r, _tables(attribution, r.row, pairs.neurons[r.pair // n_references], weighted)) for r in rounds(batch)
        ]

    n_pairs, n_done = (sum(len(group) for _, group in some) for some in (groups, groups[: work.done]))
    logger.info("%d pairs of a neuron and a reference on %d unique images", n_pairs, len(groups))
    batches = in_batches(attribute, len(groups), network.device, images.size, batch_size, work.done)
    with Progress(n_pairs, "relevances", "pairs", n_done) as progress:
        for _, stop, results in batches:
            for r, tables in results:
                for name, values in tables.items():
                    _check_finite(values, name, pairs.neurons[r.pair // n_references])
                    work.write(name, r.pair, values.cpu().numpy())
                progress.advance(len(r.pair))
            work.checkpoint(stop)


def _tables(attribution: Attribution, row: np.ndarray, neurons: np.ndarray, weighted: bool) -> Tables:
    """Attribute neurons (r,): rows of each table of the artifact."""
    directions = attribution.directions(neurons)
    attributed = attribution.attribute(row, directions)
    tables = named_tables(attributed)
    if weighted:
        tables[WEIGHTED] = attribution.weighted_activations(row, directions)
    return tables


def named_tables(attributed: Attributed) -> Tables:
    """Name relevances and shares as the artifact does."""
    shares = {f"joined_share/{name}": values for name, values in attributed.joined_share.items()}
    return {f"relevance/{name}": values for name, values in attributed.relevance.items()} | shares


def _check_finite(values: torch.Tensor, name: str, neurons: np.ndarray) -> None:
    bad = ~torch.isfinite(values.flatten(1) if values.ndim > 1 else values[:, None]).all(dim=1)
    if bad.any():
        neuron = neurons[int(bad.nonzero()[0])]
        raise UserError(f"{name} of neuron {neuron} is NaN or infinite: that of its activation, or of a lower layer's")


def _define(
    out: Writer, pairs: Pairs, circuits: Circuits, n_neurons: Mapping[str, int], joined: Mapping[str, np.ndarray]
) -> None:
    out.references(pairs.neurons, pairs.reference_id)
    out.coordinate("lower_layer", len(circuits.lower_layers))
    out.variable("lower_layer_name", data=list(circuits.lower_layers))
    out.variable("inner", data=[name in circuits.inner_layers for name in circuits.lower_layers])
    for name in circuits.lower_layers:
        dim = f"lower_neuron.{name}"
        out.coordinate(dim, n_neurons[name])
        out.rows(f"relevance/{name}", dims=("neuron", "reference", dim))
        if name in joined:
            out.variable(f"joined/{name}", dims=(dim,), data=joined[name])
            out.rows(f"joined_share/{name}", dims=("neuron", "reference"))
    if circuits.weighted_activations:
        (layer,) = n_neurons.keys() - set(circuits.lower_layers)
        out.coordinate("layer_neuron", n_neurons[layer])
        out.rows(WEIGHTED)
