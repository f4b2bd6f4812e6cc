"""The rule ``activations``: one forward pass over all images, up to the layer."""

import logging

import numpy as np
import torch

from purelens.artifacts import Provenance, Writer, create
from purelens.dataset import Images, open_images
from purelens.device import choose_device, in_batches
from purelens.errors import UserError, listed
from purelens.layers import Segment, as_maps
from purelens.models import Network, load_network
from purelens.progress import Progress
from purelens.topk import References

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
        The layer's name, and where its neurons are (see `purelens.layers.as_maps`).
    n_references
        K, the number of references of a neuron.
    device, batch_size
        See `purelens.device`.
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
    with open_images(images_h5) as images, Segment(network.module, layer) as segment:
        if len(images) < n_references:
            raise UserError(f"references: {n_references} wanted, but {images_h5} has only {len(images)} images")
        with create(activations_h5, "activations", provenance, str(where)) as out:
            _stream(images, network, segment, layer, channels, n_references, where, batch_size, out)


def _stream(
    images: Images,
    network: Network,
    segment: Segment,
    layer: str,
    channels: str,
    n_references: int,
    device: torch.device,
    batch_size: int | None,
    out: Writer,
) -> None:
    references: References | None = None

    def pooled(start: int, stop: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        pixels = torch.from_numpy(images.file["pixels"][start:stop]).to(device)
        with torch.inference_mode():
            output, _ = segment.forward(network.normalize(pixels))
            maps = as_maps(output, layer, channels)
            largest, position = maps.max(dim=-1)
            return maps.mean(dim=-1), largest, position

    with Progress(len(images), f"activations of {layer}", "images") as progress:
        for start, stop, (mean, largest, position) in in_batches(pooled, len(images), device, images.size, batch_size):
            _check_finite(mean, largest, layer, start)
            if references is None:
                references = References(largest.shape[1], n_references, device)
                _define(out, len(images), largest.shape[1], n_references)
            references.update(start, largest, position)
            out["mean"][start:stop] = mean.cpu().numpy()
            out["max"][start:stop] = largest.cpu().numpy()
            progress.advance(stop - start)
    assert references is not None
    _finish(out, references, layer)


def _define(out: Writer, n_images: int, n_neurons: int, n_references: int) -> None:
    out.coordinate("image", n_images)
    out.coordinate("neuron", n_neurons)
    out.coordinate("reference", n_references)
    out.variable("mean")
    out.variable("max")


def _check_finite(mean: torch.Tensor, largest: torch.Tensor, layer: str, first_image: int) -> None:
    bad = ~(torch.isfinite(mean) & torch.isfinite(largest))
    if bad.any():
        image, neuron = bad.nonzero()[0].tolist()
        n_bad = int(bad.any(dim=0).sum())
        raise UserError(
            f"activations of layer {layer!r}: neuron {neuron} is NaN or infinite on image {first_image + image} "
            f"({n_bad} neurons so far); check the weights and the input normalisation"
        )


def _finish(out: Writer, references: References, layer: str) -> None:
    ids = references.image_id.cpu().numpy()
    out.variable("reference_id", data=ids)
    out.variable("reference_value", data=references.value.cpu().numpy())
    out.variable("reference_position", data=references.position.cpu().numpy())
    found = (ids >= 0).sum(axis=1)
    dead, few = np.flatnonzero(found == 0), np.flatnonzero((found > 0) & (found < ids.shape[1]))
    if len(dead):
        logger.warning("layer %s: %d neurons are never active: %s", layer, len(dead), listed(dead))
    if len(few):
        logger.warning("layer %s: %d neurons have fewer than %d references", layer, len(few), ids.shape[1])
