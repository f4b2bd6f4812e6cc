"""Read a concept set: which concept is how probable on which image."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from purelens.explanations.calibration import probability
from purelens.storage.reading import Artifact, read, strings

LABELS, TEXTS = "labels", "texts"
"""Sources of a concept set: what is known of the images, or texts that an embedding model knows."""


@dataclass(frozen=True)
class ConceptTable:
    """A concept set.

    Attributes
    ----------
    file
        The artifact.
    names
        (M,) names of the concepts.
    kept
        (M,) bool, whether they pass the filter.
    split
        (N,) split of each image (see `purelens.data.splits`).
    """

    file: Artifact
    names: list[str]
    kept: np.ndarray
    split: np.ndarray

    @property
    def of_texts(self) -> bool:
        """Whether its concepts are texts, known by an embedding model."""
        return self.file.attribute("kind") == TEXTS

    def cosines(self, images: np.ndarray) -> np.ndarray:
        """Read the cosines (b, M) of images, by ascending id, with the texts."""
        return self.file["value"].take(images)

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Read the probability (b, M) of each concept on images, by ascending id."""
        values = self.file["value"].take(images)
        if not self.of_texts:
            return values.astype(np.float64)
        return probability(
            values.astype(np.float64), float(self.file.attribute("scale")), float(self.file.attribute("bias"))
        )


@contextmanager
def open_concepts(path: str) -> Iterator[ConceptTable]:
    """Open an artifact of the rule ``concepts``."""
    with read(path, "concepts") as file:
        yield ConceptTable(
            file, strings(file["concept_label"]), file["kept"][...].astype(bool), file["split"][...].astype(np.uint8)
        )
