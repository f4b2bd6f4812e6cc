"""The rule ``image_embeddings``: what an embedder sees in whole images, once for all networks and layers."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import torch

from purelens.data.dataset import Images, open_images
from purelens.errors import UserError
from purelens.networks.batching import choose_device, filled, in_batches
from purelens.networks.embedders import Embedder, load_embedder, read_embeddings
from purelens.progress import Progress
from purelens.storage.artifacts import SINGLE, Writer
from purelens.storage.provenance import Provenance
from purelens.storage.resumable import Work, resume


def image_embeddings(
    images_h5: str,
    image_embeddings_h5: str,
    embedder: Mapping[str, Any],
    device: str = "auto",
    batch_size: int | None = None,
    storage: str = SINGLE,
    seed: int = 0,
    provenance: Provenance | None = None,
) -> None:
    """Embed all images of a dataset.

    Parameters
    ----------
    images_h5
        Artifact of the rule ``dataset``.
    image_embeddings_h5
        The artifact.
    embedder
        The embedder's configuration (see `purelens.config.study.Embedder`).
    device, batch_size
        See `purelens.networks.batching`.
    storage
        ``half`` or ``single``: store the table in 16 or in 32 bits.
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
        resume(image_embeddings_h5, "image_embeddings", provenance, str(where), storage) as work,
    ):
        if source == "file":
            values = rows_of_file(settings["weights"], images)
            work.define(partial(_define, n_images=len(values), n_components=values.shape[1]))
            work.write("embedding", np.arange(len(values)), values)
        else:
            _embed(work, images, load_embedder(source, settings, where, seed), where, batch_size)
        work.finish()


def rows_of_file(path: str, images: Images) -> np.ndarray:
    """Embeddings (N, D) of the images that were kept, from a file with a row for each image of the source."""
    values = read_embeddings(path)
    source_index = images.file["source_index"][...]
    n_source = len(source_index) + len(images.file["rejected_path"])
    if len(values) != n_source:
        raise UserError(f"embedder: {path} has {len(values)} rows, but the images' source lists {n_source} images")
    return values[source_index]


def _embed(work: Work, images: Images, embedder: Embedder, device: torch.device, batch_size: int | None) -> None:
    def embed(start: int, stop: int, size: int) -> np.ndarray:
        pixels = images.file["pixels"][start:stop]
        fitting = embedder.geometry.apply_all(pixels)
        return embedder.embed(torch.from_numpy(filled(fitting, size)).to(device)).cpu().numpy()[: stop - start]

    batches = in_batches(embed, len(images), device, embedder.geometry.size, batch_size, work.done)
    with Progress(len(images), "image embeddings", "images", work.done) as progress:
        for start, stop, values in batches:
            if not np.isfinite(values).all():
                raise UserError("the embedder gives NaN or infinite embeddings; check its weights")
            if not work.defined:
                work.define(partial(_define, n_images=len(images), n_components=values.shape[1]))
            work.write("embedding", np.arange(start, stop), values)
            work.done_to(stop)
            progress.advance(stop - start)


def _define(out: Writer, n_images: int, n_components: int) -> None:
    out.coordinate("image", n_images)
    out.coordinate("component", n_components)
    out.rows("embedding")
