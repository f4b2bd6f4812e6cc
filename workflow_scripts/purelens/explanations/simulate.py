"""The rule ``simulate``: how well each explanation predicts its neuron on images that took no part in it."""

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import h5py
import numpy as np
import pandas as pd

from purelens.data.splits import TEST
from purelens.errors import listed
from purelens.explanations.methods import SHUFFLED
from purelens.explanations.scores import auprc_columns, pearson_columns
from purelens.explanations.table import ConceptTable, open_concepts
from purelens.explanations.units import WHOLE, Units, open_units
from purelens.numerics.bootstrap import estimate
from purelens.storage.artifacts import read, strings
from purelens.storage.tables import write_table

logger = logging.getLogger("purelens")

SHOWN = ("correlation", "auprc", "n_concepts")
TURNS, TURNS_OF_AUPRC = 20, 3
"""How many others' explanations each neuron is given in the control."""

SLAB_NEURONS = 64


@dataclass(frozen=True)
class Explanations:
    """The explanations of a layer, as a method's weights on the concepts of a simulator.

    Attributes
    ----------
    methods
        Their names.
    units
        What is explained.
    n_concepts
        (methods, U) concepts of each explanation, 0 where there is none.
    validation
        (methods, U) correlation on the images it was chosen on.
    """

    file: h5py.File
    methods: list[str]
    units: Units
    n_concepts: np.ndarray
    validation: np.ndarray
    _column: np.ndarray

    def simulable(self, method: int) -> np.ndarray:
        """Units (U,) that have an explanation whose concepts the simulator knows."""
        numbers = self.file["concept_number"][method]
        known = np.where(numbers >= 0, self._column[numbers] >= 0, True).all(axis=1)
        return known & (self.n_concepts[method] > 0)

    def weights(self, method: int, units: slice, n_columns: int) -> np.ndarray:
        """Weights (B, M) on the simulator's concepts."""
        numbers, weights = self.file["concept_number"][method][units], self.file["weight"][method][units]
        found = np.zeros((len(numbers), n_columns))
        unit, slot = np.nonzero((numbers >= 0) & (self._column[numbers] >= 0))
        np.add.at(found, (unit, self._column[numbers[unit, slot]]), weights[unit, slot])
        return found

    def intercepts(self, method: int, units: slice) -> np.ndarray:
        """Constants (B,)."""
        return np.nan_to_num(self.file["intercept"][method][units])


@contextmanager
def open_explanations(
    explanations_h5: str, activations_h5: str, gates_h5: str | None, simulator: ConceptTable
) -> Iterator[Explanations]:
    """Open the artifact of the rule ``explain`` beside the activations it is about."""
    with read(explanations_h5, "explanations") as file:
        neuron, part = file["unit_neuron"][...], file["unit_part"][...]
        with open_units(activations_h5, gates_h5, neuron[part == WHOLE]) as units:
            place = {name: column for column, name in enumerate(simulator.names)}
            names = strings(file["concept_label"])
            column = np.array([*(place.get(name, -1) for name in names), -1])
            missing = [name for name in names if name not in place]
            if missing:
                logger.warning("the simulator does not know %d concepts: %s", len(missing), listed(missing))
            n_concepts = (file["concept_number"][...] >= 0).sum(axis=2)
            yield Explanations(file, strings(file["method"]), units, n_concepts, file["correlation"][...], column)


