"""The rule ``network_dissection``: compare where a neuron is active with where concepts are (Bau et al. 2017)."""

import logging
import math
from collections.abc import Iterator

import numpy as np
import torch
from torch.nn import functional

from purelens.data.dataset import Images, open_images
from purelens.data.splits import TEST, split_images
from purelens.errors import UserError
from purelens.networks.batching import choose_device, filled, in_batches
from purelens.networks.loading import Network, load_network
from purelens.networks.subnetwork import LayerView, Segment
from purelens.progress import Progress
from purelens.storage.artifacts import create
from purelens.storage.provenance import DEFAULT_EXECUTION, Execution
from purelens.storage.reading import read, strings

logger = logging.getLogger("purelens")

ACTIVE_FRACTION = 0.005
"""Share of all positions at which a neuron counts as active."""

BINS = 4096


def network_dissection(
    images_h5: str,
    model: tuple[str, str],
    activations_h5: str,
    iou_h5: str,
    layer: LayerView,
    seed: int = 0,
    execution: Execution = DEFAULT_EXECUTION,
) -> None:
    """Measure how the active positions of each neuron overlap with the masks of each concept.

    Parameters
    ----------
    images_h5, model, activations_h5
        Artifacts of the rules ``dataset``, ``model`` and ``activations``.
    iou_h5
        The artifact: intersections over unions. Without concepts where the images have no masks.
    layer
        The layer.
    seed
        Seed of the split of the images; test images take no part.
    execution
        Device, batch size and provenance record.

    Notes
    -----
    Bau et al. 2017, section 2.3: a neuron is active where its map, brought to the size of the masks, is above its 0.5 %
    quantile. The quantile is read from a histogram of 4,096 bins between zero and the largest activation. A concept lies where
    the mask of an image lies that has the concept.
    """
    device = choose_device(execution.device)
    network = load_network(*model, device)
    with (
        open_images(images_h5) as images,
        read(activations_h5, "activations") as file,
        Segment(network.module, layer.name) as segment,
        create(iou_h5, "iou", execution.provenance, str(device)) as out,
    ):
        known = "mask" in images.file and "concept" in images.file
        if not known:
            logger.warning("Network Dissection: the images have no masks of concepts, so it explains nothing")
        names = strings(images.file["concept_label"]) if known else []
        maps = Maps(network, segment, layer, images, execution.batch_size)
        chosen = np.flatnonzero(split_images(len(images), seed) != TEST)
        iou = np.zeros((len(file["neuron"]), 0))
        if known:
            largest = np.max([file["max"][i : i + BINS].max(axis=0) for i in range(0, len(images), BINS)], axis=0)
            iou = intersections_over_unions(maps, images, chosen, thresholds(maps, chosen, largest))
        out.coordinate("neuron", len(iou))
        out.coordinate("concept", len(names))
        out.variable("concept_label", data=names)
        out.variable("iou", data=iou)


class Maps:
    """Compute the maps of a layer on some images, a batch at a time.

    Parameters
    ----------
    network, segment, layer, images
        The network, its part up to the layer, the layer, and the images.
    batch_size
        Images per batch; None: chosen by the device.
    """

    def __init__(
        self, network: Network, segment: Segment, layer: LayerView, images: Images, batch_size: int | None
    ) -> None:
        self._network, self._segment, self._layer = network, segment, segment.resolve(layer, images.size)[0]
        self._images, self._batch_size = images, batch_size

    def on(self, chosen: np.ndarray, task: str) -> Iterator[tuple[np.ndarray, torch.Tensor]]:
        """Compute the maps of some images.

        Parameters
        ----------
        chosen
            (n,) image ids.
        task
            What is done, for the progress bar.

        Yields
        ------
        ids : numpy.ndarray
            (b,) image ids of a batch.
        maps : torch.Tensor
            (b, C, h, w).
        """

        def forward(start: int, stop: int, size: int) -> torch.Tensor:
            pixels = filled(self._images.take(chosen[start:stop]), size)
            with torch.inference_mode():
                output, _ = self._segment.forward(self._network.prepare(pixels))
                return in_rows(self._layer, output)[: stop - start]

        device = self._network.device
        with Progress(len(chosen), task, "images") as progress:
            for start, stop, maps in in_batches(forward, len(chosen), device, self._images.size, self._batch_size):
                yield chosen[start:stop], maps
                progress.advance(stop - start)


