"""The rule ``planted``: plant neurons in a layer whose parts are known, and attribute them as any neuron."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from purelens.circuits.activations import Pooling
from purelens.circuits.attribution import open_attribution
from purelens.circuits.neuron_kinds import MAX, MEAN, PREACTIVATION, RELEVANCE, functions_before
from purelens.circuits.pairs import Pairs
from purelens.circuits.planted_sets import PlantedSet, Rankings, plant, rank
from purelens.circuits.selection import neuron_ids
from purelens.circuits.tables import Circuits, attribute_pairs, define_tables
from purelens.data.dataset import Images, open_images
from purelens.errors import UserError
from purelens.networks.batching import choose_device, filled, in_batches
from purelens.networks.loading import Network, load_network
from purelens.networks.subnetwork import LayerView, Segment
from purelens.progress import Progress
from purelens.storage.artifacts import Writer
from purelens.storage.provenance import DEFAULT_EXECUTION, Execution
from purelens.storage.reading import Artifact, read
from purelens.storage.resumable import resume
from purelens.storage.schemas import SINGLE

logger = logging.getLogger("purelens")

MOST_NEURONS = 128
"""Neurons that are drawn from: their activations on all images are in memory."""


@dataclass(frozen=True)
class Numbers:
    """How many neurons are planted.

    Attributes
    ----------
    pairs, triples, controls
        Of each kind.
    """

    pairs: int = 40
    triples: int = 24
    controls: int = 64


DEFAULT_NUMBERS = Numbers()


def planted(
    images_h5: str,
    model: tuple[str, str],
    activations_h5: str,
    planted_h5: str,
    layer: LayerView,
    circuits: Circuits,
    neurons: str | list[int | str] = "all",
    numbers: Numbers = DEFAULT_NUMBERS,
    reference_criterion: str = MAX,
    seed: int = 0,
    storage: str = SINGLE,
    execution: Execution = DEFAULT_EXECUTION,
) -> None:
    """Plant neurons in a layer, and attribute each to the lower layers on its references.

    Parameters
    ----------
    images_h5, model, activations_h5
        Artifacts of the rules ``dataset``, ``model`` and ``activations``.
    planted_h5
        The artifact: the planted neurons, the truth about their references, and what splits them.
    layer, circuits
        The layer, and what its neurons are attributed to.
    neurons
        ``all``, or numbers and ranges: the neurons that are summed.
    numbers
        How many are planted.
    reference_criterion
        By which the references of the neurons were ranked; those of planted neurons go by the largest activation.
    seed
        Seed of the choice.
    storage
        ``half`` or ``single``: store large tables in 16 or in 32 bits.
    execution
        Device, batch size and provenance record.

    Raises
    ------
    UserError
        If no two neurons are without common references.

    Notes
    -----
    The map of a planted neuron is relu(sum_i w_i a_i(p) / max a_i), with the activations a_i before the layer's activation
    function: the summands are fused, and the gradient says nothing of which one it was.
    """
    device = choose_device(execution.device)
    network = load_network(*model, device)
    with open_images(images_h5) as images, read(activations_h5, "activations") as file:
        chosen = _candidates(file, neuron_ids(neurons, len(file["neuron"]), layer.name), seed)
        values = _values(network, images, layer, execution.batch_size, chosen) or _activations(file, chosen)
        rankings = rank(values, images.file["label"][...], len(file["reference"]))
        largest = _largest(file, values, reference_criterion)
        sets = _plant(rankings, numbers, seed, layer.name)
        with (
            Segment(network.module, layer.name, circuits.lower_layers, functions_before(PREACTIVATION)) as segment,
            resume(planted_h5, "planted", execution.provenance, str(device), storage) as work,
        ):
            layer, n_neurons = segment.resolve(layer, images.size)
            first = network.prepare(images.take(np.array([0])))
            attribution = open_attribution(segment, layer, first, circuits.normalize, circuits.skip_channels)
            units = torch.as_tensor(_directions(sets, largest, n_neurons[layer.name]), device=device)
            pairs = _pairs(sets, rankings.n_references)

            def define(out: Writer) -> None:
                _describe(out, sets, pairs)
                define_tables(out, circuits, n_neurons, attribution.joined)

            work.define(define)
            attribute_pairs(attribution, images, network, pairs, units.__getitem__, execution.batch_size, work)
            work.finish()


def _candidates(file: Artifact, neurons: Sequence[int], seed: int) -> np.ndarray:
    """Choose the neurons to draw from: those that have all references, not too many."""
    ids = np.array(neurons)
    whole = ids[file["reference_id"][ids][:, -1] >= 0]
    if len(whole) > MOST_NEURONS:
        whole = np.sort(np.random.default_rng([seed, 1]).choice(whole, MOST_NEURONS, replace=False))
    return whole


def _values(
    network: Network, images: Images, layer: LayerView, batch_size: int | None, neurons: np.ndarray
) -> dict[int, np.ndarray]:
    """Compute what ranks the images (N,) of each neuron behind a function with a ceiling, at which many tie.

    Stored are the values behind it. Empty where there is no such function.
    """
    with Segment(network.module, layer.name, before=functions_before(MAX)) as segment:
        view, _ = segment.resolve(layer, images.size)
        pooling = Pooling(network, segment, view)
        pooling(images.take(np.array([0])))
        if not pooling.function:
            return {}
        values = np.empty((len(images), len(neurons)), dtype=np.float32)

        def pooled(start: int, stop: int, size: int) -> np.ndarray:
            return pooling(filled(images.take(np.arange(start, stop)), size)).value[: stop - start].cpu().numpy()

        with Progress(len(images), "values before the ceiling", "images") as progress:
            for start, stop, part in in_batches(pooled, len(images), network.device, images.size, batch_size):
                values[start:stop] = part[:, neurons]
                progress.advance(stop - start)
    return {int(neuron): values[:, place] for place, neuron in enumerate(neurons)}


def _activations(file: Artifact, neurons: np.ndarray) -> dict[int, np.ndarray]:
    """Read the largest activation of neurons on all images: (N,) each."""
    table = file["max"].take(np.arange(len(file["image"])), neurons)
    return {int(neuron): table[:, place] for place, neuron in enumerate(neurons)}


def _largest(file: Artifact, values: dict[int, np.ndarray], reference_criterion: str) -> dict[int, float]:
    """Read the largest activation of each neuron, before a function with a ceiling if references were ranked by that."""
    if reference_criterion in (MEAN, RELEVANCE):
        return {neuron: float(of_images.max()) for neuron, of_images in values.items()}
    return {neuron: float(file["reference_value"][neuron, 0]) for neuron in values}


def _plant(rankings: Rankings, numbers: Numbers, seed: int, layer: str) -> list[PlantedSet]:
    sets = plant(rankings, numbers.pairs, numbers.triples, numbers.controls, seed)
    if not rankings.main_class:
        logger.warning("planted: the images have no labels, so there are no neurons of one concept, and no controls")
    counts = Counter((one.kind, one.one_concept) for one in sets)
    for (kind, one_concept), n in counts.items():
        logger.info(
            "planted in layer %s: %d of kind %s%s", layer, n, kind, ", of one concept each" if one_concept else ""
        )
    if not any(len(one.parents) > 1 for one in sets):
        raise UserError(
            f"planted: no two of the {len(rankings.all_classes)} neurons of layer {layer!r} with all {rankings.n_references} "
            "references have none in common; take more images or fewer references"
        )
    return sets


def _directions(sets: Sequence[PlantedSet], largest: dict[int, float], n_neurons: int) -> np.ndarray:
    """Write planted neurons as directions (S, C)."""
    directions = np.zeros((len(sets), n_neurons), dtype=np.float32)
    for row, one in enumerate(sets):
        for parent, weight in zip(one.parents, one.weights, strict=True):
            directions[row, parent] = weight / largest[parent]
    return directions


def _pairs(sets: Sequence[PlantedSet], n_references: int) -> Pairs:
    ids = np.full((len(sets), n_references), -1, dtype=np.int32)
    for row, one in enumerate(sets):
        ids[row, : len(one.image_id)] = one.image_id
    return Pairs(np.arange(len(sets)), ids, np.zeros_like(ids))


def _describe(out: Writer, sets: Sequence[PlantedSet], pairs: Pairs) -> None:
    """Write what was planted, and the truth."""
    out.references(pairs.neurons, pairs.reference_id)
    n_parents = max(len(one.parents) for one in sets)
    out.coordinate("parent_number", n_parents)
    parents, weights = np.full((len(sets), n_parents), -1), np.zeros((len(sets), n_parents))
    truth = np.full(pairs.reference_id.shape, -1)
    for row, one in enumerate(sets):
        parents[row, : len(one.parents)], weights[row, : len(one.parents)] = one.parents, one.weights
        truth[row, : len(one.truth)] = one.truth
    out.variable("kind", data=[one.kind for one in sets])
    out.variable("one_concept", data=[one.one_concept for one in sets])
    out.variable("overlap", data=[one.overlap for one in sets])
    out.variable("parent", data=parents)
    out.variable("weight", data=weights)
    out.variable("truth", data=truth)
