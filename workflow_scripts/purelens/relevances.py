"""The rule ``relevances``: what the neurons of lower layers contribute to each neuron on its references."""

import logging
from contextlib import ExitStack

import numpy as np
import torch

from purelens.artifacts import Provenance, Scratch, Writer, create, read
from purelens.dataset import Images, open_images
from purelens.device import choose_device, in_batches
from purelens.errors import UserError
from purelens.layers import Segment, as_maps, seed_like
from purelens.models import Network, load_network
from purelens.pairs import Pairs, Round, rounds, select_pairs
from purelens.progress import Progress

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
        Where the layer's neurons are (see `purelens.layers.as_maps`).
    normalize
        ``l1``: divide each vector by the sum of its absolute values; ``none``.
    device, batch_size
        See `purelens.device`.
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
        pairs = select_pairs(file, neurons, layer)
    with ExitStack() as stack:
        images = stack.enter_context(open_images(images_h5))
        segment = stack.enter_context(Segment(network.module, layer, lower_layers))
        out = stack.enter_context(create(relevances_h5, "relevances", provenance, str(where)))
        attribution = Attribution(segment, layer, channels, normalize)
        tables = _attribute(attribution, images, network, pairs, where, batch_size, stack, relevances_h5)
        _write(out, pairs, tables, lower_layers)


class Attribution:
    """Gradient times activation, from neurons of a layer to the layers below (see `relevances`)."""

    def __init__(self, segment: Segment, layer: str, channels: str = "auto", normalize: str = "l1") -> None:
        self._segment = segment
        self._layer = layer
        self._channels = channels
        self._normalize = normalize

    def forward(self, images: torch.Tensor) -> None:
        """Forward a batch of normalised images; backward passes may follow."""
        with torch.enable_grad():
            self._output, self._lower = self._segment.forward(images)
            self._maps = as_maps(self._output, self._layer, self._channels).detach()

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
    stack: ExitStack,
    beside: str,
) -> dict[str, Scratch]:
    """Fill one table per lower layer, a row per (neuron, reference)."""
    groups = pairs.by_image()
    n_references = pairs.reference_id.shape[1]
    tables: dict[str, Scratch] = {}

    def attribute(start: int, stop: int) -> list[tuple[Round, dict[str, torch.Tensor]]]:
        batch = groups[start:stop]
        pixels = images.take(np.array([image for image, _ in batch]))
        attribution.forward(network.normalize(torch.from_numpy(pixels).to(device)))
        return [(r, attribution.backward(r.row, pairs.neurons[r.pair // n_references])) for r in rounds(batch)]

    n_pairs = sum(len(group) for _, group in groups)
    logger.info("%d pairs of a neuron and a reference on %d unique images", n_pairs, len(groups))
    with Progress(n_pairs, "relevances", "pairs") as progress:
        for _, _, results in in_batches(attribute, len(groups), device, images.size, batch_size):
            for r, found in results:
                for name, relevance in found.items():
                    _check_finite(relevance, name, pairs.neurons[r.pair // n_references])
                    if name not in tables:
                        scratch = Scratch(beside, name, pairs.reference_id.size, relevance.shape[1])
                        tables[name] = stack.enter_context(scratch)
                    tables[name].write(r.pair, relevance.cpu().numpy())
                progress.advance(len(r.pair))
    return tables


def _check_finite(relevance: torch.Tensor, lower_layer: str, neurons: np.ndarray) -> None:
    bad = ~torch.isfinite(relevance).all(dim=1)
    if bad.any():
        neuron = neurons[int(bad.nonzero()[0])]
        raise UserError(f"the relevance of neuron {neuron} at lower layer {lower_layer!r} is NaN or infinite")


def _write(out: Writer, pairs: Pairs, tables: dict[str, Scratch], lower_layers: list[str]) -> None:
    out.coordinate("neuron", pairs.neurons)
    out.coordinate("reference", pairs.reference_id.shape[1])
    out.variable("reference_id", data=pairs.reference_id)
    for name in lower_layers:
        if name not in tables:
            raise UserError("no selected neuron has any reference: all of them are dead; select others")
        dim = f"lower_neuron.{name}"
        out.coordinate(dim, tables[name].n_columns)
        tables[name].copy_to(out.variable(f"relevance/{name}", dims=("neuron", "reference", dim)))
