"""The rule ``dictionaries``: learn dictionaries of the activations of a layer, what virtual neurons are compared with."""

import logging
from dataclasses import dataclass

import numpy as np
import torch

from purelens.circuits.dictionary_models import (
    NMF_NAME,
    SAE_NAME,
    Dictionary,
    learn_nonnegative_factors,
    learn_sparse_autoencoder,
)
from purelens.circuits.topk import References
from purelens.config.planted import MOST_VECTORS
from purelens.data.dataset import Images, open_images
from purelens.errors import UserError
from purelens.networks.batching import choose_device, filled, in_batches
from purelens.networks.loading import Network, load_network
from purelens.networks.subnetwork import LayerView, Segment
from purelens.progress import Progress
from purelens.storage.artifacts import Writer, create
from purelens.storage.provenance import DEFAULT_EXECUTION, Execution
from purelens.storage.schemas import SINGLE

logger = logging.getLogger("purelens")


@dataclass(frozen=True)
class Sizes:
    """The size of dictionaries.

    Attributes
    ----------
    latents
        Number of latents L.
    active
        Number of latents that the sparse autoencoder makes a vector of.
    """

    latents: int = 128
    active: int = 8


DEFAULT_SIZES = Sizes()


class Layer:
    """Activation vectors of a layer on images.

    Parameters
    ----------
    network, images, segment, view, batch_size
        The network, the images, its part up to the layer, the layer, and the images per batch at first.
    """

    def __init__(
        self, network: Network, images: Images, segment: Segment, view: LayerView, batch_size: int | None
    ) -> None:
        self.network, self.images, self._segment, self._view = network, images, segment, view
        self.batch_size = batch_size

    def maps(self, ids: np.ndarray, size: int) -> torch.Tensor:
        """Compute the activations (b, C, P) on images (b,), in a batch of some size."""
        with torch.inference_mode():
            output, _ = self._segment.forward(self.network.prepare(filled(self.images.take(ids), size)))
            return self._view.maps(output)[: len(ids)]

    def sample(self, seed: int) -> np.ndarray:
        """Draw activation vectors (r, C), as many positions of each image; of some images, if there are too many."""
        rng = np.random.default_rng(seed)
        n_images = len(self.images)
        ids = np.sort(rng.choice(n_images, min(n_images, MOST_VECTORS), replace=False))
        drawn: list[np.ndarray] = []

        def draw(start: int, stop: int, size: int) -> np.ndarray:
            return self.maps(ids[start:stop], size).movedim(1, 2).cpu().numpy()

        device, side = self.network.device, self.images.size
        with Progress(len(ids), "vectors of the layer", "images") as progress:
            for start, stop, vectors in in_batches(draw, len(ids), device, side, self.batch_size):
                n_positions = min(vectors.shape[1], max(1, MOST_VECTORS // len(ids)))
                places = np.argsort(rng.random(vectors.shape[:2]), axis=1)[:, :n_positions]
                drawn.append(np.take_along_axis(vectors, places[:, :, None], axis=1).reshape(-1, vectors.shape[2]))
                progress.advance(stop - start)
        return np.concatenate(drawn)


def dictionaries(
    images_h5: str,
    model: tuple[str, str],
    dictionaries_h5: str,
    layer: LayerView,
    n_references: int,
    sizes: Sizes = DEFAULT_SIZES,
    seed: int = 0,
    storage: str = SINGLE,
    execution: Execution = DEFAULT_EXECUTION,
) -> None:
    """Learn two dictionaries of a layer's activations, and compute the codes of all images.

    Parameters
    ----------
    images_h5, model
        Artifacts of the rules ``dataset`` and ``model``.
    dictionaries_h5
        The artifact: decoders, codes of the images, and the references of each latent.
    layer
        The layer.
    n_references
        Number of references of a latent.
    sizes
        Number of latents.
    seed
        Seed of the vectors that are drawn and of the starts.
    storage
        ``half`` or ``single``: store large tables in 16 or in 32 bits.
    execution
        Device, batch size and provenance record.

    Raises
    ------
    UserError
        If the layer is never active.

    Notes
    -----
    ``nmf``: nonnegative matrix factorization (Lee & Seung 2001) by scikit-learn. ``sae``: top-k sparse autoencoder (Gao et al.
    2024). A latent is matched to the neuron that has the largest absolute weight in its direction.
    """
    device = choose_device(execution.device)
    network = load_network(*model, device)
    with (
        open_images(images_h5) as images,
        Segment(network.module, layer.name) as segment,
        create(dictionaries_h5, "dictionaries", execution.provenance, str(device), storage) as out,
    ):
        view, _ = segment.resolve(layer, images.size)
        of_layer = Layer(network, images, segment, view, execution.batch_size)
        vectors = of_layer.sample(seed)
        learned = learn(vectors, sizes, seed, layer.name)
        _define(out, learned, len(images), vectors.shape[1], n_references)
        out.variable("explained", data=[_explained(one, vectors) for one in learned.values()])
        _encode_all(out, learned, of_layer, n_references)


def learn(vectors: np.ndarray, sizes: Sizes, seed: int, layer: str) -> dict[str, Dictionary]:
    """Learn all dictionaries of a layer.

    Parameters
    ----------
    vectors
        (r, C) activations.
    sizes
        Number of latents.
    seed
        Seed of the starts.
    layer
        Name of the layer, for messages.

    Returns
    -------
    dict
        Dictionaries by their names.

    Raises
    ------
    UserError
        If no activation is above zero, or one is not finite.
    """
    if not np.isfinite(vectors).all():
        raise UserError(
            f"dictionaries: layer {layer!r} has NaN or infinite activations; check the weights of the model"
        )
    if not (vectors > 0).any():
        raise UserError(f"dictionaries: layer {layer!r} is never active; there is nothing to learn from")
    if (vectors < 0).any():
        logger.warning("layer %s has negative activations, which the dictionary nmf takes as 0", layer)
    n_latents = min(sizes.latents, len(vectors))
    return {
        NMF_NAME: learn_nonnegative_factors(vectors, n_latents, seed),
        SAE_NAME: learn_sparse_autoencoder(vectors, n_latents, sizes.active, seed),
    }


def _explained(dictionary: Dictionary, vectors: np.ndarray) -> float:
    """Compute the share of the variance of vectors that a dictionary reconstructs."""
    rest = total = 0.0
    mean = torch.from_numpy(vectors.mean(axis=0))
    for batch in torch.from_numpy(vectors).split(4096):
        rest += float((dictionary.decode(dictionary.encode(batch)) - batch).double().square().sum())
        total += float((batch - mean).double().square().sum())
    return 1 - rest / total if total else float("nan")


def _define(out: Writer, learned: dict[str, Dictionary], n_images: int, n_neurons: int, n_references: int) -> None:
    out.coordinate("dictionary", len(learned))
    out.coordinate("image", n_images)
    out.coordinate("layer_neuron", n_neurons)
    out.coordinate("reference", n_references)
    out.variable("dictionary_name", data=list(learned))
    for name, one in learned.items():
        latent = f"latent.{name}"
        out.coordinate(latent, len(one.decoder))
        out.variable(f"decoder/{name}", dims=(latent, "layer_neuron"), data=one.decoder.numpy())
        matched = one.decoder.abs().argmax(dim=1).numpy().astype(np.int32)
        out.variable(f"matched_neuron/{name}", dims=(latent,), data=matched)
        for kind in ("mean", "max"):
            out.variable(f"{kind}/{name}", dims=("image", latent))


def _encode_all(out: Writer, learned: dict[str, Dictionary], layer: Layer, n_references: int) -> None:
    """Write the codes of all images, pooled over positions, and the references of the latents."""
    n_images = len(layer.images)
    references = {name: References(len(one.decoder), n_references) for name, one in learned.items()}

    def encode(start: int, stop: int, size: int) -> dict[str, torch.Tensor]:
        maps = layer.maps(np.arange(start, stop), size).movedim(1, 2).cpu()
        return {name: one.encode(maps.flatten(0, 1)).unflatten(0, maps.shape[:2]) for name, one in learned.items()}

    batches = in_batches(encode, n_images, layer.network.device, layer.images.size, layer.batch_size)
    with Progress(n_images, "codes", "images") as progress:
        for start, stop, codes in batches:
            for name, values in codes.items():
                largest, position = values.max(dim=1)
                references[name].update(start, largest, position)
                out[f"mean/{name}"][start:stop] = values.mean(dim=1).numpy()
                out[f"max/{name}"][start:stop] = largest.numpy()
            progress.advance(stop - start)
    for name, found in references.items():
        out.variable(f"reference_id/{name}", dims=(f"latent.{name}", "reference"), data=found.image_id.numpy())
