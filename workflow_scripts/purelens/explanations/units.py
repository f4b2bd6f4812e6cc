"""What is explained: the neurons of a layer, and the virtual neurons of some of them."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import h5py
import numpy as np

from purelens.storage.artifacts import Rows, read

WHOLE = -1
UNITS_AT_A_TIME = 256


@dataclass(frozen=True)
class Units:
    """Neurons and virtual neurons, and their activations.

    Attributes
    ----------
    neuron
        (U,) number of the neuron.
    part
        (U,) number of the virtual neuron, -1 for the whole neuron.
    """

    neuron: np.ndarray
    part: np.ndarray
    _mean: Rows
    _gate: np.ndarray
    _gated: dict[int, int]

    def __len__(self) -> int:
        return len(self.neuron)

    def blocks(self) -> Iterator[slice]:
        """Ranges of units that fit in memory."""
        for start in range(0, len(self), UNITS_AT_A_TIME):
            yield slice(start, min(start + UNITS_AT_A_TIME, len(self)))

    def activations(self, units: slice, images: np.ndarray) -> np.ndarray:
        """Activations (b, B) of some units on images, by ascending number.

        A virtual neuron has its neuron's mean activation on images whose nearest circuit is its own, and 0 on others.
        """
        values = self._mean.take(images, self.neuron[units]).astype(np.float64)
        for column, (neuron, part) in enumerate(zip(self.neuron[units], self.part[units], strict=True)):
            if part != WHOLE:
                values[:, column] *= self._gate[self._gated[int(neuron)], images] == part
        return values


@contextmanager
def open_units(activations_h5: str, gates_h5: str | None, neurons: np.ndarray | None = None) -> Iterator[Units]:
    """Open the activations of a layer.

    Parameters
    ----------
    activations_h5, gates_h5
        Artifacts of the rules ``activations`` and ``gates``; without the latter there are no virtual neurons.
    neurons
        The neurons that are studied; None: all.
    """
    with ExitStack() as stack:
        file = stack.enter_context(read(activations_h5, "activations"))
        whole = file["neuron"][...] if neurons is None else neurons
        gated, gate, n_parts = np.zeros(0, dtype=int), np.zeros((0, 0), dtype=np.int8), 0
        if gates_h5 is not None:
            gates: h5py.File = stack.enter_context(read(gates_h5, "gates"))
            gated, gate, n_parts = gates["neuron"][...], gates["virtual_neuron"][...], int(gates.attrs["n_clusters"])
        yield Units(
            np.concatenate([whole, np.repeat(gated, n_parts)]).astype(int),
            np.concatenate([np.full(len(whole), WHOLE), np.tile(np.arange(n_parts), len(gated))]).astype(int),
            Rows(file, "mean"),
            gate,
            {int(number): row for row, number in enumerate(gated)},
        )
