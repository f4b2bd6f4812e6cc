"""The rule ``embeddings``: what an embedder sees in the patches."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from PIL import Image

from purelens.circuits.pairs import refuse_dead
from purelens.data.dataset import Images, open_images
from purelens.data.images import Geometry
from purelens.errors import UserError
from purelens.networks.batching import choose_device, filled, in_batches
from purelens.networks.embedders import Embedder, load_embedder, read_embeddings
from purelens.progress import Progress
from purelens.storage.artifacts import SINGLE, Rows, Writer, read
from purelens.storage.provenance import Provenance
from purelens.storage.resumable import Work, resume
from purelens.storage.shards import WHOLE, part_of

logger = logging.getLogger("purelens")

ROWS_AT_A_TIME = 4096


def embeddings(
    images_h5: str,
    patches_h5: str,
    embeddings_h5: str,
    embedder: Mapping[str, Any],
    contrast_stretch: bool = True,
    device: str = "auto",
    batch_size: int | None = None,
    shard: str = WHOLE,
    storage: str = SINGLE,
    seed: int = 0,
    provenance: Provenance | None = None,
) -> None:
    """Embed the patches of all (neuron, reference) pairs.

    Parameters
    ----------
    images_h5, patches_h5
        Artifacts of the rules ``dataset`` and ``patches``.
    embeddings_h5
        The artifact.
    embedder
        The embedder's configuration (see `purelens.config.study.Embedder`).
    contrast_stretch
        Stretch each patch to its own darkest and brightest value first.
    device, batch_size
        See `purelens.networks.batching`.
    shard
        Which part of the neurons to look at, such as ``2/4`` (see `purelens.storage.gather`).
    storage
        ``half`` or ``single``: store large tables in 16 or in 32 bits.
    seed
        Of random weights.
    provenance
        What the artifact is made from.

    Raises
    ------
    UserError
        If the embedder cannot be loaded, or a file of embeddings does not belong to these images.
    """
    settings = dict(embedder)
    source = settings.pop("source")
    where = choose_device(device)
    with (
        open_images(images_h5) as images,
        read(patches_h5, "patches") as patches,
        resume(embeddings_h5, "embeddings", provenance, str(where), storage) as work,
    ):
        refuse_dead(patches["reference_id"][...])
        selected = part_of(np.arange(len(patches["neuron"])), shard)
        part = slice(int(selected[0]), int(selected[-1]) + 1)
        references = References(patches["neuron"][part], patches["reference_id"][part], Rows(patches, "box")[part])
        if source == "file":
            _copy_rows(work, images, references, settings["weights"])
        else:
            loaded = load_embedder(source, settings, where, seed)
            _embed(work, images, references, loaded, contrast_stretch, where, batch_size)
        work.finish()


@dataclass(frozen=True)
class References:
    """Neurons (C,), the images (C, K) of their references, -1 where there is none, and the boxes (C, K, 4) in these."""

    neurons: np.ndarray
    reference_id: np.ndarray
    box: np.ndarray


def unique_patches(reference_id: np.ndarray, box: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """Find the different patches.

    Parameters
    ----------
    reference_id
        (C, K) image ids, -1 where there is none.
    box
        (C, K, 4) boxes.

    Returns
    -------
    tuple
        (U, 5) image, top, left, bottom, right of each different patch, by image; and for each the flat indices into
        (C, K) of the pairs that show it.
    """
    flat = np.concatenate([reference_id.reshape(-1, 1), box.reshape(-1, 4)], axis=1).astype(np.int64)
    valid = np.flatnonzero(flat[:, 0] >= 0)
    unique, inverse = np.unique(flat[valid], axis=0, return_inverse=True)
    order = np.argsort(inverse.reshape(-1), kind="stable")
    ends = np.cumsum(np.bincount(inverse.reshape(-1), minlength=len(unique)))[:-1]
    return unique, np.split(valid[order], ends) if len(unique) else []


def crop(images: Images, patches: np.ndarray, geometry: Geometry, contrast_stretch: bool) -> np.ndarray:
    """Cut patches (b, 5) out of their images and bring them to an embedder's input: (b, S, S, 3) uint8."""
    pixels = images.take(patches[:, 0])
    cut = []
    for image, (_, top, left, bottom, right) in zip(pixels, patches, strict=True):
        patch = image[top:bottom, left:right]
        patch = stretched(patch) if contrast_stretch else patch
        cut.append(geometry.apply(Image.fromarray(np.ascontiguousarray(patch))))
    return np.stack(cut)


def stretched(patch: np.ndarray) -> np.ndarray:
    """Stretch the values of an image (h, w, 3) uint8 linearly to 0-255, all colors alike."""
    low, high = int(patch.min()), int(patch.max())
    if low == high:
        return np.zeros_like(patch)
    return ((patch.astype(np.float32) - low) / (high - low) * 255).astype(np.uint8)


def _embed(
    work: Work,
    images: Images,
    references: References,
    embedder: Embedder,
    contrast_stretch: bool,
    device: torch.device,
    batch_size: int | None,
) -> None:
    """Embed each different patch once, for all pairs that show it."""
    patches, of_unique = unique_patches(references.reference_id, references.box)
    logger.info("%d pairs show %d different patches", sum(map(len, of_unique)), len(patches))

    def embed(start: int, stop: int, size: int) -> np.ndarray:
        crops = crop(images, patches[start:stop], embedder.geometry, contrast_stretch)
        return embedder.embed(torch.from_numpy(filled(crops, size)).to(device)).cpu().numpy()[: stop - start]

    if not len(patches):  # a part of the neurons that are all dead
        blank = torch.zeros((1, embedder.geometry.size, embedder.geometry.size, 3), dtype=torch.uint8, device=device)
        n_components = embedder.embed(blank).shape[1]
        work.define(partial(_define, references=references, n_components=n_components))
    batches = in_batches(embed, len(patches), device, embedder.geometry.size, batch_size, work.done)
    with Progress(len(patches), "embeddings", "patches", work.done) as progress:
        for start, stop, values in batches:
            if not np.isfinite(values).all():
                raise UserError("the embedder gives NaN or infinite embeddings; check its weights")
            if not work.defined:
                work.define(partial(_define, references=references, n_components=values.shape[1]))
            counts = [len(of_unique[number]) for number in range(start, stop)]
            work.write("embedding", np.concatenate(of_unique[start:stop]), np.repeat(values, counts, axis=0))
            work.done_to(stop)
            progress.advance(stop - start)


def _define(out: Writer, references: References, n_components: int) -> None:
    out.references(references.neurons, references.reference_id)
    out.coordinate("component", n_components)
    out.rows("embedding")


def _copy_rows(work: Work, images: Images, references: References, path: str) -> None:
    """Take the embeddings of whole images from a file."""
    values = read_embeddings(path)
    source_index = images.file["source_index"][...]
    n_source = len(source_index) + len(images.file["rejected_path"])
    if len(values) != n_source:
        raise UserError(f"embedder: {path} has {len(values)} rows, but the images' source lists {n_source} images")
    work.define(lambda out: _define(out, references, values.shape[1]))
    flat = references.reference_id.reshape(-1)
    for start in range(0, len(flat), ROWS_AT_A_TIME):
        ids = flat[start : start + ROWS_AT_A_TIME]
        rows = np.flatnonzero(ids >= 0)
        work.write("embedding", start + rows, values[source_index[ids[rows]]])
