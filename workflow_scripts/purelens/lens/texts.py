"""The rule ``texts``: a pool of texts and the names of the classes, as a CLIP knows them."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from purelens.artifacts import create, strings
from purelens.dataset import open_images
from purelens.device import choose_device
from purelens.embedders import encode_texts
from purelens.errors import UserError
from purelens.provenance import Provenance
from purelens.vocabulary import read_texts

logger = logging.getLogger("purelens")


def texts(
    images_h5: str,
    texts_h5: str,
    embedder: Mapping[str, Any],
    pool: str,
    class_templates: Sequence[str] = ("{}",),
    device: str = "auto",
    seed: int = 0,
    provenance: Provenance | None = None,
) -> None:
    """Embed a pool of texts, and the classes of a dataset.

    Parameters
    ----------
    images_h5
        Artifact of the rule ``dataset``, which names the classes.
    texts_h5
        The artifact.
    embedder
        Configuration of an open_clip model.
    pool
        The list of texts (see `purelens.vocabulary.read_texts`).
    class_templates
        Sentences; {} is the name of a class. The embedding of a class is the mean of those of its sentences.
    device
        See `purelens.device`.
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
    with open_images(images_h5) as images:
        classes = strings(images.file["class_name"])
    sentences = [template.replace("{}", name) for name in classes for template in class_templates]
    logger.info("%d different texts, %d classes of %d sentences", len(found.names), len(classes), len(class_templates))
    every = [*found.prompts, *sentences]
    vectors = unit(encode_texts(str(embedder["architecture"]), str(embedder["weights"]), every, where, seed))
    of_pool, of_classes = np.split(vectors, [len(found.names)])
    of_classes = unit(of_classes.reshape(len(classes), len(class_templates), vectors.shape[1]).mean(axis=1))
    with create(texts_h5, "texts", provenance, where) as out:
        out.coordinate("text_number", len(found.names))
        out.coordinate("class", len(classes))
        out.coordinate("component", vectors.shape[1])
        out.variable("text", data=found.names)
        out.variable("text_embedding", data=of_pool)
        out.variable("class_name", data=classes)
        out.variable("class_embedding", data=of_classes)


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
