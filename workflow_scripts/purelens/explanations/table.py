"""The concepts of the images, as an artifact holds them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import h5py
import numpy as np

from purelens.explanations.calibration import probability
from purelens.storage.artifacts import Rows, read, strings
from purelens.storage.provenance import text

LABELS, TEXTS = "labels", "texts"


@dataclass(frozen=True)
class ConceptTable:
    """Concepts and how likely each is on each image.

    Attributes
    ----------
    file
        The artifact.
    names
        (M,) of the concepts.
    kept
        (M,) whether the filter keeps them.
    part
        (N,) what each image is for (see `purelens.data.splits`).
    """

    file: h5py.File
    names: list[str]
    kept: np.ndarray
    part: np.ndarray

    @property
    def of_texts(self) -> bool:
        """Whether they are texts, known by an embedder."""
        return text(self.file, "kind") == TEXTS

    def cosines(self, images: np.ndarray) -> np.ndarray:
        """Cosines (b, M) of images, by ascending number, with the texts."""
        return Rows(self.file, "value").take(images)

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Probability (b, M) of each concept on images, by ascending number."""
        values = Rows(self.file, "value").take(images)
        if not self.of_texts:
            return values.astype(np.float64)
        return probability(values.astype(np.float64), float(self.file.attrs["scale"]), float(self.file.attrs["bias"]))


@contextmanager
def open_concepts(path: str) -> Iterator[ConceptTable]:
    """Open an artifact of the rule ``concepts``."""
    with read(path, "concepts") as file:
        yield ConceptTable(
            file, strings(file["concept_label"]), file["kept"][...].astype(bool), file["split"][...].astype(np.uint8)
        )
