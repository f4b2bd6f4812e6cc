"""The rule ``image_embeddings``: embed whole images, once for all networks and layers."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from purelens.data.dataset import Images, open_images
from purelens.errors import UserError
from purelens.networks.batching import choose_device, filled, in_batches
from purelens.networks.embedders import Embedder, load_embedder
from purelens.networks.embedding_files import read_embeddings_of
from purelens.progress import Progress
from purelens.storage.artifacts import Writer
from purelens.storage.provenance import DEFAULT_EXECUTION, Execution
from purelens.storage.resumable import Work, resume
from purelens.storage.schemas import SINGLE


def image_embeddings(
    images_h5: str,
    image_embeddings_h5: str,
    embedder: Mapping[str, Any],
    storage: str = SINGLE,
    seed: int = 0,
    execution: Execution = DEFAULT_EXECUTION,
) -> None:
    """Embed all images of a dataset.

    Parameters
    ----------
    images_h5
        Artifact of the rule ``dataset``.
    image_embeddings_h5
        The artifact.
    embedder
        Configuration of the embedding model (see `purelens.config.inputs.Embedder`).
    storage
        ``half`` or ``single``: store the table in 16 or in 32 bits.
    seed
        Seed of random weights.
    execution
        Device, batch size and provenance record.

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
        resume(image_embeddings_h5, "image_embeddings", execution.provenance, str(device), storage) as work,
    ):
        if source == "file":
            values = read_embeddings_of(images, settings["weights"])
            work.define(lambda out: _define(out, len(values), values.shape[1]))
            work.write("embedding", np.arange(len(values)), values)
        else:
            loaded = load_embedder(source, settings, device, seed)
            work.define(lambda out: _define(out, len(images), loaded.n_components))
            _embed(work, images, loaded, execution.batch_size)
        work.finish()


def _embed(work: Work, images: Images, embedder: Embedder, batch_size: int | None) -> None:
    def embed(start: int, stop: int, size: int) -> np.ndarray:
        crops = embedder.geometry.apply_all(images.file["pixels"][start:stop])
        return embedder.embed(filled(crops, size)).cpu().numpy()[: stop - start]

    side, device = embedder.geometry.size, embedder.network.device
    batches = in_batches(embed, len(images), device, side, batch_size, work.done)
    with Progress(len(images), "image embeddings", "images", work.done) as progress:
        for start, stop, values in batches:
            if not np.isfinite(values).all():
                raise UserError("the embedder gives NaN or infinite embeddings; check its weights")
            work.write("embedding", np.arange(start, stop), values)
            work.checkpoint(stop)
            progress.advance(stop - start)


def _define(out: Writer, n_images: int, n_components: int) -> None:
    out.coordinate("image", n_images)
    out.coordinate("component", n_components)
    out.rows("embedding")
