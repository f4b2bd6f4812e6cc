"""The rule ``activations``: one forward pass over all images, up to the layer."""

import logging
from functools import partial

import numpy as np
import torch

from purelens.circuits.topk import References
from purelens.data.dataset import Images, open_images
from purelens.errors import UserError, listed
from purelens.networks.batching import choose_device, filled, in_batches
from purelens.networks.loading import Network, load_network
from purelens.networks.subnetwork import Segment, as_maps
from purelens.progress import Progress
from purelens.storage.artifacts import SINGLE, Writer
from purelens.storage.provenance import Provenance
from purelens.storage.resumable import Work, resume
from purelens.storage.shards import WHOLE, part_of

logger = logging.getLogger("purelens")


def activations(
    images_h5: str,
    weights: str,
    card: str,
    activations_h5: str,
    layer: str,
    n_references: int,
    channels: str = "auto",
    device: str = "auto",
    batch_size: int | None = None,
    shard: str = WHOLE,
    storage: str = SINGLE,
    provenance: Provenance | None = None,
) -> None:
    """Record mean and largest activations of all neurons of a layer, and the references of each.

    Parameters
    ----------
    images_h5, weights, card
        Artifacts of the rules ``dataset`` and ``model``.
    activations_h5
        The artifact.
    layer, channels
        The layer's name, and where its neurons are (see `purelens.networks.subnetwork.as_maps`).
    n_references
        K, the number of references of a neuron.
    device, batch_size
        See `purelens.networks.batching`.
    shard
        Which part of the images to look at, such as ``2/4`` (see `purelens.storage.gather`).
    storage
        ``half`` or ``single``: store large tables in 16 or in 32 bits.
    provenance
        What the artifact is made from.

    Raises
    ------
    UserError
        If an activation is NaN or infinite (with layer, neuron and image), or there are fewer images than references.

    Notes
    -----
    The reference criterion is the largest activation over positions (Dreyer et al. 2024, section 3).
    """
    where = choose_device(device)
    network = load_network(weights, card)
    network.module.to(where)
    with (
        open_images(images_h5) as images,
        Segment(network.module, layer) as segment,
        resume(activations_h5, "activations", provenance, str(where), storage) as work,
    ):
        if len(images) < n_references:
            raise UserError(f"references: {n_references} wanted, but {images_h5} has only {len(images)} images")
        pooling = Pooling(network, segment, layer, channels, where)
        image_ids = part_of(np.arange(len(images)), shard)
        references = _stream(pooling, images, image_ids, n_references, batch_size, work)
        _write_references(work, references, layer)
        work.finish()


class Pooling:
    """Mean and largest activation over positions, of all neurons of a layer."""

    def __init__(
        self, network: Network, segment: Segment, layer: str, channels: str, device: torch.device | str = "cpu"
    ) -> None:
        self._network, self._segment, self._channels = network, segment, channels
        self.layer, self.device = layer, torch.device(device)

    def __call__(self, pixels: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Mean (b, C), largest (b, C) and its position (b, C) for images (b, S, S, 3) uint8."""
        with torch.inference_mode():
            output, _ = self._segment.forward(self._network.normalize(torch.from_numpy(pixels).to(self.device)))
            maps = as_maps(output, self.layer, self._channels)
            largest, position = maps.max(dim=-1)
            return maps.mean(dim=-1), largest, position


def _stream(
    pooling: Pooling, images: Images, image_ids: np.ndarray, n_references: int, batch_size: int | None, work: Work
) -> References:
    """Look at the images, in their order, and go on where an interrupted job stopped."""
    first_id, references = int(image_ids[0]), None
    if work.state:
        references = References.of(work.state, pooling.device)

    def pooled(start: int, stop: int, size: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        pixels = images.file["pixels"][first_id + start : first_id + stop]
        mean, largest, position = pooling(filled(pixels, size))
        n_images = stop - start
        return mean[:n_images], largest[:n_images], position[:n_images]

    batches = in_batches(pooled, len(image_ids), pooling.device, images.size, batch_size, work.done)
    with Progress(len(image_ids), f"activations of {pooling.layer}", "images", work.done) as progress:
        for start, stop, (mean, largest, position) in batches:
            _check_finite(mean, largest, pooling.layer, first_id + start)
            if references is None:
                references = References(largest.shape[1], n_references, pooling.device)
                work.define(
                    partial(_define, image_ids=image_ids, n_neurons=largest.shape[1], n_references=n_references)
                )
            references.update(first_id + start, largest, position)
            work.write("mean", np.arange(start, stop), mean.cpu().numpy())
            work.write("max", np.arange(start, stop), largest.cpu().numpy())
            work.done_to(stop, references.state)
            progress.advance(stop - start)
    assert references is not None
    return references


def _define(out: Writer, image_ids: np.ndarray, n_neurons: int, n_references: int) -> None:
    out.coordinate("image", image_ids.astype("i4"))
    out.coordinate("neuron", n_neurons)
    out.coordinate("reference", n_references)
    for name in ("mean", "max", "reference_id", "reference_value", "reference_position"):
        out.rows(name)


def _check_finite(mean: torch.Tensor, largest: torch.Tensor, layer: str, first_image: int) -> None:
    bad = ~(torch.isfinite(mean) & torch.isfinite(largest))
    if bad.any():
        image, neuron = bad.nonzero()[0].tolist()
        n_bad = int(bad.any(dim=0).sum())
        raise UserError(
            f"activations of layer {layer!r}: neuron {neuron} is NaN or infinite on image {first_image + image} "
            f"({n_bad} neurons so far); check the weights and the input normalization"
        )


def _write_references(work: Work, references: References, layer: str) -> None:
    ids = references.image_id.cpu().numpy()
    work.write("reference_id", np.arange(len(ids)), ids)
    work.write("reference_value", np.arange(len(ids)), references.value.cpu().numpy())
    work.write("reference_position", np.arange(len(ids)), references.position.cpu().numpy())
    found = (ids >= 0).sum(axis=1)
    dead, few = np.flatnonzero(found == 0), np.flatnonzero((found > 0) & (found < ids.shape[1]))
    if len(dead):
        logger.warning("layer %s: %d neurons are never active: %s", layer, len(dead), listed(dead))
    if len(few):
        logger.warning("layer %s: %d neurons have fewer than %d references", layer, len(few), ids.shape[1])