def simulate(
    activations_h5: str,
    explanations_h5: str,
    concepts_h5: str,
    gates_h5: Sequence[str],
    scores_csv: str,
    summary_csv: str,
    virtual_csv: str,
    bootstrap: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> None:
    """Score explanations by simulation.

    Parameters
    ----------
    activations_h5, explanations_h5, gates_h5
        Artifacts of the rules ``activations``, ``explain`` and ``gates`` (none or one).
    concepts_h5
        The set of concepts that says which test images have the concepts.
    scores_csv
        One row per method and neuron or virtual neuron.
    summary_csv
        Means over neurons with bootstrap intervals.
    virtual_csv
        Neurons beside their virtual neurons.
    bootstrap, confidence, seed
        See `purelens.numerics.bootstrap.estimate`.

    Notes
    -----
    Oikarinen & Weng 2024, section 4.1: Pearson's correlation of the activation with the sum of weight x probability.
    """
    rows, joined = [], []
    with (
        open_concepts(concepts_h5) as simulator,
        open_explanations(
            explanations_h5, activations_h5, gates_h5[0] if gates_h5 else None, simulator
        ) as explanations,
    ):
        images = np.flatnonzero(simulator.part == TEST)
        probabilities = simulator.probabilities(images)
        for method, name in enumerate(explanations.methods):
            simulated = simulations(explanations, method, probabilities)
            rows.append(_scores(explanations, method, name, simulated, images))
            joined += _joined(explanations, name, simulated, images, rows[-1])
            rows.append(_shuffled_scores(explanations, name, simulated, images, seed))
    table = pd.concat(rows, ignore_index=True)
    write_table(scores_csv, table)
    write_table(summary_csv, _summary(table, bootstrap, confidence, seed))
    columns = ["method", "neuron", "parent_correlation", "children_correlation", "sum_correlation", "parent_auprc"]
    columns += ["children_auprc", "parent_concepts", "children_concepts"]
    write_table(virtual_csv, pd.DataFrame(joined, columns=columns))


def simulations(explanations: Explanations, method: int, probabilities: np.ndarray) -> np.ndarray:
    """What a method's explanations predict on the images of some probabilities (n, M): (n, U), NaN where there is none."""
    found = np.full((len(probabilities), len(explanations.units)), np.nan, dtype=np.float32)
    simulable = explanations.simulable(method)
    for block in explanations.units.blocks():
        weights = explanations.weights(method, block, probabilities.shape[1])
        values = probabilities @ weights.T + explanations.intercepts(method, block)
        found[:, block] = np.where(simulable[block], values, np.nan)
    return found


def _scores(
    explanations: Explanations, method: int, name: str, simulated: np.ndarray, images: np.ndarray
) -> pd.DataFrame:
    units = explanations.units
    correlation, auprc = np.full(len(units), np.nan), np.full(len(units), np.nan)
    for block in units.blocks():
        true, guess = units.activations(block, images), simulated[:, block].astype(np.float64)
        correlation[block] = np.where(np.isnan(guess).any(axis=0), np.nan, pearson_columns(true, guess))
        auprc[block] = auprc_columns(true, guess)
    return pd.DataFrame(
        {
            "method": name,
            "neuron": units.neuron,
            "virtual_neuron": units.part,
            "n_concepts": explanations.n_concepts[method],
            "validation_correlation": explanations.validation[method],
            "correlation": correlation,
            "auprc": auprc,
        }
    )


def givers(simulated: np.ndarray, units: Units, n_turns: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Deal explanations to other neurons: places (G,) of neurons that have one, and (turns, G) whose each is given."""
    usable = np.flatnonzero((units.part == WHOLE) & ~np.isnan(simulated).any(axis=0))
    order = np.random.default_rng([seed, len(usable)]).permutation(usable)
    n_turns = max(0, min(n_turns, len(order) - 1))
    given = np.zeros((n_turns, len(order)), dtype=int)
    for turn in range(n_turns):
        given[turn] = np.roll(order, turn + 1)
    return order, given


def _shuffled_scores(
    explanations: Explanations, name: str, simulated: np.ndarray, images: np.ndarray, seed: int
) -> pd.DataFrame:
    """The control: the mean score of each neuron when the explanations of others are used for it."""
    units = explanations.units
    places, given = givers(simulated, units, TURNS, seed)
    scores = np.full((2, len(given), len(places)), np.nan)
    for start in range(0, len(places), SLAB_NEURONS):
        slab = slice(start, start + SLAB_NEURONS)
        true = np.concatenate([units.activations(slice(p, p + 1), images) for p in places[slab]], axis=1)
        for turn, others in enumerate(given):
            guess = simulated[:, others[slab]].astype(np.float64)
            scores[0, turn, slab] = pearson_columns(true, guess)
            if turn < TURNS_OF_AUPRC:
                scores[1, turn, slab] = auprc_columns(true, guess)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # means of nothing are NaN
        correlation, auprc = np.nanmean(scores, axis=1) if len(given) else np.full((2, len(places)), np.nan)
    shuffled = {"method": SHUFFLED + name, "neuron": units.neuron[places], "virtual_neuron": WHOLE}
    table = pd.DataFrame(shuffled | {"correlation": correlation, "auprc": auprc}).sort_values("neuron")
    table.insert(3, "n_concepts", np.nan)
    table.insert(4, "validation_correlation", np.nan)
    return table


def _summary(table: pd.DataFrame, bootstrap: int, confidence: float, seed: int) -> pd.DataFrame:
    """Means over whole neurons that are not constant."""
    rows = []
    whole = table[table["virtual_neuron"] == WHOLE]
    for name, group in whole.groupby("method", sort=False):
        for quantity in SHOWN:
            values = group[quantity].to_numpy(dtype=float)
            values = values[group["correlation"].notna()] if quantity == "n_concepts" else values
            rows.append({"method": name, "quantity": quantity, **vars(estimate(values, bootstrap, confidence, seed))})
    return pd.DataFrame(rows)


def _joined(
    explanations: Explanations, name: str, simulated: np.ndarray, images: np.ndarray, scores: pd.DataFrame
) -> list[Mapping[str, object]]:
    """Each neuron beside its virtual neurons: are they described better, by fewer concepts, and do they add up?"""
    units = explanations.units
    found: list[Mapping[str, object]] = []
    for neuron in dict.fromkeys(units.neuron[units.part != WHOLE].tolist()):
        (parent,) = np.flatnonzero((units.neuron == neuron) & (units.part == WHOLE))
        children = np.flatnonzero((units.neuron == neuron) & (units.part != WHOLE))
        whole, parts = scores.iloc[parent], scores.iloc[children]
        if parts["correlation"].isna().any() or np.isnan(whole["correlation"]):
            continue  # what has no explanation adds up to nothing
        true = units.activations(slice(parent, parent + 1), images)
        total = simulated[:, children].astype(np.float64).sum(axis=1, keepdims=True)
        found.append(
            {
                "method": name,
                "neuron": neuron,
                "parent_correlation": whole["correlation"],
                "children_correlation": parts["correlation"].mean(),
                "sum_correlation": pearson_columns(true, total)[0],
                "parent_auprc": whole["auprc"],
                "children_auprc": parts["auprc"].mean(),
                "parent_concepts": whole["n_concepts"],
                "children_concepts": parts["n_concepts"].mean(),
            }
        )
    return found
