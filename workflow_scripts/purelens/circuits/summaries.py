"""Summarize scores of neurons: means, paired differences between methods, and both for polysemantic neurons alone."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from purelens.circuits.methods import ACTIVATIONS, ALL, NO_SPLIT, POLYSEMANTIC, RANDOM
from purelens.numerics.bootstrap import Intervals, estimate
from purelens.storage.reading import read

AREA_COLUMNS = ("neuron", "polysemantic", "method", "n_clusters", "selectivity", "control", "selectivity over control")
SUMMARY_COLUMNS = ("method", "n_clusters", "quantity", "mean", "standard_error", "low", "high", "n", "subset")


def summarize(table: pd.DataFrame, quantities: Sequence[str], intervals: Intervals) -> pd.DataFrame:
    """Estimate means over neurons for each method, number of clusters and embedding model.

    Parameters
    ----------
    table
        A row per neuron, method, number of clusters and, where there are any, embedding model.
    quantities
        Columns to average.
    intervals
        Settings of the bootstrap.

    Returns
    -------
    pandas.DataFrame
        One row for each of them and each quantity, with standard error and bootstrap interval.
    """
    by = [name for name in ("method", "n_clusters", "embedder") if name in table]
    rows = []
    for key, group in table.groupby(by, sort=True):
        for quantity in quantities:
            mean = estimate(group[quantity].to_numpy(dtype=float), intervals)
            rows.append({**dict(zip(by, key, strict=True)), "quantity": quantity, **vars(mean)})
    return pd.DataFrame(rows)


def compare(table: pd.DataFrame, quantity: str, intervals: Intervals) -> pd.DataFrame:
    """Estimate how much more each method reaches than the baselines, neuron by neuron.

    Parameters
    ----------
    table
        A row per neuron, method, embedding model and, where methods have it, number of clusters.
    quantity
        The column that is compared.
    intervals
        Settings of the bootstrap.

    Returns
    -------
    pandas.DataFrame
        One row for each method and baseline, with the quantity ``<quantity> over <baseline>``.
    """
    by = [name for name in ("n_clusters", "embedder") if name in table]
    rows = []
    for key, group in table[table["method"] != NO_SPLIT].groupby(by, sort=True):
        wide = group.pivot(index="neuron", columns="method", values=quantity)
        for baseline in [name for name in (ACTIVATIONS, RANDOM) if name in wide]:
            for method in [name for name in wide if name not in (baseline, RANDOM)]:
                difference = estimate((wide[method] - wide[baseline]).to_numpy(float), intervals)
                names = {"method": method, **dict(zip(by, key, strict=True)), "quantity": f"{quantity} over {baseline}"}
                rows.append({**names, **vars(difference)})
    return pd.DataFrame(rows)


def summarize_subsets(
    table: pd.DataFrame, quantities: Sequence[str], compared: Sequence[str], intervals: Intervals
) -> pd.DataFrame:
    """Estimate means and differences over all neurons, and over the polysemantic ones.

    Parameters
    ----------
    table
        A row per neuron and method, with a column ``polysemantic``.
    quantities, compared
        Columns to average, and those whose differences between methods are estimated.
    intervals
        Settings of the bootstrap.

    Returns
    -------
    pandas.DataFrame
        As `summarize` and `compare`, with a column ``subset``.
    """
    parts = []
    for subset, chosen in ((ALL, table), (POLYSEMANTIC, table[table["polysemantic"]])):
        if len(chosen):
            estimates = [summarize(chosen, quantities, intervals)]
            estimates += [compare(chosen, quantity, intervals) for quantity in compared]
            parts.append(pd.concat(estimates, ignore_index=True).assign(subset=subset))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(SUMMARY_COLUMNS))


def polysemantic_rows(polysemanticity_h5: Sequence[str], n_neurons: int) -> np.ndarray:
    """Read which of a layer's C neurons are polysemantic: (C,) bool, none where they were not tested.

    Parameters
    ----------
    polysemanticity_h5
        Artifact of the rule ``polysemanticity``, or none.
    n_neurons
        Number of neurons C.
    """
    rows = np.zeros(n_neurons, dtype=bool)
    for path in polysemanticity_h5:
        with read(path, "polysemanticity") as file:
            rows = file["polysemantic"][...].astype(bool)
    return rows


def area(shares: np.ndarray, values: np.ndarray) -> float:
    """Compute the mean height of a curve that begins at 0, over the shares (m,) of lower neurons, by trapezoids."""
    return float(np.trapezoid(np.r_[0, values], np.r_[0, shares]) / shares[-1])


def areas(table: pd.DataFrame) -> pd.DataFrame:
    """Compute the areas under the curves of all neurons and methods.

    Parameters
    ----------
    table
        A row per neuron, method, number of virtual neurons and share (see `purelens.circuits.selectivity`).

    Returns
    -------
    pandas.DataFrame
        A row per neuron, method and number, with the areas ``selectivity``, ``control`` and ``selectivity over control``.
    """
    rows = []
    by = ["neuron", "polysemantic", "method", "n_clusters"]
    for key, curve in table.groupby(by, sort=False):
        of_curve = {
            "selectivity": area(curve["share"].to_numpy(), curve["selectivity"].to_numpy()),
            "control": area(curve["share"].to_numpy(), curve["control_selectivity"].to_numpy()),
        }
        names = dict(zip(by, key, strict=True))
        rows.append({**names, **of_curve, "selectivity over control": of_curve["selectivity"] - of_curve["control"]})
    return pd.DataFrame(rows, columns=list(AREA_COLUMNS))
