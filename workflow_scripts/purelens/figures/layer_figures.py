"""The rule ``layer_figures``: compare the methods, a figure for each embedding model that judges them."""

import re

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from purelens.circuits.methods import EMBEDDER, NO_SPLIT, PURE
from purelens.figures.style import PALETTE, color, in_order, method_label, paper_style, save
from purelens.storage.files import replace_when_whole
from purelens.storage.tables import read_table


def layer_figures(
    interpretability_csv: str,
    alignment_csv: str,
    figure_png: str,
    embedder: str,
    title: str,
    n_clusters: int = 2,
    confidence: float = 0.95,
) -> None:
    """Draw the comparison of methods on a layer.

    Parameters
    ----------
    interpretability_csv, alignment_csv
        Summaries of the rules ``interpretability`` and ``alignment``.
    figure_png
        Where the figure goes.
    embedder
        Name of the embedding model that judges.
    title
        Heading: model, layer and dataset.
    n_clusters
        Number of virtual neurons in the first panel.
    confidence
        Coverage of the intervals, for the caption.
    """
    mpl.use("Agg")
    distances, correlations = read_table(interpretability_csv), read_table(alignment_csv)
    judged = distances[distances["embedder"] == embedder]
    aligned = correlations[correlations["embedder"] == embedder]
    with replace_when_whole(figure_png) as made, paper_style():
        save(draw(judged, aligned, embedder, title, n_clusters, confidence), made)


def draw(
    distances: pd.DataFrame, correlations: pd.DataFrame, embedder: str, title: str, n_clusters: int, confidence: float
) -> plt.Figure:
    """Draw three panels: distances at one number of virtual neurons, the gap at every number, and the alignment.

    Parameters
    ----------
    distances, correlations
        Rows of the summaries about one embedding model.
    embedder, title, n_clusters, confidence
        As for `layer_figures`.

    Returns
    -------
    matplotlib.figure.Figure
        Three panels side by side.
    """
    figure, axes = plt.subplots(1, 3, figsize=(14, 4.6), width_ratios=(1.25, 1, 0.8), layout="constrained")
    _draw_distances(axes[0], distances, embedder, n_clusters)
    _draw_gaps(axes[1], distances, embedder)
    _draw_correlations(axes[2], correlations, embedder)
    figure.suptitle(f"{title}, judged by {embedder}", weight="bold", x=0.01, ha="left")
    figure.supxlabel(
        f"mean over neurons; bars: {100 * confidence:g} % bootstrap interval over neurons", size=9, color="0.35"
    )
    sns.despine(figure)
    return figure


def _label(method: str, embedder: str) -> str:
    return method_label(method) + ("\n(itself)" if method == EMBEDDER + embedder else "")


def _bars(axes: Axes, x: np.ndarray, table: pd.DataFrame, **style: object) -> None:
    below, above = table["mean"] - table["low"], table["high"] - table["mean"]
    errors = np.nan_to_num(np.stack([below, above]).astype(float))
    axes.errorbar(x, table["mean"], yerr=np.maximum(errors, 0), capsize=3, **style)  # type: ignore[arg-type]


def _draw_distances(axes: Axes, table: pd.DataFrame, embedder: str, n_clusters: int) -> None:
    chosen = table[table["n_clusters"].isin([n_clusters, 1])]
    methods = in_order(list(chosen["method"].unique()))
    at = {method: number for number, method in enumerate(methods)}
    wide = chosen.pivot_table(index="method", columns="quantity", values="mean")
    for method in methods:
        if method != NO_SPLIT:
            axes.plot([at[method]] * 2, wide.loc[method, ["intra", "inter"]], color="0.7", linewidth=5, zorder=0)
    styles = {"inter": ("o", PALETTE[0], "different virtual neurons"), "intra": ("s", PALETTE[1], "the same")}
    for quantity, (marker, shade, label) in styles.items():
        rows = chosen[(chosen["quantity"] == quantity) & chosen["mean"].notna()]
        x = rows["method"].map(at).to_numpy()
        _bars(axes, x, rows, fmt=marker, color=shade, label=label, markersize=7)
        for place, value in zip(x, rows["mean"], strict=True):
            up = quantity == "inter"
            axes.annotate(
                f"{value:.3g}", (place, value), xytext=(9, 4 if up else -4), textcoords="offset points", size=8,
                va="bottom" if up else "top", color=shade,
            )  # fmt: skip
    axes.set_xticks(range(len(methods)), [_label(m, embedder) for m in methods], size=8.5)
    axes.set_xlim(-0.5, len(methods) - 0.3)
    axes.set_title(f"distance between references, k = {n_clusters}")
    axes.set_ylabel(f"distance in {embedder}")
    axes.margins(y=0.18)
    axes.legend(frameon=False, title="references of", loc="best", fontsize=8, title_fontsize=8)


def _draw_gaps(axes: Axes, table: pd.DataFrame, embedder: str) -> None:
    chosen = table[(table["quantity"] == "gap") & (table["method"] != NO_SPLIT)]
    methods = in_order(list(chosen["method"].unique()))
    for number, method in enumerate(methods):
        rows = chosen[chosen["method"] == method].sort_values("n_clusters")
        x = rows["n_clusters"].to_numpy() + 0.06 * (number - len(methods) / 2)
        label = re.sub(r"(?<=[._-])\n", "", _label(method, embedder)).replace("\n", " ")
        _bars(axes, x, rows, color=color(number), marker="o", markersize=5, label=label)
    axes.axhline(0, color="0.6", linewidth=0.8)
    axes.set_xticks(sorted(chosen["n_clusters"].unique()))
    axes.set_xlabel("number of virtual neurons k")
    axes.set_ylabel("inter - intra distance")
    axes.set_title("gap between virtual neurons")
    axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(0, -0.16), ncols=2)


def _draw_correlations(axes: Axes, table: pd.DataFrame, embedder: str) -> None:
    means = table[table["quantity"] == "neuron"].set_index("method")
    methods = in_order(list(means.index))
    rows = means.loc[methods].reset_index()
    pooled = table[table["quantity"] == "pooled"].set_index("method")["mean"].reindex(methods)
    x = np.arange(len(methods))
    axes.bar(x, rows["mean"], width=0.6, color=[PALETTE[0] if m.startswith(PURE) else "0.72" for m in methods])
    _bars(axes, x, rows, fmt="none", color="0.2")
    axes.plot(
        x, pooled, "D", color="white", markeredgecolor="0.2", markersize=5, label="all pairs of all neurons pooled"
    )
    for place, (value, *others) in enumerate(zip(rows["mean"], rows["high"], pooled, strict=True)):
        top = np.nanmax([value, *others, 0])
        axes.annotate(f"{value:.2f}", (place, top), xytext=(0, 5), textcoords="offset points", ha="center")
    axes.axhline(0, color="0.6", linewidth=0.8)
    axes.set_xticks(x, [_label(m, embedder) for m in methods], size=8.5)
    axes.set_title(f"alignment with {embedder}")
    axes.set_ylabel("Pearson's r of distances, neuron by neuron")
    axes.margins(y=0.15)
    axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(0, -0.16))
