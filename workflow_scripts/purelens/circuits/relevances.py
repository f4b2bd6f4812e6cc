"""The rule ``relevances``: what the neurons of lower layers contribute to each neuron on its references."""

import logging
from functools import partial

import numpy as np
import torch

from purelens.circuits.pairs import Pairs, Round, rounds, select_pairs
from purelens.data.dataset import Images, open_images
from purelens.errors import UserError
from purelens.networks.batching import choose_device, filled, in_batches
from purelens.networks.loading import Network, load_network
from purelens.networks.subnetwork import Segment, as_maps, seed_like
from purelens.progress import Progress
from purelens.storage.artifacts import SINGLE, Writer, read
from purelens.storage.provenance import Provenance
from purelens.storage.resumable import Work, resume
from purelens.storage.shards import WHOLE

logger = logging.getLogger("purelens")

L1_FLOOR = 1e-10


def relevances(
    images_h5: str,
    weights: str,
    card: str,
    activations_h5: str,
    relevances_h5: str,
    layer: str,
    lower_layers: list[str],
    neurons: str | list[int | str] = "all",
    channels: str = "auto",
    normalize: str = "l1",
    device: str = "auto",
    batch_size: int | None = None,
    shard: str = WHOLE,
    storage: str = SINGLE,
    provenance: Provenance | None = None,
) -> None:
    """Attribute each neuron, on each of its references, to the neurons of the lower layers.

    Every unique image is forwarded once. Its output at the lower layers is the leaf of the graph, so the backward passes,
    one per (neuron, image) pair, stay between the lower layers and the layer.

    Parameters
    ----------
    images_h5, weights, card, activations_h5
        Artifacts of the rules ``dataset``, ``model`` and ``activations``.
    relevances_h5
        The artifact.
    layer, lower_layers
        Module names.
    neurons
        ``all``, or numbers and ranges.
    channels
        Where the layer's neurons are (see `purelens.networks.subnetwork.as_maps`).
    normalize
        ``l1``: divide each vector by the sum of its absolute values; ``none``.
    device, batch_size
        See `purelens.networks.batching`.
    shard
        Which part of the neurons to attribute, such as ``2/4`` (see `purelens.storage.gather`).
    storage
        ``half`` or ``single``: store large tables in 16 or in 32 bits; always in 32 if they are not normalized.
    provenance
        What the artifact is made from.

    Raises
    ------
    UserError
        If a lower layer is not below the layer, or a relevance is NaN or infinite.

    Notes
    -----
    For neuron k with activation a_k(p) at position p, the relevance of lower neuron c is the sum over its positions of
    (activation x gradient of 1/2 sum_p relu(a_k(p))^2), as in Dreyer et al. 2024, equation 2.
    """
    where = choose_device(device)
    network = load_network(weights, card)
    network.module.to(where)
    with read(activations_h5, "activations") as file:
        pairs = select_pairs(file, neurons, layer, shard)
    with (
        open_images(images_h5) as images,
        Segment(network.module, layer, lower_layers) as segment,
        resume(relevances_h5, "relevances", provenance, str(where), storage if normalize == "l1" else SINGLE) as work,
    ):
        attribution = Attribution(segment, layer, channels, normalize)
        _attribute(attribution, images, network, pairs, where, batch_size, work)
        work.finish()


class Attribution:
    """Gradient times activation, from neurons of a layer to the layers below (see `relevances`)."""

    def __init__(self, segment: Segment, layer: str, channels: str = "auto", normalize: str = "l1") -> None:
        self._segment = segment
        self._layer = layer
        self._channels = channels
        self._normalize = normalize

    def forward(self, images: torch.Tensor) -> None:
        """Forward a batch of normalized images; backward passes may follow."""
        with torch.enable_grad():
            self._output, self._lower = self._segment.forward(images)
            self._maps = as_maps(self._output, self._layer, self._channels).detach()

    def n_lower(self) -> dict[str, int]:
        """Number of neurons of each lower layer, known after a forward pass."""
        return {name: as_maps(lower.detach(), name, self._channels).shape[1] for name, lower in self._lower.items()}

    def backward(self, row: np.ndarray, neuron: np.ndarray) -> dict[str, torch.Tensor]:
        """Attribute one neuron for each of some images of the batch.

        Parameters
        ----------
        row, neuron
            (r,) positions in the batch, each at most once, and the neuron of each.

        Returns
        -------
        dict
            For each lower layer (r, C_lower).
        """
        seed = torch.zeros_like(self._maps)
        seed[row, neuron] = self._maps[row, neuron].clamp(min=0)
        gradients = torch.autograd.grad(
            self._output,
            list(self._lower.values()),
            grad_outputs=seed_like(self._output, seed, self._channels),
            retain_graph=True,
            allow_unused=True,
        )
        found = {}
        for (name, activation), gradient in zip(self._lower.items(), gradients, strict=True):
            if gradient is None:
                raise UserError(f"lower layer {name!r} does not feed layer {self._layer!r}")
            product = (activation.detach() * gradient)[row]
            found[name] = self._normalized(as_maps(product, name, self._channels).sum(dim=-1))
        return found

    def _normalized(self, relevance: torch.Tensor) -> torch.Tensor:
        if self._normalize == "none":
            return relevance
        return relevance / (relevance.abs().sum(dim=1, keepdim=True) + L1_FLOOR)


def _attribute(
    attribution: Attribution,
    images: Images,
    network: Network,
    pairs: Pairs,
    device: torch.device,
    batch_size: int | None,
    work: Work,
) -> None:
    """Fill one table per lower layer, a row per (neuron, reference)."""
    groups = pairs.by_image()
    n_references = pairs.reference_id.shape[1]

    def attribute(start: int, stop: int, size: int) -> list[tuple[Round, dict[str, torch.Tensor]]]:
        batch = groups[start:stop]
        pixels = filled(images.take(np.array([image for image, _ in batch])), size)
        attribution.forward(network.normalize(torch.from_numpy(pixels).to(device)))
        return [(r, attribution.backward(r.row, pairs.neurons[r.pair // n_references])) for r in rounds(batch)]

    n_pairs, n_done = (sum(len(group) for _, group in part) for part in (groups, groups[: work.done]))
    logger.info("%d pairs of a neuron and a reference on %d unique images", n_pairs, len(groups))
    if not groups:  # a part of the neurons that are all dead
        attribution.forward(network.normalize(torch.from_numpy(images.take(np.array([0]))).to(device)))
        work.define(partial(_define, pairs=pairs, n_lower=attribution.n_lower()))
    batches = in_batches(attribute, len(groups), device, images.size, batch_size, work.done)
    with Progress(n_pairs, "relevances", "pairs", n_done) as progress:
        for _, stop, results in batches:
            if not work.defined:
                work.define(partial(_define, pairs=pairs, n_lower=attribution.n_lower()))
            for r, found in results:
                for name, relevance in found.items():
                    _check_finite(relevance, name, pairs.neurons[r.pair // n_references])
                    work.write(f"relevance/{name}", r.pair, relevance.cpu().numpy())
                progress.advance(len(r.pair))
            work.done_to(stop)


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
