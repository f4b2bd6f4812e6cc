"""The rule ``texts``: a pool of texts as a CLIP knows them."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from purelens.data.vocabulary import read_texts
from purelens.errors import UserError
from purelens.networks.batching import choose_device
from purelens.networks.embedders import encode_texts
from purelens.storage.artifacts import create
from purelens.storage.provenance import Provenance

logger = logging.getLogger("purelens")


def texts(
    texts_h5: str,
    embedder: Mapping[str, Any],
    pool: str,
    device: str = "auto",
    seed: int = 0,
    provenance: Provenance | None = None,
) -> None:
    """Embed a pool of texts.

    Parameters
    ----------
    texts_h5
        The artifact.
    embedder
        Configuration of an open_clip model.
    pool
        The list of texts (see `purelens.data.vocabulary.read_texts`).
    device
        See `purelens.networks.batching`.
    seed
        Of random weights.
    provenance
        What the artifact is made from.

    Raises
    ------
    UserError
        If the pool cannot be read, or the model embeds no texts.
    """
    where = str(choose_device(device))
    found = read_texts(pool)
    logger.info("%d different texts", len(found.names))
    vectors = embedded(found.prompts, embedder, where, seed)
    with create(texts_h5, "texts", provenance, where) as out:
        out.coordinate("text_number", len(found.names))
        out.coordinate("component", vectors.shape[1])
        out.variable("text", data=found.names)
        out.variable("text_embedding", data=vectors)


def embedded(sentences: Sequence[str], embedder: Mapping[str, Any], device: str = "cpu", seed: int = 0) -> np.ndarray:
    """Embeddings (n, d) of sentences by a CLIP, of length 1.

    Raises
    ------
    UserError
        If the model embeds no texts, or a component is NaN or infinite.
    """
    return unit(encode_texts(str(embedder["architecture"]), str(embedder["weights"]), sentences, device, seed))


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors (..., d) of length 1; zeros stay.

    Raises
    ------
    UserError
        If a component is NaN or infinite.
    """
    if not np.isfinite(vectors).all():
        raise UserError("lens: the CLIP gives NaN or infinite embeddings of texts; check its weights")
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)
