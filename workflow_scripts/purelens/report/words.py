"""Collect what the explorer shows of neurons in words."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from purelens.explanations.methods import LINEAR
from purelens.explanations.units import WHOLE_NEURON
from purelens.report.data import number, rounded
from purelens.storage.reading import read, strings
from purelens.storage.tables import read_table

Words = dict[int, list[dict[str, Any]]]
"""For each neuron the explanations of it and of its virtual neurons, by method."""


def words_of(explanations_h5: str, scores_csv: str, virtual_csv: str) -> Words:
    """Read the explanations of a layer and their scores.

    Parameters
    ----------
    explanations_h5, scores_csv, virtual_csv
        What the rules ``explain`` and ``simulate`` made.

    Returns
    -------
    Words
        The words of each unit by each method, with their scores.
    """
    sums = read_table(virtual_csv).set_index(["method", "neuron"])["sum_correlation"].to_dict()
    scores = read_table(scores_csv).set_index(["method", "neuron", "virtual_neuron"])[["correlation", "auprc"]]
    words: Words = {}
    with read(explanations_h5, "explanations") as file:
        names, neuron = strings(file["concept_label"]), file["unit_neuron"][...]
        virtual_neuron = file["unit_virtual_neuron"][...]
        for place, method in enumerate(strings(file["method"])):
            concepts, weights = file["concept_number"][place], file["weight"][place]
            for unit in np.flatnonzero((concepts >= 0).any(axis=1)):
                slots = np.flatnonzero(concepts[unit] >= 0)
                whole = virtual_neuron[unit] == WHOLE_NEURON
                score = scores.loc[(method, int(neuron[unit]), int(virtual_neuron[unit]))]
                of_sum = sums.get((method, int(neuron[unit]))) if whole else None
                words.setdefault(int(neuron[unit]), []).append(
                    {
                        "method": method,
                        "virtual_neuron": None if whole else int(virtual_neuron[unit]),
                        "words": [[names[concepts[unit, slot]], rounded(weights[unit, slot])] for slot in slots],
                        "correlation": rounded(score["correlation"]),
                        "auprc": rounded(score["auprc"]),
                        "sum_correlation": None if of_sum is None else number(of_sum),
                    }
                )
    return words


def main_words(words: Sequence[dict[str, Any]]) -> list[str]:
    """List the concepts with positive weights in the linear explanation that predicts the neuron best; none without one."""
    whole = [w for w in words if w["virtual_neuron"] is None and w["method"].startswith(LINEAR)]
    best = max(whole, key=lambda w: -2.0 if w["correlation"] is None else w["correlation"], default=None)
    return [name for name, weight in best["words"] if weight > 0] if best else []


def virtual_words(virtual_csv: str) -> list[dict[str, Any]]:
    """Average the scores of neurons and of their virtual neurons over the neurons, a row for each method."""
    table = read_table(virtual_csv)
    rows = []
    for method, group in table.groupby("method", sort=False):
        means = {name: rounded(group[name].mean()) for name in table.columns if name not in ("method", "neuron")}
        rows.append({"method": method, "n": len(group), **means})
    return rows


def methods_of_words(summary_csv: str, ablation_csv: str) -> list[dict[str, Any]]:
    """Collect the mean scores of each method with their intervals, a row for each method."""
    rows: dict[str, dict[str, Any]] = {}
    for path in (summary_csv, ablation_csv):
        table: pd.DataFrame = read_table(path)
        for row in table.to_dict("records"):
            values = [None if pd.isna(row[key]) else float(row[key]) for key in ("mean", "low", "high")]
            rows.setdefault(str(row["method"]), {})[str(row["quantity"])] = {
                **dict(zip(("mean", "low", "high"), values, strict=True)),
                "n": int(row["n"]),
            }
    return [{"method": method, **quantities} for method, quantities in rows.items()]
