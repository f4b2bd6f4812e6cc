"""The rule ``embeddings``: embed the patches of all references."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from purelens.circuits.pairs import refuse_dead
from purelens.data.dataset import Images, open_images
from purelens.data.images import Geometry
from purelens.errors import UserError
from purelens.networks.batching import choose_device, filled, in_batches
from purelens.networks.embedders import Embedder, load_embedder
from purelens.networks.embedding_files import read_embeddings_of
from purelens.progress import Progress
from purelens.storage.artifacts import Writer
from purelens.storage.provenance import DEFAULT_EXECUTION, Execution
from purelens.storage.reading import read
from purelens.storage.resumable import Work, resume
from purelens.storage.schemas import SINGLE
from purelens.storage.shards import shard_of

logger = logging.getLogger("purelens")

ROWS_AT_A_TIME = 4096


def embeddings(
    images_h5: str,
    patches_h5: str,
    embeddings_h5: str,
    embedder: Mapping[str, Any],
    contrast_stretch: bool = True,
    storage: str = SINGLE,
    seed: int = 0,
    execution: Execution = DEFAULT_EXECUTION,
) -> None:
    """Embed the patches of all (neuron, reference) pairs.

    Parameters
    ----------
    images_h5, patches_h5
        Artifacts of the rules ``dataset`` and ``patches``.
    embeddings_h5
        The artifact.
    embedder
        Configuration of the embedding model (see `purelens.config.inputs.Embedder`).
    contrast_stretch
        Stretch each patch to its own darkest and brightest value first.
    storage
        ``half`` or ``single``: store large tables in 16 or in 32 bits.
    seed
        Seed of random weights.
    execution
        Device, batch size, shard of the neurons, and provenance record.

    Raises
    ------
    UserError
        If the model cannot be loaded, or a file of embeddings does not belong to these images.
    """
    settings = dict(embedder)
    source = settings.pop("source")
    device = choose_device(execution.device)
    with (
        open_images(images_h5) as images,
        read(patches_h5, "patches") as patches,
        resume(embeddings_h5, "embeddings", execution.provenance, str(device), storage) as work,
    ):
        references = _read_references(patches, execution.shard)
        if source == "file":
            _copy_rows(work, images, references, settings["weights"])
        else:
            loaded = load_embedder(source, settings, device, seed)
            work.define(lambda out: _define(out, references, loaded.n_components))
            _embed(work, images, references, loaded, contrast_stretch, execution.batch_size)
        work.finish()


@dataclass(frozen=True)
class PatchTable:
    """The references of some neurons, and their patches.

    Attributes
    ----------
    neurons
        (C,) numbers of the neurons.
    reference_id
        (C, K) image ids, -1 where there is none.
    box
        (C, K, 4) top, left, bottom, right of the patches.
    """

    neurons: np.ndarray
    reference_id: np.ndarray
    box: np.ndarray


def _read_references(patches: Any, shard: str) -> PatchTable:
    refuse_dead(patches["reference_id"][...])
    selected = shard_of(np.arange(len(patches["neuron"])), shard)
    rows = slice(int(selected[0]), int(selected[-1]) + 1)
    return PatchTable(patches["neuron"][rows], patches["reference_id"][rows], patches["box"][rows])


def unique_patches(reference_id: np.ndarray, box: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """Find the different patches: equal boxes in the same image are embedded once.

    Parameters
    ----------
    reference_id
        (C, K) image ids, -1 where there is none.
    box
        (C, K, 4) boxes.

    Returns
    -------
    patches : numpy.ndarray
        (U, 5) image, top, left, bottom, right of each different patch, ordered by image.
    pairs : list of numpy.ndarray
        For each patch the flat indices into (C, K) of the pairs that have it.
    """
    flat = np.concatenate([reference_id.reshape(-1, 1), box.reshape(-1, 4)], axis=1).astype(np.int64)
    valid = np.flatnonzero(flat[:, 0] >= 0)
    unique, inverse = np.unique(flat[valid], axis=0, return_inverse=True)
    order = np.argsort(inverse.reshape(-1), kind="stable")
    ends = np.cumsum(np.bincount(inverse.reshape(-1), minlength=len(unique)))[:-1]
    return unique, np.split(valid[order], ends) if len(unique) else []


def crop(images: Images, patches: np.ndarray, geometry: Geometry, contrast_stretch: bool) -> np.ndarray:
    """Cut patches out of their images and bring them to the input of an embedding model.

    Parameters
    ----------
    images
        The images.
    patches
        (b, 5) image, top, left, bottom, right.
    geometry
        Resizing and crop of the model's input, S pixels wide.
    contrast_stretch
        Whether each patch is stretched to its own darkest and brightest value.

    Returns
    -------
    numpy.ndarray
        (b, S, S, 3) uint8.
    """
    crops = []
    for image, (_, top, left, bottom, right) in zip(images.take(patches[:, 0]), patches, strict=True):
        patch = image[top:bottom, left:right]
        patch = stretched(patch) if contrast_stretch else patch
        crops.append(geometry.apply(Image.fromarray(np.ascontiguousarray(patch))))
    return np.stack(crops)


def stretched(patch: np.ndarray) -> np.ndarray:
    """Stretch the values of an image (h, w, 3) uint8 linearly to 0-255, all colors alike."""
    low, high = int(patch.min()), int(patch.max())
    if low == high:
        return np.zeros_like(patch)
    return ((patch.astype(np.float32) - low) / (high - low) * 255).astype(np.uint8)


def _embed(
    work: Work,
    images: Images,
    references: PatchTable,
    embedder: Embedder,
    contrast_stretch: bool,
    batch_size: int | None,
) -> None:
    """Embed each different patch once, for all pairs that have it."""
    patches, pairs = unique_patches(references.reference_id, references.box)
    logger.info("%d pairs have %d different patches", sum(map(len, pairs)), len(patches))

    def embed(start: int, stop: int, size: int) -> np.ndarray:
        crops = crop(images, patches[start:stop], embedder.geometry, contrast_stretch)
        return embedder.embed(filled(crops, size)).cpu().numpy()[: stop - start]

    side, device = embedder.geometry.size, embedder.network.device
    batches = in_batches(embed, len(patches), device, side, batch_size, work.done)
    with Progress(len(patches), "embeddings", "patches", work.done) as progress:
        for start, stop, values in batches:
            if not np.isfinite(values).all():
                raise UserError("the embedder gives NaN or infinite embeddings; check its weights")
            counts = [len(pairs[number]) for number in range(start, stop)]
            work.write("embedding", np.concatenate(pairs[start:stop]), np.repeat(values, counts, axis=0))
            work.checkpoint(stop)
            progress.advance(stop - start)


def _define(out: Writer, references: PatchTable, n_components: int) -> None:
    out.references(references.neurons, references.reference_id)
    out.coordinate("component", n_components)
    out.rows("embedding")


def _copy_rows(work: Work, images: Images, references: PatchTable, path: str) -> None:
    """Take the embeddings of whole images from a file."""
    values = read_embeddings_of(images, path)
    work.define(lambda out: _define(out, references, values.shape[1]))
    flat = references.reference_id.reshape(-1)
    for start in range(0, len(flat), ROWS_AT_A_TIME):
        ids = flat[start : start + ROWS_AT_A_TIME]
        rows = np.flatnonzero(ids >= 0)
        work.write("embedding", start + rows, values[ids[rows]])
