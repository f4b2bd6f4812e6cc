"""The rule ``simulate``: score how well each explanation predicts its neuron on test images."""

import logging
import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from purelens.data.splits import TEST
from purelens.explanations.methods import SHUFFLED
from purelens.explanations.scores import auprc_columns, pearson_columns
from purelens.explanations.simulation import Explanations, open_explanations, shuffled, simulations
from purelens.explanations.table import open_concepts
from purelens.explanations.units import WHOLE_NEURON
from purelens.numerics.bootstrap import Intervals, estimate
from purelens.storage.tables import write_table

logger = logging.getLogger("purelens")

QUANTITIES = ("correlation", "auprc", "n_concepts")
REPEATS, AUPRC_REPEATS = 20, 3
"""How many others' explanations each neuron is given in the control."""

SLAB_NEURONS = 64
VIRTUAL_COLUMNS = (
    "method",
    "neuron",
    "parent_correlation",
    "children_correlation",
    "sum_correlation",
    "parent_auprc",
    "children_auprc",
    "parent_concepts",
    "children_concepts",
)


def simulate(
    activations_h5: str,
    explanations_h5: str,
    concepts_h5: str,
    assignments_h5: Sequence[str],
    scores_csv: str,
    summary_csv: str,
    virtual_csv: str,
    intervals: Intervals,
) -> None:
    """Score explanations by simulation.

    Parameters
    ----------
    activations_h5, explanations_h5, assignments_h5
        Artifacts of the rules ``activations``, ``explain`` and ``assignments`` (none or one).
    concepts_h5
        The ground-truth concept set.
    scores_csv
        One row per method and neuron or virtual neuron.
    summary_csv
        Means over neurons with intervals.
    virtual_csv
        Neurons beside their virtual neurons.
    intervals
        Settings of the bootstrap; its seed also shuffles the controls.

    Notes
    -----
    Oikarinen & Weng 2024, section 4.1: Pearson's correlation of the activation with the sum of weight times probability.
    """
    rows, virtual_rows = [], []
    with (
        open_concepts(concepts_h5) as ground_truth,
        open_explanations(
            explanations_h5, activations_h5, assignments_h5[0] if assignments_h5 else None, ground_truth
        ) as explanations,
    ):
        images = np.flatnonzero(ground_truth.split == TEST)
        probabilities = ground_truth.probabilities(images)
        for method, name in enumerate(explanations.methods):
            simulated = simulations(explanations, method, probabilities)
            rows.append(_scores(explanations, method, simulated, images))
            virtual_rows += _beside_their_neurons(explanations, name, simulated, images, rows[-1])
            rows.append(_shuffled_scores(explanations, name, simulated, images, intervals.seed))
    table = pd.concat(rows, ignore_index=True)
    write_table(scores_csv, table)
    write_table(summary_csv, _summary(table, intervals))
    write_table(virtual_csv, pd.DataFrame(virtual_rows, columns=list(VIRTUAL_COLUMNS)))


def _scores(explanations: Explanations, method: int, simulated: np.ndarray, images: np.ndarray) -> pd.DataFrame:
    units = explanations.units
    correlation, auprc = np.full(len(units), np.nan), np.full(len(units), np.nan)
    for block in units.blocks():
        true, predicted = units.activations(block, images), simulated[:, block].astype(np.float64)
        correlation[block] = np.where(np.isnan(predicted).any(axis=0), np.nan, pearson_columns(true, predicted))
        auprc[block] = auprc_columns(true, predicted)
    return pd.DataFrame(
        {
            "method": explanations.methods[method],
            "neuron": units.neuron,
            "virtual_neuron": units.virtual_neuron,
            "n_concepts": explanations.n_concepts[method],
            "validation_correlation": explanations.validation[method],
            "correlation": correlation,
            "auprc": auprc,
        }
    )


def _shuffled_scores(
    explanations: Explanations, name: str, simulated: np.ndarray, images: np.ndarray, seed: int
) -> pd.DataFrame:
    """Average the scores of each neuron over the explanations of others."""
    units = explanations.units
    places, givers = shuffled(simulated, units, REPEATS, seed)
    scores = np.full((2, len(givers), len(places)), np.nan)
    for start in range(0, len(places), SLAB_NEURONS):
        slab = slice(start, start + SLAB_NEURONS)
        true = np.concatenate([units.activations(slice(p, p + 1), images) for p in places[slab]], axis=1)
        for repeat, others in enumerate(givers):
            predicted = simulated[:, others[slab]].astype(np.float64)
            scores[0, repeat, slab] = pearson_columns(true, predicted)
            if repeat < AUPRC_REPEATS:
                scores[1, repeat, slab] = auprc_columns(true, predicted)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # means of nothing are NaN
        correlation, auprc = np.nanmean(scores, axis=1) if len(givers) else np.full((2, len(places)), np.nan)
    columns = {"method": SHUFFLED + name, "neuron": units.neuron[places], "virtual_neuron": WHOLE_NEURON}
    table = pd.DataFrame(columns | {"correlation": correlation, "auprc": auprc}).sort_values("neuron")
    table.insert(3, "n_concepts", np.nan)
    table.insert(4, "validation_correlation", np.nan)
    return table


def _summary(table: pd.DataFrame, intervals: Intervals) -> pd.DataFrame:
    """Estimate means over the whole neurons that are not constant."""
    rows = []
    whole = table[table["virtual_neuron"] == WHOLE_NEURON]
    for name, group in whole.groupby("method", sort=False):
        for quantity in QUANTITIES:
            values = group[quantity].to_numpy(dtype=float)
            values = values[group["correlation"].notna()] if quantity == "n_concepts" else values
            rows.append({"method": name, "quantity": quantity, **vars(estimate(values, intervals))})
    return pd.DataFrame(rows)


def _beside_their_neurons(
    explanations: Explanations, name: str, simulated: np.ndarray, images: np.ndarray, scores: pd.DataFrame
) -> list[Mapping[str, object]]:
    """Compare each neuron with its virtual neurons: their scores, their number of concepts, and the score of their sum."""
    units = explanations.units
    rows: list[Mapping[str, object]] = []
    for neuron in dict.fromkeys(units.neuron[units.virtual_neuron != WHOLE_NEURON].tolist()):
        (parent,) = np.flatnonzero((units.neuron == neuron) & (units.virtual_neuron == WHOLE_NEURON))
        children = np.flatnonzero((units.neuron == neuron) & (units.virtual_neuron != WHOLE_NEURON))
        of_parent, of_children = scores.iloc[parent], scores.iloc[children]
        if of_children["correlation"].isna().any() or np.isnan(of_parent["correlation"]):
            continue  # what has no explanation adds up to nothing
        true = units.activations(slice(parent, parent + 1), images)
        total = simulated[:, children].astype(np.float64).sum(axis=1, keepdims=True)
        rows.append(
            {
                "method": name,
                "neuron": neuron,
                "parent_correlation": of_parent["correlation"],
                "children_correlation": of_children["correlation"].mean(),
                "sum_correlation": pearson_columns(true, total)[0],
                "parent_auprc": of_parent["auprc"],
                "children_auprc": of_children["auprc"].mean(),
                "parent_concepts": of_parent["n_concepts"],
                "children_concepts": of_children["n_concepts"].mean(),
            }
        )
    return rows
