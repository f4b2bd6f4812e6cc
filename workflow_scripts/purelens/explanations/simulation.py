"""Simulate neurons: predict their activations from their explanations and the ground-truth concepts of the images."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from purelens.errors import listed
from purelens.explanations.table import ConceptTable
from purelens.explanations.units import WHOLE_NEURON, Units, open_units
from purelens.storage.reading import Artifact, read, strings

logger = logging.getLogger("purelens")


@dataclass(frozen=True)
class Explanations:
    """The explanations of a layer, as weights on the concepts of the ground-truth set.

    Attributes
    ----------
    file
        The artifact.
    methods
        Names of the methods.
    units
        The units that are explained.
    n_concepts
        (methods, U) number of concepts of each explanation, 0 where there is none.
    validation
        (methods, U) correlation on validation images.
    """

    file: Artifact
    methods: list[str]
    units: Units
    n_concepts: np.ndarray
    validation: np.ndarray
    _column: np.ndarray

    def simulable(self, method: int) -> np.ndarray:
        """Find the units (U,) that have an explanation whose concepts are all in the ground-truth set."""
        numbers = self.file["concept_number"][method]
        known = np.where(numbers >= 0, self._column[numbers] >= 0, True).all(axis=1)
        return known & (self.n_concepts[method] > 0)

    def weights(self, method: int, units: slice, n_columns: int) -> np.ndarray:
        """Read the weights (B, M) of some units on the M concepts of the ground-truth set.

        Parameters
        ----------
        method
            Number of the method.
        units
            The B units.
        n_columns
            M.

        Returns
        -------
        numpy.ndarray
            (B, M) weights; 0 for concepts that the explanation does not use.
        """
        numbers, weights = self.file["concept_number"][method][units], self.file["weight"][method][units]
        table = np.zeros((len(numbers), n_columns))
        unit, slot = np.nonzero((numbers >= 0) & (self._column[numbers] >= 0))
        np.add.at(table, (unit, self._column[numbers[unit, slot]]), weights[unit, slot])
        return table

    def intercepts(self, method: int, units: slice) -> np.ndarray:
        """Read the intercepts (B,) of some units."""
        return np.nan_to_num(self.file["intercept"][method][units])


@contextmanager
def open_explanations(
    explanations_h5: str, activations_h5: str, assignments_h5: str | None, ground_truth: ConceptTable
) -> Iterator[Explanations]:
    """Open the artifact of the rule ``explain`` beside the activations it is about.

    Parameters
    ----------
    explanations_h5, activations_h5, assignments_h5
        Artifacts of the rules ``explain``, ``activations`` and ``assignments``; None: no virtual neurons.
    ground_truth
        The concept set that says which image has which concept.

    Yields
    ------
    Explanations
        The explanations and the activations of their units.
    """
    with read(explanations_h5, "explanations") as file:
        neuron, virtual_neuron = file["unit_neuron"][...], file["unit_virtual_neuron"][...]
        with open_units(activations_h5, assignments_h5, neuron[virtual_neuron == WHOLE_NEURON]) as units:
            column_of = {name: column for column, name in enumerate(ground_truth.names)}
            names = strings(file["concept_label"])
            column = np.array([*(column_of.get(name, -1) for name in names), -1])
            missing = [name for name in names if name not in column_of]
            if missing:
                logger.warning("%d concepts are not in the ground-truth set: %s", len(missing), listed(missing))
            n_concepts = (file["concept_number"][...] >= 0).sum(axis=2)
            yield Explanations(file, strings(file["method"]), units, n_concepts, file["correlation"][...], column)


def simulations(explanations: Explanations, method: int, probabilities: np.ndarray) -> np.ndarray:
    """Predict the activations of all units by one method.

    Parameters
    ----------
    explanations
        The explanations of the layer.
    method
        Number of the method.
    probabilities
        (n, M) ground-truth concepts of the images.

    Returns
    -------
    numpy.ndarray
        (n, U) float32; NaN for units without an explanation.

    Notes
    -----
    The sum of weight times probability, plus the intercept (Oikarinen & Weng 2024, section 4.1).
    """
    values = np.full((len(probabilities), len(explanations.units)), np.nan, dtype=np.float32)
    simulable = explanations.simulable(method)
    for block in explanations.units.blocks():
        weights = explanations.weights(method, block, probabilities.shape[1])
        predicted = probabilities @ weights.T + explanations.intercepts(method, block)
        values[:, block] = np.where(simulable[block], predicted, np.nan)
    return values


def shuffled(simulated: np.ndarray, units: Units, n_repeats: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Give each neuron the explanations of others: the control of every score.

    Parameters
    ----------
    simulated
        (n, U) predictions of one method (see `simulations`).
    units
        The U units.
    n_repeats
        Number of other explanations that each neuron is given.
    seed
        Seed of the shuffle.

    Returns
    -------
    places : numpy.ndarray
        (G,) places of the whole neurons that have an explanation.
    givers : numpy.ndarray
        (repeats, G) places of the neurons whose explanation each is given.
    """
    usable = np.flatnonzero((units.virtual_neuron == WHOLE_NEURON) & ~np.isnan(simulated).any(axis=0))
    order = np.random.default_rng([seed, len(usable)]).permutation(usable)
    n_repeats = max(0, min(n_repeats, len(order) - 1))
    givers = np.zeros((n_repeats, len(order)), dtype=int)
    for repeat in range(n_repeats):
        givers[repeat] = np.roll(order, repeat + 1)  # nobody is given its own
    return order, givers
