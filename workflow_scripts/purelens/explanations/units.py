"""Read the activations of the units that are explained: the neurons of a layer, and the virtual neurons of some of them."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np

from purelens.storage.reading import Artifact, Table, read

WHOLE_NEURON = -1
"""The virtual neuron of a whole neuron."""

UNITS_AT_A_TIME = 256


@dataclass(frozen=True)
class Units:
    """Neurons and virtual neurons, and their activations.

    Attributes
    ----------
    neuron
        (U,) number of the neuron.
    virtual_neuron
        (U,) number of the virtual neuron, ``WHOLE_NEURON`` for the whole neuron.
    """

    neuron: np.ndarray
    virtual_neuron: np.ndarray
    _mean: Table
    _assignment: np.ndarray
    _assigned: dict[int, int]

    def __len__(self) -> int:
        return len(self.neuron)

    def blocks(self) -> Iterator[slice]:
        """Divide the units into ranges that fit in memory."""
        for start in range(0, len(self), UNITS_AT_A_TIME):
            yield slice(start, min(start + UNITS_AT_A_TIME, len(self)))

    def activations(self, units: slice, images: np.ndarray) -> np.ndarray:
        """Read the activations of some units on some images.

        A virtual neuron has its neuron's mean activation on images that are assigned to it, and 0 on others.

        Parameters
        ----------
        units
            The B units.
        images
            (b,) image ids, ascending.

        Returns
        -------
        numpy.ndarray
            (b, B) float64.
        """
        values = self._mean.take(images, self.neuron[units]).astype(np.float64)
        numbers = zip(self.neuron[units], self.virtual_neuron[units], strict=True)
        for column, (neuron, virtual_neuron) in enumerate(numbers):
            if virtual_neuron != WHOLE_NEURON:
                values[:, column] *= self._assignment[self._assigned[int(neuron)], images] == virtual_neuron
        return values


@contextmanager
def open_units(activations_h5: str, assignments_h5: str | None, neurons: np.ndarray | None = None) -> Iterator[Units]:
    """Open the activations of a layer.

    Parameters
    ----------
    activations_h5, assignments_h5
        Artifacts of the rules ``activations`` and ``assignments``; without the latter there are no virtual neurons.
    neurons
        Numbers of the neurons that are studied; None: all.

    Yields
    ------
    Units
        The neurons, and the virtual neurons where there are assignments.
    """
    with ExitStack() as stack:
        file = stack.enter_context(read(activations_h5, "activations"))
        whole = file["neuron"][...] if neurons is None else neurons
        assigned, assignment, n_virtual = np.zeros(0, dtype=int), np.zeros((0, 0), dtype=np.int8), 0
        if assignments_h5 is not None:
            of_images: Artifact = stack.enter_context(read(assignments_h5, "assignments"))
            assigned, assignment = of_images["neuron"][...], of_images["virtual_neuron"][...]
            n_virtual = int(of_images.attribute("n_clusters"))
        yield Units(
            np.concatenate([whole, np.repeat(assigned, n_virtual)]).astype(int),
            np.concatenate([np.full(len(whole), WHOLE_NEURON), np.tile(np.arange(n_virtual), len(assigned))]).astype(
                int
            ),
            file["mean"],
            assignment,
            {int(number): row for row, number in enumerate(assigned)},
        )
