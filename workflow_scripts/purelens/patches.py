"""The rule ``patches``: which part of a reference image a neuron looks at."""

import logging
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass

import numpy as np
import torch

from purelens.artifacts import Provenance, Scratch, create, read
from purelens.boxes import blurred, boxes, thumbnails
from purelens.dataset import Images, open_images
from purelens.device import choose_device, in_batches
from purelens.errors import UserError
from purelens.layers import Segment, as_maps, seed_like
from purelens.lrp import Propagation, RelevanceSums, plan_rules
from purelens.models import Network, load_network
from purelens.pairs import Pairs, rounds, select_pairs
from purelens.progress import Progress

logger = logging.getLogger("purelens")

LARGEST_CHANGE = 1e-2
"""Relative change of a layer's output by canonisation, beyond rounding."""


def patches(
    images_h5: str,
    weights: str,
    card: str,
    activations_h5: str,
    patches_h5: str,
    layer: str,
    neurons: str | list[int | str] = "all",
    channels: str = "auto",
    attribution: str = "lrp",
    blur: int = 5,
    threshold: float = 0.02,
    crop_rule: str = "inclusive",
    heat_size: int = 32,
    device: str = "auto",
    batch_size: int | None = None,
    provenance: Provenance | None = None,
) -> None:
    """Locate the patch of each (neuron, reference) pair in its image.

    Parameters
    ----------
    images_h5, weights, card, activations_h5
        Artifacts of the rules ``dataset``, ``model`` and ``activations``.
    patches_h5
        The artifact.
    layer, neurons, channels
        As in `purelens.relevances.relevances`.
    attribution
        ``lrp``, or ``gradient`` for input x gradient.
    blur, threshold, crop_rule
        From heatmap to box, see `purelens.boxes`.
    heat_size
        Side of the stored heatmap.
    device, batch_size
        See `purelens.device`.
    provenance
        What the artifact is made from.

    Raises
    ------
    UserError
        If LRP has no rule for a part of the network.

    Notes
    -----
    Only the unit at the position of the reference's largest activation is explained, seeded with that activation
    (Dreyer et al. 2024, section 4; Achtibat et al. 2023 for the restriction to the receptive field).
    """
    where = choose_device(device)
    network = load_network(weights, card)
    network.module.to(where)
    with read(activations_h5, "activations") as file:
        pairs = select_pairs(file, neurons, layer)
    with ExitStack() as stack:
        images = stack.enter_context(open_images(images_h5))
        segment = stack.enter_context(Segment(network.module, layer))
        heatmaps = stack.enter_context(Heatmaps(network, segment, layer, channels, attribution, images.size, where))
        out = stack.enter_context(create(patches_h5, "patches", provenance, str(where)))
        scratch = Scratch(patches_h5, "heat", pairs.reference_id.size, heat_size**2, "u1")
        table = stack.enter_context(scratch)
        cut = Cut(blur, threshold, crop_rule, heat_size)
        found = _locate(heatmaps, cut, images, network, pairs, where, batch_size, table)
        out.coordinate("neuron", pairs.neurons)
        for dim, size in (("reference", pairs.reference_id.shape[1]), ("edge", 4)):
            out.coordinate(dim, size)
        out.coordinate("heat_row", heat_size)
        out.coordinate("heat_column", heat_size)
        out.variable("reference_id", data=pairs.reference_id)
        out.variable("box", data=found.box.reshape(*pairs.reference_id.shape, 4))
        out.variable("conserved", data=found.conserved.reshape(pairs.reference_id.shape))
        table.copy_to(out.variable("heat"))


