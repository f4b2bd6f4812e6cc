"""The rule ``embeddings``: what an embedder sees in the patches."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from PIL import Image

from purelens.artifacts import Provenance, Scratch, Writer, create, read
from purelens.dataset import Images, open_images
from purelens.device import choose_device, in_batches
from purelens.embedders import load_embedder, read_embeddings
from purelens.errors import UserError
from purelens.images import Geometry
from purelens.progress import Progress

logger = logging.getLogger("purelens")


def embeddings(
    images_h5: str,
    patches_h5: str,
    embeddings_h5: str,
    embedder: Mapping[str, Any],
    contrast_stretch: bool = True,
    device: str = "auto",
    batch_size: int | None = None,
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
        The embedder's configuration (see `purelens.config.Embedder`).
    contrast_stretch
        Stretch each patch to its own darkest and brightest value first.
    device, batch_size
        See `purelens.device`.
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
    with ExitStack() as stack:
        images = stack.enter_context(open_images(images_h5))
        patches = stack.enter_context(read(patches_h5, "patches"))
        out = stack.enter_context(create(embeddings_h5, "embeddings", provenance, str(where)))
        reference_id = patches["reference_id"][...]
        out.coordinate("neuron", patches["neuron"][...])
        out.coordinate("reference", reference_id.shape[1])
        out.variable("reference_id", data=reference_id)
        if source == "file":
            _copy_rows(out, images, reference_id, settings["weights"])
            return
        loaded = load_embedder(source, settings, where, seed)
        pairs, of_unique = unique_patches(reference_id, patches["box"][...])

        def embed(start: int, stop: int) -> np.ndarray:
            crops = crop(images, pairs[start:stop], loaded.geometry, contrast_stretch)
            return loaded.embed(torch.from_numpy(crops).to(where)).cpu().numpy()

        batches = in_batches(embed, len(pairs), where, loaded.geometry.size, batch_size)
        _write_unique(out, batches, len(pairs), of_unique, embeddings_h5)


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
    """Stretch the values of an image (h, w, 3) uint8 linearly to 0-255, all colours alike."""
    low, high = int(patch.min()), int(patch.max())
    if low == high:
        return np.zeros_like(patch)
    return ((patch.astype(np.float32) - low) / (high - low) * 255).astype(np.uint8)


def _write_unique(
    out: Writer,
    batches: Iterator[tuple[int, int, np.ndarray]],
    n_patches: int,
    of_unique: list[np.ndarray],
    beside: str,
) -> None:
    """Write the embedding of each different patch to all pairs that show it."""
    if not n_patches:
        raise UserError("no selected neuron has any reference: all of them are dead; select others")
    n_pairs = len(out["neuron"]) * len(out["reference"])
    logger.info("%d pairs show %d different patches", sum(map(len, of_unique)), n_patches)
    with ExitStack() as stack:
        progress = stack.enter_context(Progress(n_patches, "embeddings", "patches"))
        table: Scratch | None = None
        for start, stop, values in batches:
            if not np.isfinite(values).all():
                raise UserError("the embedder gives NaN or infinite embeddings; check its weights")
            if table is None:
                table = stack.enter_context(Scratch(beside, "embedding", n_pairs, values.shape[1]))
            counts = [len(of_unique[number]) for number in range(start, stop)]
            table.write(np.concatenate(of_unique[start:stop]), np.repeat(values, counts, axis=0))
            progress.advance(stop - start)
        assert table is not None
        out.coordinate("component", table.n_columns)
        table.copy_to(out.variable("embedding"))


def _copy_rows(out: Writer, images: Images, reference_id: np.ndarray, path: str) -> None:
    """Take the embeddings of whole images from a file."""
    values = read_embeddings(path)
    source_index = images.file["source_index"][...]
    n_source = len(source_index) + len(images.file["rejected_path"])
    if len(values) != n_source:
        raise UserError(f"embedder: {path} has {len(values)} rows, but the images' source lists {n_source} images")
    out.coordinate("component", values.shape[1])
    variable = out.variable("embedding")
    for number, ids in enumerate(reference_id):
        rows = values[source_index[np.maximum(ids, 0)]]
        variable[number] = np.where(ids[:, None] >= 0, rows, 0)
