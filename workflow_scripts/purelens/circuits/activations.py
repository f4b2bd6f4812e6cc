"""The rule ``activations``: run one forward pass over all images, up to the layer."""

import logging
from dataclasses import dataclass, fields

import numpy as np
import torch

from purelens.circuits.neuron_kinds import MAX, MEAN, RELEVANCE, functions_before
from purelens.circuits.topk import References
from purelens.data.dataset import Images, open_images
from purelens.errors import UserError, listed
from purelens.networks.batching import choose_device, filled, in_batches
from purelens.networks.final_function import BOUNDED
from purelens.networks.loading import Network, load_network
from purelens.networks.subnetwork import LayerView, Segment, find_layer
from purelens.progress import Progress
from purelens.storage.artifacts import Writer
from purelens.storage.provenance import DEFAULT_EXECUTION, Execution
from purelens.storage.resumable import Work, resume
from purelens.storage.schemas import SINGLE
from purelens.storage.shards import shard_of

logger = logging.getLogger("purelens")


def activations(
    images_h5: str,
    model: tuple[str, str],
    activations_h5: str,
    layer: LayerView,
    n_references: int,
    reference_criterion: str = MAX,
    storage: str = SINGLE,
    execution: Execution = DEFAULT_EXECUTION,
) -> None:
    """Record the mean and largest activations of all neurons of a layer, and the references of each.

    Parameters
    ----------
    images_h5, model
        Artifacts of the rules ``dataset`` and ``model``.
    activations_h5
        The artifact.
    layer
        The layer.
    n_references
        K, the number of references of a neuron.
    reference_criterion
        What ranks the images of a neuron: ``max``, the largest activation over positions, as published; ``mean``;
        ``preactivation``, the largest value that the layer's activation function is given. Where that function has a ceiling,
        what it is given is ranked by ``max`` and ``mean`` too. ``relevance``: the relevance of the neuron for the class that
        the network predicts, activation times gradient, added up over positions.
    storage
        ``half`` or ``single``: store large tables in 16 or in 32 bits.
    execution
        Device, batch size, shard of the images, and provenance record.

    Raises
    ------
    UserError
        If an activation is NaN or infinite (with layer, neuron and image), there are fewer images than references, or the
        network has no output for each class and images are ranked by relevance.

    Notes
    -----
    Dreyer et al. 2024, section 3; by relevance, RelMax of Achtibat et al. 2023, with gradient times activation. At the ceiling
    of a ReLU6 hundreds of images tie, and would be ranked by their numbers.
    """
    device = choose_device(execution.device)
    network = load_network(*model, device)
    with (
        open_images(images_h5) as images,
        Segment(network.module, layer.name, before=functions_before(reference_criterion)) as segment,
        resume(activations_h5, "activations", execution.provenance, str(device), storage) as work,
    ):
        if len(images) < n_references:
            raise UserError(f"references: {n_references} requested, but {images_h5} has only {len(images)} images")
        image_ids = shard_of(np.arange(len(images)), execution.shard)
        layer, sizes = segment.resolve(layer, images.size)
        n_neurons = sizes[layer.name]
        work.define(lambda out: _define(out, image_ids, n_neurons, n_references))
        references = References(n_neurons, n_references, device)
        if work.state:
            references = References.of(work.state, device)
        pooling = Pooling(network, segment, layer, reference_criterion)
        _stream(pooling, images, image_ids, references, execution.batch_size, work)
        _write_references(work, references, layer.name)
        work.finish()


@dataclass(frozen=True)
class Pooled:
    """Activations of all neurons of a layer on images, pooled over positions.

    Attributes
    ----------
    mean, largest
        (b, C) activations.
    value
        (b, C) what images are ranked by.
    position
        (b, C) the position where the neuron is largest.
    """

    mean: torch.Tensor
    largest: torch.Tensor
    value: torch.Tensor
    position: torch.Tensor

    def first(self, n_images: int) -> "Pooled":
        """Keep the first images."""
        return Pooled(*(getattr(self, field.name)[:n_images] for field in fields(self)))


