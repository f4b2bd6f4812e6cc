"""Collect the scores of clusterings: of each neuron for its page and the grid, and their means for the overview."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from purelens.circuits.methods import ACTIVATIONS, ALL, CHOSEN, POLYSEMANTIC
from purelens.circuits.planted_scores import ARI
from purelens.circuits.planted_sets import CONTROL, EQUAL, TRIPLE, UNEQUAL
from purelens.circuits.summaries import areas
from purelens.report.evidence import EvidenceFiles
from purelens.report.layer_files import LayerFiles, LayerTables
from purelens.storage.tables import read_table

GAP = "gap"
LIKENESS = ("monosemanticity", "monosemanticity_gain", "index_gain", "purity_gain")
SELECTIVITY = "selectivity"

MEANS = {
    "monosemanticity_gain": "MonoSemanticity score",
    "index_gain": "interpretability index",
    "purity_gain": "class purity",
    SELECTIVITY: "causal selectivity",
    f"{SELECTIVITY} over {ACTIVATIONS}": "causal selectivity less that of splits by activations",
}
"""Columns of the table on the overview; the first three are gains over random divisions."""

PLANTED = {
    "two parts, 50 : 50": (EQUAL, False, ARI),
    "80 : 20": (UNEQUAL, False, ARI),
    "three parts": (TRIPLE, False, ARI),
    "50 : 50, one class each": (EQUAL, True, ARI),
    "80 : 20, one class each": (UNEQUAL, True, ARI),
    "called polysemantic, 80 : 20": (UNEQUAL, False, "split"),
    "one class of one neuron split (an error)": (CONTROL, True, "split"),
}
"""Columns of the table of planted neurons: kind, whether of one class each, and quantity."""

Scores = dict[str, np.ndarray]
"""(methods, numbers of clusters, C) for each score; NaN where there is none."""


def scores_of_clusterings(files: LayerFiles, tables: LayerTables, embedder: str) -> Scores:
    """Collect the scores of every clustering of every neuron.

    Parameters
    ----------
    files, tables
        Artifacts and tables of the layer.
    embedder
        The embedding model that judges.

    Returns
    -------
    dict
        The gap, and what the rules ``monosemanticity`` and ``selectivity`` measured, where they ran.
    """
    distances = read_table(tables.interpretability_csv)
    scores = {GAP: _by_clustering(files, distances[distances["embedder"] == embedder], GAP)}
    for path in tables.monosemanticity_csv:
        likeness = read_table(path)
        likeness = likeness[likeness["embedder"] == embedder]
        scores |= {name: _by_clustering(files, likeness, name) for name in LIKENESS}
    for path in tables.selectivity_csv:
        scores[SELECTIVITY] = _by_clustering(files, areas(read_table(path)), SELECTIVITY)
    return scores


def scores_of_decided(files: LayerFiles, tables: LayerTables, embedder: str) -> dict[str, np.ndarray]:
    """Collect the scores (C,) of the split whose number was chosen.

    Parameters
    ----------
    files, tables, embedder
        As in `scores_of_clusterings`.

    Returns
    -------
    dict
        What the rule ``monosemanticity`` measured, where it ran.
    """
    scores: dict[str, np.ndarray] = {}
    for path in tables.monosemanticity_csv:
        table = read_table(path)
        table = table[(table["embedder"] == embedder) & (table["method"] == CHOSEN)].set_index("neuron")
        scores |= {name: table[name].reindex(files.clusters["neuron"][...]).to_numpy(float) for name in LIKENESS}
    return scores


def _by_clustering(files: LayerFiles, table: pd.DataFrame, column: str) -> np.ndarray:
    """Arrange a column of a table as (methods, numbers of clusters, C)."""
    index = pd.MultiIndex.from_product([files.methods, files.n_clusters, files.clusters["neuron"][...]])
    values = table.set_index(["method", "n_clusters", "neuron"])[column].reindex(index)
    return values.to_numpy(float).reshape(len(files.methods), len(files.n_clusters), -1)


def mean_scores(files: EvidenceFiles, n_clusters: int) -> list[dict[str, Any]]:
    """Collect the means of each method and embedding model over polysemantic neurons; over all where none is known to be.

    Parameters
    ----------
    files
        The summaries.
    n_clusters
        Number of virtual neurons that is shown first; a method that chooses it comes besides.

    Returns
    -------
    list of dict
        ``method``, ``embedder``, ``subset`` and for each of ``MEANS`` the mean with its interval, or None.
    """
    causal: dict[str, dict[str, Any]] = {}
    for path in files.selectivity_summary_csv:
        for row in _shown(read_table(path), n_clusters).to_dict("records"):
            causal.setdefault(row["method"], {})[row["quantity"]] = _mean(row)
    rows = []
    for path in files.monosemanticity_summary_csv:
        shown = _shown(read_table(path), n_clusters)
        for (embedder, method), group in shown.groupby(["embedder", "method"], sort=False):
            means = {row["quantity"]: _mean(row) for row in group.to_dict("records")} | causal.get(method, {})
            if means.get("monosemanticity_gain"):
                names = {"method": method, "embedder": embedder, "subset": group["subset"].iloc[0]}
                rows.append({**names, **{name: means.get(name) for name in MEANS}})
    return rows


def _shown(table: pd.DataFrame, n_clusters: int) -> pd.DataFrame:
    """Choose the rows of one number of virtual neurons."""
    subset = POLYSEMANTIC if (table["subset"] == POLYSEMANTIC).any() else ALL
    chosen = (table["n_clusters"] == n_clusters) | (table["method"] == CHOSEN)
    return table[(table["subset"] == subset) & chosen]


def planted_scores(files: EvidenceFiles) -> list[dict[str, Any]]:
    """Collect what each method finds in planted neurons, and how often the chosen number of parts is right.

    Parameters
    ----------
    files
        The summaries.

    Returns
    -------
    list of dict
        ``method`` and for each of ``PLANTED`` the mean with its interval, or None; the best on pairs comes first.
    """
    rows: dict[str, dict[str, Any]] = {}
    for path in files.planted_summary_csv:
        table = read_table(path)
        for name, (kind, one_concept, quantity) in PLANTED.items():
            chosen = (table["kind"] == kind) & (table["one_concept"].astype(bool) == one_concept)
            chosen &= (table["subset"] == ALL) & (table["quantity"] == quantity)
            for row in table[chosen].to_dict("records"):
                rows.setdefault(row["method"], {"method": row["method"]})[name] = _mean(row)
    first = next(iter(PLANTED))
    return sorted(rows.values(), key=lambda row: -(row[first]["mean"] if row.get(first) else float("-inf")))


def _mean(row: Mapping[str, Any]) -> dict[str, Any] | None:
    """Keep the mean, its interval and its number of neurons; None without a mean."""
    if pd.isna(row["mean"]):
        return None
    interval = {name: None if pd.isna(row[name]) else float(row[name]) for name in ("mean", "low", "high")}
    return interval | {"n": int(row["n"])}
