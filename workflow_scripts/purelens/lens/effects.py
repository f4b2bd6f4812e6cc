"""The rule ``effects``: record the second-order effects of all neurons of a CLIP's block, from one pass over the images."""

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from purelens.data.dataset import Images, open_images
from purelens.errors import UserError
from purelens.lens.clip import load_clip
from purelens.lens.closed_form import basis, completeness, effects_of, heads_above
from purelens.lens.vision_tower import Tower
from purelens.networks.batching import choose_device, filled, in_batches
from purelens.networks.embedders import Embedder
from purelens.progress import Progress
from purelens.storage.artifacts import Writer
from purelens.storage.provenance import DEFAULT_EXECUTION, Execution
from purelens.storage.resumable import Work, resume
from purelens.storage.schemas import SINGLE
from purelens.storage.shards import shard_of

logger = logging.getLogger("purelens")

SAMPLE_EVERY = 64
"""Completeness is computed on every so many images."""

TOLERANCE = 1e-5
"""Largest relative error of completeness; rounding in 32 bits is eight times smaller or less."""

TABLES = ("head_scalar", "scale", "shared", "embedding", "completeness")


def effects(
    images_h5: str,
    effects_h5: str,
    embedder: Mapping[str, Any],
    block: int,
    storage: str = SINGLE,
    seed: int = 0,
    execution: Execution = DEFAULT_EXECUTION,
) -> None:
    """Record what decides the second-order effects of a block's neurons on every image.

    Parameters
    ----------
    images_h5
        Artifact of the rule ``dataset``.
    effects_h5
        The artifact.
    embedder
        Configuration of an open_clip model (see `purelens.config.inputs.Embedder`).
    block
        The block whose MLP holds the neurons, counted from 0.
    storage
        ``half`` or ``single``: store head scalars in 16 or in 32 bits.
    seed
        Seed of random weights.
    execution
        Device, batch size, shard of the images, and provenance record.

    Raises
    ------
    UserError
        If the model is no such CLIP, the effects are not complete, or an embedding is NaN or infinite.

    Notes
    -----
    Gandelsman et al. 2024, equation 5, in closed form (see `purelens.lens.closed_form`).
    """
    device = choose_device(execution.device)
    with (
        open_images(images_h5) as images,
        resume(effects_h5, "effects", execution.provenance, str(device), storage) as work,
        torch.inference_mode(),
    ):
        lens = Lens(load_clip(embedder, device, seed), block)
        image_ids = shard_of(np.arange(len(images)), execution.shard)
        work.define(lambda out: _define(out, lens, image_ids))
        _stream(work, lens, images, image_ids, execution.batch_size)
        work.finish()


class Lens:
    """A CLIP, and the basis of the effects of a block's neurons.

    Parameters
    ----------
    clip
        The CLIP.
    block
        The block, counted from 0.
    """

    def __init__(self, clip: Embedder, block: int) -> None:
        self.clip = clip
        self.tower = Tower(clip.network.module.visual, block)
        self.heads = heads_above(self.tower)
        self.basis = basis(self.tower)

    def __call__(self, pixels: np.ndarray, sampled: np.ndarray) -> dict[str, np.ndarray]:
        """Compute the tables of a batch of images.

        Parameters
        ----------
        pixels
            (b, S, S, 3) uint8.
        sampled
            (b,) bool, which images are checked for completeness.

        Returns
        -------
        dict
            Rows of each of ``TABLES``.
        """
        crops = self.clip.geometry.apply_all(pixels)
        forward = self.tower.forward(self.clip.network.prepare(crops))
        effects = effects_of(self.tower, forward)
        error = torch.full_like(effects.scale, torch.nan)
        if sampled.any():
            chosen = torch.from_numpy(sampled)
            # what cannot be compared is not complete
            error[chosen] = completeness(self.tower, forward, effects, self.basis)[chosen].nan_to_num(nan=torch.inf)
        tables = (effects.head_scalar, effects.scale, effects.shared, effects.embedding, error)
        return {name: table.float().cpu().numpy() for name, table in zip(TABLES, tables, strict=True)}


def _stream(work: Work, lens: Lens, images: Images, image_ids: np.ndarray, batch_size: int | None) -> None:
    first = int(image_ids[0])

    def tables(start: int, stop: int, size: int) -> dict[str, np.ndarray]:
        pixels = filled(images.file["pixels"][first + start : first + stop], size)
        sampled = np.zeros(len(pixels), dtype=bool)
        sampled[: stop - start] = image_ids[start:stop] % SAMPLE_EVERY == 0
        return {name: table[: stop - start] for name, table in lens(pixels, sampled).items()}

    side, device = lens.clip.geometry.size, lens.clip.network.device
    batches = in_batches(tables, len(image_ids), device, side, batch_size, work.done)
    with Progress(len(image_ids), f"effects of block {lens.tower.block}", "images", work.done) as progress:
        for start, stop, values in batches:
            _check(values, first + start)
            for name, table in values.items():
                work.write(name, np.arange(start, stop), table)
            work.checkpoint(stop)
            progress.advance(stop - start)


def _check(values: Mapping[str, np.ndarray], first_image: int) -> None:
    """Refuse what is not finite, and effects that do not add up to the attentions' direct effects."""
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