class Pooling:
    """Pool the activations of all neurons of a layer over positions.

    Parameters
    ----------
    network, segment, layer
        The network, its part up to the layer, and the layer.
    criterion
        What images are ranked by (see `activations`).
    """

    def __init__(self, network: Network, segment: Segment, layer: LayerView, criterion: str = MAX) -> None:
        self._network, self._segment, self.layer, self._criterion = network, segment, layer, criterion

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self._network.device

    @property
    def function(self) -> str:
        """The activation function whose input stands for the neurons; after a forward pass."""
        return self._segment.function

    def __call__(self, pixels: np.ndarray) -> Pooled:
        """Pool the activations on images (b, S, S, 3) uint8."""
        if self._criterion == RELEVANCE:
            return self._by_relevance(self._network.prepare(pixels))
        with torch.inference_mode():
            output, _ = self._segment.forward(self._network.prepare(pixels))
            neurons = self.layer.maps(output)
            value, position = neurons.max(dim=-1)
            maps = self.layer.maps(self._segment.final) if self._segment.function else neurons
            mean = maps.mean(dim=-1)
            largest = maps.amax(dim=-1) if self._segment.function else value
            return Pooled(mean, largest, neurons.mean(dim=-1) if self._criterion == MEAN else value, position)

    def _by_relevance(self, images: torch.Tensor) -> Pooled:
        """Pool the activations on images (b, 3, S, S), and rank them by what the neurons do for the predicted class."""
        seen: list[torch.Tensor] = []

        def cut(_: torch.nn.Module, __: object, output: torch.Tensor) -> torch.Tensor:
            seen.append(output.detach().clone().requires_grad_())
            # the network goes on with a copy: an in-place operation behind the layer would overwrite the leaf
            return seen[-1].clone()

        handle = find_layer(self._network.module, self.layer.name).register_forward_hook(cut)
        try:
            with torch.enable_grad():
                outputs = self._network.module(images)
        finally:
            handle.remove()
        if not isinstance(outputs, torch.Tensor) or outputs.ndim != 2 or len(seen) != 1:
            raise UserError(
                "reference_criterion: relevance needs a network with one output for each class, and a layer that runs once; "
                "take max, mean or preactivation"
            )
        (gradient,) = torch.autograd.grad(outputs.amax(dim=1).sum(), seen)
        neurons = self.layer.maps(seen[0].detach())
        relevance = self.layer.maps(seen[0].detach() * gradient)
        return Pooled(neurons.mean(dim=-1), neurons.amax(dim=-1), relevance.sum(dim=-1), relevance.argmax(dim=-1))


def _stream(
    pooling: Pooling,
    images: Images,
    image_ids: np.ndarray,
    references: References,
    batch_size: int | None,
    work: Work,
) -> None:
    """Pool the images in their order, from where an interrupted job stopped."""
    first_id = int(image_ids[0])

    def pooled(start: int, stop: int, size: int) -> Pooled:
        pixels = images.file["pixels"][first_id + start : first_id + stop]
        return pooling(filled(pixels, size)).first(stop - start)

    batches = in_batches(pooled, len(image_ids), pooling.device, images.size, batch_size, work.done)
    with Progress(len(image_ids), f"activations of {pooling.layer.name}", "images", work.done) as progress:
        for start, stop, values in batches:
            _check_finite(values.mean, values.largest, pooling.layer.name, first_id + start)
            references.update(first_id + start, values.value, values.position)
            work.write("mean", np.arange(start, stop), values.mean.cpu().numpy())
            work.write("max", np.arange(start, stop), values.largest.cpu().numpy())
            work.checkpoint(stop, references.state)
            progress.advance(stop - start)
    if pooling.function in BOUNDED:
        logger.warning(
            "layer %s ends in %s, which has a ceiling: neurons are ranked, and seeded, by what it is given",
            pooling.layer.name,
            pooling.function,
        )


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
    n_references = (ids >= 0).sum(axis=1)
    dead, few = np.flatnonzero(n_references == 0), np.flatnonzero((n_references > 0) & (n_references < ids.shape[1]))
    if len(dead):
        logger.warning("layer %s: %d neurons are never active: %s", layer, len(dead), listed(dead))
    if len(few):
        logger.warning("layer %s: %d neurons have fewer than %d references", layer, len(few), ids.shape[1])
