"""The rule ``effects``: second-order effects of all neurons of a CLIP's block, from one forward pass over the images."""

import logging
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import torch

from purelens.data.dataset import Images, open_images
from purelens.errors import UserError
from purelens.lens.clip_shape import trained_with_quick_gelu
from purelens.lens.closed_form import basis, completeness, effects_of, heads_above
from purelens.lens.vision_tower import Tower, check_activations, check_tower, uses_quick_gelu
from purelens.networks.batching import choose_device, filled, in_batches
from purelens.networks.embedders import Embedder, load_embedder
from purelens.progress import Progress
from purelens.storage.artifacts import SINGLE, Writer
from purelens.storage.provenance import Provenance
from purelens.storage.resumable import Work, resume
from purelens.storage.shards import WHOLE, part_of

logger = logging.getLogger("purelens")

SAMPLED = 64
"""Completeness is computed on every so many images."""

TOLERANCE = 1e-5
"""Largest relative error of completeness; rounding in 32 bits is eight times smaller or less."""

TABLES = ("head_scalar", "scale", "shared", "embedding", "completeness")


def effects(
    images_h5: str,
    effects_h5: str,
    embedder: Mapping[str, Any],
    block: int,
    device: str = "auto",
    batch_size: int | None = None,
    shard: str = WHOLE,
    storage: str = SINGLE,
    seed: int = 0,
    provenance: Provenance | None = None,
) -> None:
    """Record what decides the second-order effects of a block's neurons on every image.

    Parameters
    ----------
    images_h5
        Artifact of the rule ``dataset``.
    effects_h5
        The artifact.
    embedder
        Configuration of an open_clip model (see `purelens.config.study.Embedder`).
    block
        The block whose MLP holds the neurons, counted from 0.
    device, batch_size
        See `purelens.networks.batching`.
    shard
        Which part of the images to look at (see `purelens.storage.gather`).
    storage
        ``half`` or ``single``: store head scalars in 16 or in 32 bits.
    seed
        Of random weights.
    provenance
        What the artifact is made from.

    Raises
    ------
    UserError
        If the model is no such CLIP, the effects are not complete, or an embedding is NaN or infinite.
    """
    where = choose_device(device)
    with (
        open_images(images_h5) as images,
        resume(effects_h5, "effects", provenance, str(where), storage) as work,
        torch.inference_mode(),
    ):
        clip = load_clip(embedder, where, seed)
        lens = Lens(clip, block)
        image_ids = part_of(np.arange(len(images)), shard)
        if not work.defined:
            work.define(partial(_define, lens=lens, image_ids=image_ids))
        _stream(work, lens, images, image_ids, where, batch_size)
        work.finish()


def load_clip(embedder: Mapping[str, Any], device: torch.device, seed: int = 0) -> Embedder:
    """Load a CLIP and check that its towers use the activation function of its weights.

    Raises
    ------
    UserError
        If it cannot be had, or they do not.
    """
    settings = dict(embedder)
    loaded = load_embedder(settings.pop("source"), settings, device, seed)
    check_tower(loaded.network.module.visual)
    architecture, weights = embedder["architecture"], embedder["weights"]
    trained = trained_with_quick_gelu(architecture, weights)
    check_activations(loaded.network.module, trained)
    if trained is None and weights != "random":
        kind = "QuickGELU" if uses_quick_gelu(loaded.network.module.visual) else "GELU"
        logger.info("%s uses %s; whether %s were trained with it is not known", architecture, kind, weights)
    return loaded


def finite(embedding: torch.Tensor) -> torch.Tensor:
    """The embeddings of images.

    Raises
    ------
    UserError
        If one is NaN or infinite.
    """
    if not torch.isfinite(embedding).all():
        raise UserError("lens: the CLIP gives NaN or infinite embeddings of images; check its weights")
    return embedding


class Lens:
    """A CLIP and the basis of a block's effects."""

    def __init__(self, clip: Embedder, block: int) -> None:
        self.clip = clip
        self.tower = Tower(clip.network.module.visual, block)
        self.heads = heads_above(self.tower)
        self.basis = basis(self.tower)

    def __call__(self, pixels: np.ndarray, sampled: np.ndarray, device: torch.device) -> dict[str, np.ndarray]:
        """Tables of a batch of images (b, S, S, 3); ``sampled`` (b,) says which are checked for completeness."""
        fitting = self.clip.geometry.apply_all(pixels)
        seen = self.tower.forward(self.clip.network.normalize(torch.from_numpy(fitting).to(device)))
        found = effects_of(self.tower, seen)
        error = torch.full_like(found.scale, torch.nan)
        if sampled.any():
            chosen = torch.from_numpy(sampled)
            # what cannot be compared is not complete
            error[chosen] = completeness(self.tower, seen, found, self.basis)[chosen].nan_to_num(nan=torch.inf)
        tables = (found.head_scalar, found.scale, found.shared, found.embedding, error)
        return {name: table.float().cpu().numpy() for name, table in zip(TABLES, tables, strict=True)}


def _stream(
    work: Work, lens: Lens, images: Images, image_ids: np.ndarray, device: torch.device, batch_size: int | None
) -> None:
    first = int(image_ids[0])

    def tables(start: int, stop: int, size: int) -> dict[str, np.ndarray]:
        pixels = filled(images.file["pixels"][first + start : first + stop], size)
        sampled = np.zeros(len(pixels), dtype=bool)
        sampled[: stop - start] = image_ids[start:stop] % SAMPLED == 0
        return {name: table[: stop - start] for name, table in lens(pixels, sampled, device).items()}

    batches = in_batches(tables, len(image_ids), device, lens.clip.geometry.size, batch_size, work.done)
    with Progress(len(image_ids), f"effects of block {lens.tower.block}", "images", work.done) as progress:
        for start, stop, values in batches:
            _check(values, first + start)
            for name, table in values.items():
                work.write(name, np.arange(start, stop), table)
            work.done_to(stop)
            progress.advance(stop - start)


def _check(values: Mapping[str, np.ndarray], first_image: int) -> None:
    """Stop at what is not finite, and where the effects do not add up to the attentions' direct effects."""
    finite = np.isfinite(values["embedding"]).all(axis=1) & np.isfinite(values["head_scalar"]).all(axis=(1, 2))
    if not finite.all():
        raise UserError(
            f"lens: the CLIP is NaN or infinite on image {first_image + int(np.argmin(finite))}; check its weights"
        )
    error = values["completeness"]
    if (error > TOLERANCE).any():
        worst = int(np.nanargmax(error))
        raise UserError(
            f"lens: on image {first_image + worst} the effects of all sources are {error[worst]:.2g} away from the direct "
            f"effect of the attentions ({TOLERANCE:g} is allowed); this CLIP does something that the lens does not know"
        )


def _define(out: Writer, lens: Lens, image_ids: np.ndarray) -> None:
    n_heads, n_neurons, n_components = lens.basis.shape
    out.coordinate("image", image_ids.astype("i4"))
    out.coordinate("head", n_heads)
    out.coordinate("neuron", n_neurons)
    out.coordinate("component", n_components)
    out.variable("basis", data=lens.basis.float().cpu().numpy())
    out.variable("head_block", data=np.array([number for number, _ in lens.heads], dtype=np.int32))
    out.variable("head_number", data=np.array([head for _, head in lens.heads], dtype=np.int32))
    for name in TABLES:
        out.rows(name)
