"""Attribute the units of an artifact on their references, and fill its tables: neurons, or units planted among them."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from purelens.circuits.attribution import LEAVE_OUT, Attribution
from purelens.circuits.pairs import Pairs, Round, rounds
from purelens.circuits.views import WEIGHTED
from purelens.data.dataset import Images
from purelens.errors import UserError
from purelens.networks.batching import filled, in_batches
from purelens.networks.loading import Network
from purelens.progress import Progress
from purelens.storage.artifacts import Writer
from purelens.storage.resumable import Work

logger = logging.getLogger("purelens")

Tables = dict[str, torch.Tensor]


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


def define_tables(
    out: Writer, circuits: Circuits, n_neurons: Mapping[str, int], joined: Mapping[str, np.ndarray]
) -> None:
    """Lay out the tables over the units and references of an artifact.

    Parameters
    ----------
    out
        The artifact, with its references.
    circuits
        What is attributed to.
    n_neurons
        Number of neurons of the layer and of each lower layer.
    joined
        See `purelens.circuits.attribution.Attribution`.
    """
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


def attribute_pairs(
    attribution: Attribution,
    images: Images,
    network: Network,
    pairs: Pairs,
    units_of: Callable[[np.ndarray], torch.Tensor],
    batch_size: int | None,
    work: Work,
) -> None:
    """Fill the tables of an artifact, a row per (unit, reference) pair.

    Parameters
    ----------
    attribution, images, network
        What is attributed, on which images.
    pairs
        The units and their references.
    units_of
        Returns the directions (r, C) of units by their rows (r,); after a forward pass.
    batch_size
        Images per batch; None: chosen by the device.
    work
        The artifact (see `define_tables`).
    """
    groups = pairs.by_image()
    n_references = pairs.reference_id.shape[1]

    def attribute(start: int, stop: int, size: int) -> list[tuple[Round, Tables]]:
        batch = groups[start:stop]
        attribution.forward(network.prepare(filled(images.take(np.array([image for image, _ in batch])), size)))
        return [(r, _attributed(attribution, r.row, units_of(r.pair // n_references), work)) for r in rounds(batch)]

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


def _attributed(attribution: Attribution, row: np.ndarray, directions: torch.Tensor, work: Work) -> Tables:
    """Attribute units (r, C): rows of each table of the artifact."""
    attributed = attribution.attribute(row, directions)
    tables = {f"relevance/{name}": values for name, values in attributed.relevance.items()}
    tables |= {f"joined_share/{name}": values for name, values in attributed.joined_share.items()}
    if WEIGHTED in work:
        tables[WEIGHTED] = attribution.weighted_activations(row, directions)
    return tables


def _check_finite(values: torch.Tensor, name: str, neurons: np.ndarray) -> None:
    bad = ~torch.isfinite(values).reshape(len(values), -1).all(dim=1)
    if bad.any():
        neuron = neurons[int(bad.nonzero()[0])]
        kind, _, lower_layer = name.partition("/")
        of = f" at lower layer {lower_layer!r}" if lower_layer else ""
        raise UserError(f"the {kind.replace('_', ' ')} of neuron {neuron}{of} is NaN or infinite")
