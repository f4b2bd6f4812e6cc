"""The rule ``patches``: which part of a reference image a neuron looks at."""

import logging
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch

from purelens.circuits.boxes import blurred, boxes, thumbnails
from purelens.circuits.pairs import Pairs, rounds, select_pairs
from purelens.data.dataset import Images, open_images
from purelens.errors import UserError
from purelens.networks.batching import choose_device, filled, in_batches
from purelens.networks.loading import Network, load_network
from purelens.networks.lrp import Propagation, RelevanceSums, plan_rules
from purelens.networks.subnetwork import Segment, as_maps, seed_like
from purelens.progress import Progress
from purelens.storage.artifacts import Writer, read
from purelens.storage.provenance import Provenance
from purelens.storage.resumable import Work, resume
from purelens.storage.shards import WHOLE

logger = logging.getLogger("purelens")

LARGEST_CHANGE = 1e-2
"""Relative change of a layer's output by canonization, beyond rounding."""


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
    heat_size: int = 20,
    device: str = "auto",
    batch_size: int | None = None,
    shard: str = WHOLE,
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
        As in `purelens.circuits.relevances.relevances`.
    attribution
        ``lrp``, or ``gradient`` for input x gradient.
    blur, threshold, crop_rule
        From heatmap to box, see `purelens.circuits.boxes`.
    heat_size
        Side of the stored heatmap.
    device, batch_size
        See `purelens.networks.batching`.
    shard
        Which part of the neurons to look at, such as ``2/4`` (see `purelens.storage.gather`).
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
        pairs = select_pairs(file, neurons, layer, shard)
    with (
        open_images(images_h5) as images,
        Segment(network.module, layer) as segment,
        Heatmaps(network, segment, layer, channels, attribution, images.size, where) as heatmaps,
        resume(patches_h5, "patches", provenance, str(where)) as work,
    ):
        cut = Cut(blur, threshold, crop_rule, heat_size)
        if not work.defined:
            work.define(lambda out: _define(out, pairs, heat_size))
            _fill_missing(work, pairs)
        _locate(heatmaps, cut, images, network, pairs, batch_size, work)
        work.finish()
    with read(patches_h5, "patches") as file:
        _log_conservation(file["conserved"][...])


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
        self.device = device
        self._rules: Propagation | nullcontext[None] = nullcontext()
        self._probe = torch.rand(1, 3, size, size, device=device)
        if attribution == "lrp":
            plan = plan_rules(network.module, self._forward_probe, layer)
            self._rules = Propagation(network.module, plan)
        else:
            self._forward_probe()

    def _forward_probe(self) -> None:
        """Remember what the network gives without rules."""
        self._before = self._segment.forward(self._probe.clone().requires_grad_())[0].detach()

    def __enter__(self) -> "Heatmaps":
        self._rules.__enter__()
        self.forward(self._probe)
        change = (self._output.detach() - self._before).abs().max() / self._before.abs().max().clamp(min=1e-12)
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
        """Forward a batch of normalized images; backward passes may follow."""
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
            (r, H, W) relevance of the pixels, summed over color, and (r,) the activation it was seeded with.
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

    def apply(self, relevance: torch.Tensor, value: torch.Tensor) -> dict[str, torch.Tensor]:
        """Rows of the artifact, from the relevance (r, H, W) of pixels and the activation (r,) it was seeded with."""
        heat = blurred(relevance, self.blur)
        found = {
            "box": boxes(heat, self.threshold, self.crop_rule),
            "heat": thumbnails(heat, self.heat_size),
            "conserved": relevance.sum(dim=(1, 2)) / value,
        }
        return {name: values.cpu() for name, values in found.items()}


def _define(out: Writer, pairs: Pairs, heat_size: int) -> None:
    out.references(pairs.neurons, pairs.reference_id)
    for dim, size in (("edge", 4), ("heat_row", heat_size), ("heat_column", heat_size)):
        out.coordinate(dim, size)
    for name in ("box", "heat", "conserved"):
        out.rows(name)


def _fill_missing(work: Work, pairs: Pairs) -> None:
    """Say of missing references that there is no box."""
    missing = np.flatnonzero(pairs.reference_id.reshape(-1) < 0)
    work.write("box", missing, np.full((len(missing), 4), -1))
    work.write("conserved", missing, np.full(len(missing), np.nan))


def _locate(
    heatmaps: Heatmaps,
    cut: Cut,
    images: Images,
    network: Network,
    pairs: Pairs,
    batch_size: int | None,
    work: Work,
) -> None:
    """Fill the tables, a row per (neuron, reference)."""
    groups, device = pairs.by_image(), heatmaps.device
    n_references = pairs.reference_id.shape[1]
    positions = pairs.reference_position.reshape(-1)

    def locate(start: int, stop: int, size: int) -> list[tuple[np.ndarray, dict[str, torch.Tensor]]]:
        batch = groups[start:stop]
        pixels = filled(images.take(np.array([image for image, _ in batch])), size)
        heatmaps.forward(network.normalize(torch.from_numpy(pixels).to(device)))
        results = []
        for r in rounds(batch):
            neurons = pairs.neurons[r.pair // n_references]
            relevance, value = heatmaps.backward(r.row, neurons, positions[r.pair])
            results.append((r.pair, cut.apply(relevance, value)))
        return results

    n_pairs, n_done = (sum(len(group) for _, group in part) for part in (groups, groups[: work.done]))
    batches = in_batches(locate, len(groups), device, images.size, batch_size, work.done)
    with Progress(n_pairs, "patches", "pairs", n_done) as progress:
        for _, stop, results in batches:
            for pair, found in results:
                for name, values in found.items():
                    work.write(name, pair, values.numpy())
                progress.advance(len(pair))
            work.done_to(stop)


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
