"""Collect the scores of clusterings: of each neuron for its page and the grid, and their means for the overview."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from purelens.circuits.methods import ACTIVATIONS, ALL, CHOSEN, POLYSEMANTIC
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
        ``method``, ``embedder``, ``subset``, ``n`` and for each of ``MEANS`` the mean with its interval, or None.
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
                rows.append({**names, "n": int(group["n"].iloc[0]), **{name: means.get(name) for name in MEANS}})
    return rows


def _shown(table: pd.DataFrame, n_clusters: int) -> pd.DataFrame:
    """Choose the rows of one number of virtual neurons."""
    subset = POLYSEMANTIC if (table["subset"] == POLYSEMANTIC).any() else ALL
    chosen = (table["n_clusters"] == n_clusters) | (table["method"] == CHOSEN)
    return table[(table["subset"] == subset) & chosen]


def _mean(row: Mapping[str, Any]) -> dict[str, float | None] | None:
    """Keep the mean and its interval; None without a mean."""
    if pd.isna(row["mean"]):
        return None
    return {name: None if pd.isna(row[name]) else float(row[name]) for name in ("mean", "low", "high")}
