"""Describe the references of a neuron from several sides (views), to split the neuron by all of them together.

- circuits: relevances of the outputs of lower layers;
- inner circuits: relevances of the units inside residual blocks, which no shortcut reaches;
- activations: mean activations of the layer;
- weighted activations: activations of the layer where the neuron is active.

Each entry is replaced by its signed square root and each reference brought to length 1, layer by layer. The neuron's own
activation is left out: it says how strongly a reference activates the neuron, not how it differs from another.
"""

from collections.abc import Callable, Sequence

import numpy as np

from purelens.numerics.clustering import gram_matrices
from purelens.numerics.ridge_split import normalized
from purelens.storage.reading import Artifact, strings

Loader = Callable[[int, int], np.ndarray]

WEIGHTED = "weighted_activation"


def open_views(relevances: Artifact, activations: Loader, left_out: np.ndarray) -> list[Loader]:
    """Open the views of the neurons of a layer.

    Parameters
    ----------
    relevances
        Artifact of the rule ``relevances``, or of ``planted``.
    activations
        Gives the mean activations (b, K, C) of the layer on the references of a slab of neurons.
    left_out
        (C, m) numbers of the neurons of the layer whose activations are left out of the views of each neuron; -1: none.

    Returns
    -------
    list
        Functions of (start, stop) that read the vectors (b, K, D) of a slab, one for each view that the artifact has.
    """
    names, inner = strings(relevances["lower_layer_name"]), relevances["inner"][...]
    groups = [[name for name, inside in zip(names, inner, strict=True) if inside == kind] for kind in (0, 1)]
    views = [_joined([relevances[f"relevance/{name}"].__getitem__ for name in group]) for group in groups if group]
    views.append(_of_others(activations, left_out))
    if WEIGHTED in relevances:
        table = relevances[WEIGHTED]
        views.append(_of_others(lambda start, stop: table[start:stop], left_out))
    return views


def _joined(read: Sequence[Callable[[slice], np.ndarray]]) -> Loader:
    return lambda start, stop: np.concatenate([prepared(rows(slice(start, stop))) for rows in read], axis=2)


def _of_others(read: Loader, left_out: np.ndarray) -> Loader:
    others = without_neurons(read, left_out)
    return lambda start, stop: prepared(others(start, stop))


def without_neurons(read: Loader, left_out: np.ndarray) -> Loader:
    """Set the activations of some neurons of the layer to zero.

    Parameters
    ----------
    read
        Gives activations (b, K, C) of a slab of neurons.
    left_out
        (C, m) numbers of the neurons of the layer that are left out for each neuron; -1: none.
    """

    def load(start: int, stop: int) -> np.ndarray:
        values = read(start, stop).copy()
        for row, neurons in enumerate(left_out[start:stop]):
            values[row][:, neurons[neurons >= 0]] = 0
        return values

    return load


def prepared(vectors: np.ndarray) -> np.ndarray:
    """Take signed square roots of vectors (..., D), and bring them to length 1; vectors of zeros stay."""
    roots = np.sign(vectors) * np.sqrt(np.abs(vectors))
    length = np.linalg.norm(roots, axis=-1, keepdims=True)
    return roots / np.where(length > 0, length, 1)


def view_grams(views: Sequence[Loader], valid: np.ndarray, start: int, stop: int) -> np.ndarray:
    """Compute the scalar products of the references of a slab of neurons in each view.

    Parameters
    ----------
    views
        See `open_views`.
    valid
        (b, K) bool, which references there are.
    start, stop
        The slab.

    Returns
    -------
    numpy.ndarray
        (b, v, K, K), of centered vectors whose mean squared length is 1; 0 where there is no reference.
    """
    grams = np.stack([gram_matrices(view(start, stop), valid) for view in views], axis=1)
    counted = valid.shape[1] / np.maximum(valid.sum(axis=1), 1)
    return normalized(grams) / counted[:, None, None, None]