class Heatmaps:
    """Explain single units of a layer in the pixels of their images. Use it in a ``with`` block."""

    def __init__(
        self,
        network: Network,
        segment: Segment,
        layer: str,
        channels: str,
        attribution: str,
        size: int,
        device: torch.device,
    ) -> None:
        self._segment, self._layer, self._channels = segment, layer, channels
        self._times_input = attribution == "gradient"
        self._rules: Propagation | nullcontext[None] = nullcontext()
        self._probe = torch.rand(1, 3, size, size, device=device)
        if attribution == "lrp":
            plan = plan_rules(network.module, lambda: segment.forward(self._probe.clone().requires_grad_()), layer)
            self._rules = Propagation(network.module, plan)

    def __enter__(self) -> "Heatmaps":
        before = self._segment.forward(self._probe)[0].detach()
        self._rules.__enter__()
        self.forward(self._probe)
        change = (self._output.detach() - before).abs().max() / before.abs().max().clamp(min=1e-12)
        if change > LARGEST_CHANGE:
            self._rules.__exit__(None, None, None)
            raise UserError(
                f"LRP would explain another network: merging BatchNorms below layer {self._layer!r} changes its output by "
                f"{change:.1%}; set attribution: gradient for this model to locate patches by input x gradient"
            )
        return self

    def __exit__(self, *error: object) -> None:
        self._rules.__exit__(*error)  # type: ignore[arg-type]

    def forward(self, images: torch.Tensor) -> None:
        """Forward a batch of normalised images; backward passes may follow."""
        self._images = images.detach().requires_grad_()
        with torch.enable_grad(), nullcontext() if self._times_input else RelevanceSums():
            self._output, _ = self._segment.forward(self._images)
        self._maps = as_maps(self._output, self._layer, self._channels).detach()

    def backward(self, row: np.ndarray, neuron: np.ndarray, position: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Explain one unit for each of some images of the batch.

        Parameters
        ----------
        row, neuron, position
            (r,) positions in the batch, each at most once; the neuron and the position of each unit.

        Returns
        -------
        tuple
            (r, H, W) relevance of the pixels, summed over colour, and (r,) the activation it was seeded with.
        """
        seed = torch.zeros_like(self._maps)
        value = self._maps[row, neuron, position]
        seed[row, neuron, position] = value
        (relevance,) = torch.autograd.grad(
            self._output, self._images, seed_like(self._output, seed, self._channels), retain_graph=True
        )
        if self._times_input:
            relevance = relevance * self._images.detach()
        return relevance[row].sum(dim=1), value


@dataclass(frozen=True)
class Cut:
    """How a heatmap becomes a box and a thumbnail."""

    blur: int
    threshold: float
    crop_rule: str
    heat_size: int


@dataclass(frozen=True)
class Found:
    """Boxes (pairs, 4) and conserved shares (pairs,) of all pairs."""

    box: np.ndarray
    conserved: np.ndarray


def _locate(
    heatmaps: Heatmaps,
    cut: Cut,
    images: Images,
    network: Network,
    pairs: Pairs,
    device: torch.device,
    batch_size: int | None,
    table: Scratch,
) -> Found:
    groups = pairs.by_image()
    n_references = pairs.reference_id.shape[1]
    positions = pairs.reference_position.reshape(-1)
    found = Found(np.full((positions.size, 4), -1, dtype="i2"), np.full(positions.size, np.nan, dtype="f4"))

    def locate(start: int, stop: int) -> list[tuple[np.ndarray, torch.Tensor, torch.Tensor, torch.Tensor]]:
        batch = groups[start:stop]
        pixels = torch.from_numpy(images.take(np.array([image for image, _ in batch])))
        heatmaps.forward(network.normalize(pixels.to(device)))
        results = []
        for r in rounds(batch):
            neurons = pairs.neurons[r.pair // n_references]
            relevance, value = heatmaps.backward(r.row, neurons, positions[r.pair])
            heat = blurred(relevance, cut.blur)
            box = boxes(heat, cut.threshold, cut.crop_rule)
            shares = relevance.sum(dim=(1, 2)) / value
            results.append((r.pair, box.cpu(), thumbnails(heat, cut.heat_size).cpu(), shares.cpu()))
        return results

    with Progress(sum(len(group) for _, group in groups), "patches", "pairs") as progress:
        for _, _, results in in_batches(locate, len(groups), device, images.size, batch_size):
            for pair, box, thumbnail, shares in results:
                found.box[pair] = box.numpy()
                found.conserved[pair] = shares.numpy()
                table.write(pair, thumbnail.numpy())
                progress.advance(len(pair))
    _log_conservation(found.conserved)
    return found


def _log_conservation(conserved: np.ndarray) -> None:
    """Say how much of the relevance arrives at the pixels; biases keep the rest."""
    if np.isfinite(conserved).any():
        low, middle, high = np.nanquantile(conserved, [0.05, 0.5, 0.95])
        logger.info("relevance conserved: median %.3f, 5%%-95%% of patches %.3f-%.3f", middle, low, high)
        if low < -1 or high > 2:
            logger.warning(
                "relevance is not conserved in this network: sums of values of opposite sign share it out by factors far "
                "beyond one, and boxes may be off; compare with attribution: gradient"
            )
