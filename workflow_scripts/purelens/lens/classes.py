"""The rule ``classes``: embed the names of a dataset's classes."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from purelens.data.dataset import open_images
from purelens.lens.texts import embedded, unit
from purelens.networks.batching import choose_device
from purelens.storage.artifacts import create
from purelens.storage.provenance import DEFAULT_EXECUTION, Execution
from purelens.storage.reading import read, strings

logger = logging.getLogger("purelens")


def classes(
    images_h5: str,
    classes_h5: str,
    embedder: Mapping[str, Any],
    class_templates: Sequence[str] = ("{}",),
    seed: int = 0,
    execution: Execution = DEFAULT_EXECUTION,
) -> None:
    """Embed the names of a dataset's classes.

    Parameters
    ----------
    images_h5
        Artifact of the rule ``dataset``, which names the classes.
    classes_h5
        The artifact.
    embedder
        Configuration of an open_clip model.
    class_templates
        Prompts; {} is the name of a class. The embedding of a class is the mean of those of its prompts.
    seed
        Seed of random weights.
    execution
        Device and provenance record.

    Raises
    ------
    UserError
        If the model embeds no texts.
    """
    device = str(choose_device(execution.device))
    with open_images(images_h5) as images:
        names = strings(images.file["class_name"])
    logger.info("%d classes, %d prompts of each", len(names), len(class_templates))
    prompts = [template.replace("{}", name) for name in names for template in class_templates]
    # without classes one empty prompt tells the length of an embedding
    vectors = embedded(prompts or [""], embedder, device, seed)[: len(prompts)]
    of_classes = unit(vectors.reshape(len(names), len(class_templates), vectors.shape[1]).mean(axis=1))
    with create(classes_h5, "classes", execution.provenance, device) as out:
        out.coordinate("class", len(names))
        out.coordinate("component", vectors.shape[1])
        out.variable("class_name", data=names)
        out.variable("class_embedding", data=of_classes)


def read_classes(classes_h5: str) -> tuple[list[str], np.ndarray]:
    """Read the names of the classes (C) and their embeddings (C, d)."""
    with read(classes_h5, "classes") as file:
        return strings(file["class_name"]), file["class_embedding"][...]
