"""Read the representations of references: what methods cluster, and what distances are measured in."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np

from purelens.circuits.methods import ACTIVATIONS, DICTIONARY, EMBEDDER, JOINT, PURE
from purelens.circuits.views import Loader, open_views, view_grams
from purelens.errors import UserError
from purelens.numerics.clustering import gram_matrices, squared_distances
from purelens.storage.reading import Table, read

SLAB_NEURONS = 16


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
    views
        The same for each view of the method ``joint``, which has no vectors of its own.
    """

    neurons: np.ndarray
    reference_id: np.ndarray
    loaders: dict[str, Loader]
    views: Sequence[Loader] = ()

    @property
    def methods(self) -> list[str]:
        """All methods: circuits come first."""
        circuits = [method for method in self.loaders if method.startswith(PURE)]
        others = [method for method in self.loaders if not method.startswith(PURE)]
        return [*circuits, *([JOINT] if self.views else []), *others]

    def grams(self, method: str, start: int, stop: int, n_references: int | None = None) -> np.ndarray:
        """Compute the scalar products of the references of a slab of neurons.

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
            (stop - start, K, K), of vectors less their mean.
        """
        valid = self.reference_id[start:stop] >= 0
        valid = valid & (np.arange(valid.shape[1]) < (valid.shape[1] if n_references is None else n_references))
        if method == JOINT:
            grams = view_grams(self.views, valid, start, stop).sum(axis=1)
        else:
            grams = gram_matrices(self.loaders[method](start, stop), valid)
        return grams[:, :n_references, :n_references]

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
        return np.sqrt(squared_distances(self.grams(method, start, stop, n_references)))


@contextmanager
def open_representations(
    relevances_h5: str,
    activations_h5: str | None,
    embeddings: Sequence[str],
    embedders: Sequence[str],
    joint: bool = False,
    dictionaries_h5: Sequence[str] = (),
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
    joint
        Whether there is the method ``joint``, for which the activations are needed.
    dictionaries_h5
        Artifact of the rule ``dictionaries``, or none; gives ``dictionary:{name}`` for each.

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
            loaders[PURE + lower] = rows_of(relevance[f"relevance/{lower}"])
        views: list[Loader] = []
        if activations_h5 is not None:
            means = stack.enter_context(read(activations_h5, "activations"))["mean"]
            loaders[ACTIVATIONS] = of_images(means, reference_id)
            views = open_views(relevance, loaders[ACTIVATIONS], neurons[:, None]) if joint else []
        for path in dictionaries_h5:
            file = stack.enter_context(read(path, "dictionaries"))
            codes = {DICTIONARY + name: file[f"mean/{name}"] for name in file.names("mean")}
            loaders |= {method: of_images(table, reference_id) for method, table in codes.items()}
        for path, name in zip(embeddings, embedders, strict=True):
            file = stack.enter_context(read(path, "embeddings"))
            if not np.array_equal(file["reference_id"][...], reference_id):
                raise UserError(f"{path} and {relevances_h5} are not of the same references; rebuild them")
            loaders[EMBEDDER + name] = rows_of(file["embedding"])
        yield Representations(neurons, reference_id, loaders, views)


def rows_of(variable: Table) -> Loader:
    """Read the rows of a slab of neurons."""
    return lambda start, stop: variable[start:stop]


def of_images(table: Table, reference_id: np.ndarray) -> Loader:
    """Read rows of a table over images, for the references of a slab of neurons."""

    def load(start: int, stop: int) -> np.ndarray:
        ids = reference_id[start:stop]
        unique, inverse = np.unique(np.maximum(ids, 0), return_inverse=True)
        return table[unique][inverse].reshape(*ids.shape, -1)

    return load