def in_rows(layer: LayerView, output: torch.Tensor) -> torch.Tensor:
    """Lay the maps of a layer out in rows and columns: (b, C, h, w).

    Tokens are the cells of a square, row by row, after the class token if there is one.

    Raises
    ------
    UserError
        If the tokens are no square.
    """
    flat = layer.maps(output)
    if output.ndim == 4:
        side = output.shape[1:3] if layer.channels == "last" else output.shape[2:]
        return flat.reshape(*flat.shape[:2], *side)
    n = math.isqrt(flat.shape[2])
    if n * n == flat.shape[2] - 1:
        flat = flat[:, :, 1:]
    elif n * n != flat.shape[2]:
        raise UserError(
            f"Network Dissection: the {flat.shape[2]} tokens of layer {layer.name!r} are no square of patches"
        )
    return flat.reshape(*flat.shape[:2], n, n)


def thresholds(maps: Maps, chosen: np.ndarray, largest: np.ndarray) -> np.ndarray:
    """Find the values above which each neuron is at 0.5 % of all positions, from above to within a bin.

    Parameters
    ----------
    maps
        The maps of the layer.
    chosen
        (n,) image ids.
    largest
        (C,) largest activation of each neuron.

    Returns
    -------
    numpy.ndarray
        (C,); infinite for a neuron that is never active.
    """
    count, n = np.zeros((len(largest), BINS), dtype=np.int64), 0
    scale = np.where(largest > 0, BINS / np.maximum(largest, 1e-30), 0)
    rows = np.arange(len(largest))[:, None]
    for _, batch in maps.on(chosen, "quantiles"):
        values = batch.cpu().numpy().transpose(1, 0, 2, 3).reshape(len(largest), -1)
        bins = np.clip((values * scale[:, None]).astype(np.int64), 0, BINS - 1)
        flat = np.bincount((rows * BINS + bins).reshape(-1), minlength=count.size)
        count, n = count + flat.reshape(count.shape), n + values.shape[1]
    above = count[:, ::-1].cumsum(axis=1)[:, ::-1]  # values in this bin or a higher one
    first = (above <= ACTIVE_FRACTION * n).argmax(axis=1)
    first = np.where((above <= ACTIVE_FRACTION * n).any(axis=1), first, BINS)
    return np.where(largest > 0, first * np.maximum(largest, 1e-30) / BINS, np.inf)


def intersections_over_unions(maps: Maps, images: Images, chosen: np.ndarray, threshold: np.ndarray) -> np.ndarray:
    """Compute intersections over unions of active positions and concepts, over all chosen images together.

    Parameters
    ----------
    maps, images
        The maps of the layer, and the images with masks and concepts.
    chosen
        (n,) image ids.
    threshold
        (C,) values above which the neurons count as active.

    Returns
    -------
    numpy.ndarray
        (C, M); 0 where both are empty.
    """
    concept, mask = images.file["concept"][...].astype(np.float64), images.file["mask"]
    inside, area = np.zeros((len(threshold), concept.shape[1])), np.zeros(len(threshold))
    of_concept = np.zeros(concept.shape[1])
    for numbers, batch in maps.on(chosen, "intersections"):
        masks = torch.from_numpy(images.file["mask"].take(numbers)).to(batch.device).float()[:, None]
        large = functional.interpolate(batch, size=mask.shape[1:], mode="bilinear", align_corners=False)
        active = (large >= torch.from_numpy(threshold).to(large)[None, :, None, None]).float()
        shared = (active * masks).sum(dim=(2, 3)).double().cpu().numpy()
        inside += shared.T @ concept[numbers]
        area += active.sum(dim=(0, 2, 3)).double().cpu().numpy()
        of_concept += masks.sum(dim=(1, 2, 3)).double().cpu().numpy() @ concept[numbers]
    union = area[:, None] + of_concept - inside
    return np.where(union > 0, inside / np.maximum(union, 1), 0)
