"""Read the representations of references: what methods cluster, and what distances are measured in."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np

from purelens.circuits.methods import ACTIVATIONS, EMBEDDER, PURE
from purelens.errors import UserError
from purelens.numerics.clustering import gram_matrices, squared_distances
from purelens.storage.reading import Table, read

SLAB_NEURONS = 16

Loader = Callable[[int, int], np.ndarray]


@dataclass(frozen=True)
class Representations:
    """Vectors of every reference, by method.

    Attributes
    ----------
    neurons
        (C,) numbers of the neurons.
    reference_id
        (C, K) image ids, -1 where there is none.
    loaders
        For each method a function of (start, stop) that reads the vectors (stop - start, K, D) of a slab of neurons.
    """

    neurons: np.ndarray
    reference_id: np.ndarray
    loaders: dict[str, Loader]

    def slabs(self) -> Iterator[tuple[int, int]]:
        """Divide the neurons into ranges that fit in memory."""
        for start in range(0, len(self.neurons), SLAB_NEURONS):
            yield start, min(start + SLAB_NEURONS, len(self.neurons))

    def distances(self, method: str, start: int, stop: int, n_references: int | None = None) -> np.ndarray:
        """Compute Euclidean distances between the references of a slab of neurons.

        Parameters
        ----------
        method
            The representation.
        start, stop
            The slab.
        n_references
            Number of references, best first; None: all.

        Returns
        -------
        numpy.ndarray
            (stop - start, K, K).
        """
        valid = self.reference_id[start:stop, :n_references] >= 0
        vectors = self.loaders[method](start, stop)[:, :n_references]
        return np.sqrt(squared_distances(gram_matrices(vectors, valid)))


@contextmanager
def open_representations(
    relevances_h5: str, activations_h5: str | None, embeddings: Sequence[str], embedders: Sequence[str]
) -> Iterator[Representations]:
    """Open the artifacts that hold representations of the same references.

    Parameters
    ----------
    relevances_h5
        Gives one method ``pure:{lower layer}`` for each lower layer.
    activations_h5
        Gives the method ``activations``; None: without.
    embeddings, embedders
        Artifacts and names of embedding models; each gives ``embedder:{name}``.

    Yields
    ------
    Representations
        The representations of each method, read a slab of neurons at a time.

    Raises
    ------
    UserError
        If the artifacts are not of the same references.
    """
    with ExitStack() as stack:
        relevance = stack.enter_context(read(relevances_h5, "relevances"))
        reference_id, neurons = relevance["reference_id"][...], relevance["neuron"][...]
        loaders: dict[str, Loader] = {}
        for lower in relevance.names("relevance"):
            loaders[PURE + lower] = _rows(relevance[f"relevance/{lower}"])
        if activations_h5 is not None:
            means = stack.enter_context(read(activations_h5, "activations"))["mean"]
            loaders[ACTIVATIONS] = _of_images(means, reference_id)
        for path, name in zip(embeddings, embedders, strict=True):
            file = stack.enter_context(read(path, "embeddings"))
            if not np.array_equal(file["reference_id"][...], reference_id):
                raise UserError(f"{path} and {relevances_h5} are not of the same references; rebuild them")
            loaders[EMBEDDER + name] = _rows(file["embedding"])
        yield Representations(neurons, reference_id, loaders)


def _rows(variable: Table) -> Loader:
    return lambda start, stop: variable[start:stop]


def _of_images(table: Table, reference_id: np.ndarray) -> Loader:
    """Read rows of a table over images, for the references of a slab of neurons."""

    def load(start: int, stop: int) -> np.ndarray:
        ids = reference_id[start:stop]
        unique, inverse = np.unique(np.maximum(ids, 0), return_inverse=True)
        return table[unique][inverse].reshape(*ids.shape, -1)

    return load
