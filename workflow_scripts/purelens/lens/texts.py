"""The rule ``texts``: embed the texts that directions are decomposed into."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from purelens.data.vocabulary import read_texts
from purelens.errors import UserError
from purelens.networks.batching import choose_device
from purelens.networks.embedders import encode_texts
from purelens.storage.artifacts import create
from purelens.storage.provenance import DEFAULT_EXECUTION, Execution

logger = logging.getLogger("purelens")


def texts(
    texts_h5: str, embedder: Mapping[str, Any], pool: str, seed: int = 0, execution: Execution = DEFAULT_EXECUTION
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
    seed
        Seed of random weights.
    execution
        Device and provenance record.

    Raises
    ------
    UserError
        If the pool cannot be read, or the model embeds no texts.
    """
    device = str(choose_device(execution.device))
    listed_texts = read_texts(pool)
    logger.info("%d different texts", len(listed_texts.names))
    vectors = embedded(listed_texts.prompts, embedder, device, seed)
    with create(texts_h5, "texts", execution.provenance, device) as out:
        out.coordinate("text_number", len(listed_texts.names))
        out.coordinate("component", vectors.shape[1])
        out.variable("text", data=listed_texts.names)
        out.variable("text_embedding", data=vectors)


def embedded(prompts: Sequence[str], embedder: Mapping[str, Any], device: str = "cpu", seed: int = 0) -> np.ndarray:
    """Embed prompts by a CLIP.

    Parameters
    ----------
    prompts
        n prompts.
    embedder
        Configuration of an open_clip model.
    device
        Where to compute.
    seed
        Seed of random weights.

    Returns
    -------
    numpy.ndarray
        (n, d) of length 1.

    Raises
    ------
    UserError
        If the model embeds no texts, or a component is NaN or infinite.
    """
    return unit(encode_texts(str(embedder["architecture"]), str(embedder["weights"]), prompts, device, seed))


def unit(vectors: np.ndarray) -> np.ndarray:
    """Scale vectors (..., d) to length 1; zeros stay.

    Raises
    ------
    UserError
        If a component is NaN or infinite.
    """
    if not np.isfinite(vectors).all():
        raise UserError("lens: the CLIP gives NaN or infinite embeddings of texts; check its weights")
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)
