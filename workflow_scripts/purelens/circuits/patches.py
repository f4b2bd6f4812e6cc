"""The rule ``patches``: locate the patch of each reference image that its neuron responds to."""

import logging
from dataclasses import dataclass

import numpy as np
import torch

from purelens.circuits.boxes import blurred, boxes, thumbnails
from purelens.circuits.conservation import LRP, conservation_warnings
from purelens.circuits.pairs import Pairs, rounds, select_pairs
from purelens.circuits.pixel_heatmaps import PixelHeatmaps
from purelens.data.dataset import Images, open_images
from purelens.networks.batching import choose_device, filled, in_batches
from purelens.networks.loading import Network, load_network
from purelens.networks.subnetwork import LayerView, Segment
from purelens.progress import Progress
from purelens.storage.artifacts import Writer
from purelens.storage.provenance import DEFAULT_EXECUTION, Execution
from purelens.storage.reading import read
from purelens.storage.resumable import Work, resume

logger = logging.getLogger("purelens")


@dataclass(frozen=True)
class Cut:
    """How a heatmap becomes a box and a small heatmap.

    Attributes
    ----------
    blur
        Side of the Gaussian kernel, in pixels; odd.
    threshold
        Share of the maximum above which a pixel is in the box.
    crop_rule
        ``inclusive`` or ``published`` (see `purelens.circuits.boxes.boxes`).
    heat_size
        Side of the small heatmap, in cells.
    """

    blur: int = 5
    threshold: float = 0.02
    crop_rule: str = "inclusive"
    heat_size: int = 20

    def apply(self, relevance: torch.Tensor, value: torch.Tensor) -> dict[str, np.ndarray]:
        """Compute rows of the artifact from relevances (r, H, W) of pixels and the activations (r,) they were seeded with."""
        heat = blurred(relevance, self.blur)
        rows = {
            "box": boxes(heat, self.threshold, self.crop_rule),
            "heat": thumbnails(heat, self.heat_size),
            "conserved": relevance.sum(dim=(1, 2)) / value,
        }
        return {name: values.cpu().numpy() for name, values in rows.items()}


DEFAULT_CUT = Cut()


def patches(
    images_h5: str,
    model: tuple[str, str],
    activations_h5: str,
    patches_h5: str,
    layer: LayerView,
    neurons: str | list[int | str] = "all",
    attribution: str = LRP,
    cut: Cut = DEFAULT_CUT,
    execution: Execution = DEFAULT_EXECUTION,
) -> None:
    """Locate the patch of each (neuron, reference) pair in its image.

    Parameters
    ----------
    images_h5, model, activations_h5
        Artifacts of the rules ``dataset``, ``model`` and ``activations``.
    patches_h5
        The artifact.
    layer, neurons
        As in `purelens.circuits.relevances.relevances`.
    attribution
        ``lrp``, or ``gradient`` for input times gradient.
    cut
        How a heatmap becomes a box.
    execution
        Device, batch size, shard of the neurons, and provenance record.

    Raises
    ------
    UserError
        If LRP has no rule for a part of the network.

    Notes
    -----
    Only the unit at the position of the reference's largest activation is explained, seeded with that activation (Dreyer et al.
    2024, section 4; Achtibat et al. 2023 for the restriction to the receptive field).
    """
    device = choose_device(execution.device)
    network = load_network(*model, device)
    with read(activations_h5, "activations") as file:
        pairs = select_pairs(file, neurons, layer.name, execution.shard)
    with (
        open_images(images_h5) as images,
        Segment(network.module, layer.name) as segment,
        PixelHeatmaps(network, segment, layer, attribution, images.size) as heatmaps,
        resume(patches_h5, "patches", execution.provenance, str(device)) as work,
    ):
        if work.define(lambda out: _define(out, pairs, cut.heat_size)):
            _fill_missing(work, pairs)
        _locate(heatmaps, cut, images, network, pairs, execution.batch_size, work)
        work.finish()
    with read(patches_h5, "patches") as file:
        _log_conservation(file["conserved"][...], attribution)


def _define(out: Writer, pairs: Pairs, heat_size: int) -> None:
    out.references(pairs.neurons, pairs.reference_id)
    for dim, size in (("edge", 4), ("heat_row", heat_size), ("heat_column", heat_size)):
        out.coordinate(dim, size)
    for name in ("box", "heat", "conserved"):
        out.rows(name)


def _fill_missing(work: Work, pairs: Pairs) -> None:
    """Mark missing references as having no box."""
    missing = np.flatnonzero(pairs.reference_id.reshape(-1) < 0)
    work.write("box", missing, np.full((len(missing), 4), -1))
    work.write("conserved", missing, np.full(len(missing), np.nan))


def _locate(
    heatmaps: PixelHeatmaps,
    cut: Cut,
    images: Images,
    network: Network,
    pairs: Pairs,
    batch_size: int | None,
    work: Work,
) -> None:
    """Fill the tables, a row per (neuron, reference) pair."""
    groups = pairs.by_image()
    n_references = pairs.reference_id.shape[1]
    positions = pairs.reference_position.reshape(-1)

    def locate(start: int, stop: int, size: int) -> list[tuple[np.ndarray, dict[str, np.ndarray]]]:
        batch = groups[start:stop]
        heatmaps.forward(network.prepare(filled(images.take(np.array([image for image, _ in batch])), size)))
        results = []
        for r in rounds(batch):
            neurons = pairs.neurons[r.pair // n_references]
            relevance, value = heatmaps.backward(r.row, neurons, positions[r.pair])
            results.append((r.pair, cut.apply(relevance, value)))
        return results

    n_pairs, n_done = (sum(len(group) for _, group in some) for some in (groups, groups[: work.done]))
    batches = in_batches(locate, len(groups), network.device, images.size, batch_size, work.done)
    with Progress(n_pairs, "patches", "pairs", n_done) as progress:
        for _, stop, results in batches:
            for pair, rows in results:
                for name, values in rows.items():
                    work.write(name, pair, values)
                progress.advance(len(pair))
            work.checkpoint(stop)


def _log_conservation(conserved: np.ndarray, attribution: str) -> None:
    """Log how much of the relevance arrives at the pixels; biases absorb the rest."""
    if not np.isfinite(conserved).any():
        return
    low, middle, high = np.nanquantile(conserved, [0.05, 0.5, 0.95])
    logger.info("relevance conserved: median %.3g, 5%%-95%% of patches %.3g-%.3g", middle, low, high)
    for text in conservation_warnings(conserved, attribution):
        logger.warning("%s", text)
