"""The rule ``planted_figure``: draw how well each method finds the parts of planted neurons."""

import re

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from purelens.circuits.methods import CHOSEN
from purelens.circuits.planted_scores import ALL, CLEAN_SETS
from purelens.circuits.planted_sets import CONTROL, EQUAL, MAGNITUDES, TRIPLE, UNEQUAL
from purelens.figures.style import color, method_label, paper_style, save
from purelens.storage.files import replace_when_whole
from purelens.storage.tables import read_table

TITLES = {
    EQUAL: "two parts, 50 : 50",
    UNEQUAL: "two parts, 80 : 20",
    MAGNITUDES: "two parts, 1 : 0.5",
    TRIPLE: "three parts",
    CONTROL: "one part",
}
GROUPS = {(False, ALL): "all", (False, CLEAN_SETS): "no class in common", (True, ALL): "one class each"}


def planted_figure(summary_csv: str, figure_png: str, title: str) -> None:
    """Draw the summary of the planted neurons of a layer.

    Parameters
    ----------
    summary_csv
        Summary of the rule ``planted_scores``.
    figure_png
        Where the figure goes.
    title
        Heading: model, layer and dataset.
    """
    mpl.use("Agg")
    with replace_when_whole(figure_png) as made, paper_style():
        save(draw(read_table(summary_csv), title), made)


def draw(summary: pd.DataFrame, title: str) -> plt.Figure:
    """Draw a panel for each kind of planted neuron, and one for the decisions.

    Parameters
    ----------
    summary, title
        As in `planted_figure`.
    """
    kinds = [kind for kind in (EQUAL, UNEQUAL, MAGNITUDES, TRIPLE) if (summary["kind"] == kind).any()]
    methods = _methods(summary)
    size = (3.4 * (len(kinds) + 1), max(4.0, 1.5 + 0.27 * len(methods)))
    figure, axes = plt.subplots(1, len(kinds) + 1, figsize=size, layout="constrained")
    for place, kind in enumerate(kinds):
        _draw_agreement(
            axes[place], summary[(summary["kind"] == kind) & (summary["quantity"] == "ari")], methods, place == 0
        )
        axes[place].set_title(TITLES[kind])
    _draw_decisions(axes[-1], summary[summary["quantity"] == "right"])
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=3, frameon=False, title="references of the parents")
    figure.suptitle(f"Planted neurons of {title}", weight="bold", x=0.01, ha="left")
    figure.supxlabel(
        "mean over planted neurons; bars: bootstrap interval over the neurons they are made of", size=9, color="0.35"
    )
    sns.despine(figure)
    return figure


def _methods(summary: pd.DataFrame) -> list[str]:
    """Sort the methods that are given the number of parts by their agreement, the best first; then the one that chooses it."""
    rows = summary[(summary["quantity"] == "ari") & (summary["kind"] != CONTROL)]
    mean = rows.groupby("method")["mean"].mean().sort_values(ascending=False, kind="stable")
    choosing = set(summary.loc[summary["quantity"] == "right", "method"])
    return [*(method for method in mean.index if method not in choosing), *([CHOSEN] if CHOSEN in mean else [])]


def _draw_agreement(axes: Axes, rows: pd.DataFrame, methods: list[str], names: bool) -> None:
    for number, ((one_concept, subset), label) in enumerate(GROUPS.items()):
        group = rows[(rows["one_concept"].astype(bool) == one_concept) & (rows["subset"] == subset)].set_index("method")
        group = group.reindex(methods)
        _points(axes, group, np.arange(len(methods)) + 0.22 * (number - 1), number, label)
    axes.set_yticks(range(len(methods)), [_name(method) for method in methods] if names else [])
    axes.set_ylim(len(methods) - 0.4, -0.6)
    axes.set_xlim(-0.1, 1.05)
    axes.axvline(0, color="0.6", linewidth=0.8)
    axes.set_xlabel("adjusted Rand index")


def _draw_decisions(axes: Axes, rows: pd.DataFrame) -> None:
    rows = rows[rows["method"] == CHOSEN]
    kinds = [kind for kind in TITLES if (rows["kind"] == kind).any()]
    for number, ((one_concept, subset), label) in enumerate(GROUPS.items()):
        group = rows[(rows["one_concept"].astype(bool) == one_concept) & (rows["subset"] == subset)].set_index("kind")
        _points(axes, group.reindex(kinds), np.arange(len(kinds)) + 0.22 * (number - 1), number, label)
    axes.set_yticks(range(len(kinds)), [TITLES[kind] for kind in kinds])
    axes.set_ylim(len(kinds) - 0.4, -0.6)
    axes.set_xlim(-0.02, 1.05)
    axes.set_xlabel("share of neurons")
    axes.set_title("right number of parts")


def _points(axes: Axes, rows: pd.DataFrame, y: np.ndarray, number: int, label: str) -> None:
    values = rows[["mean", "low", "high"]].to_numpy(float)
    errors = np.nan_to_num(np.stack([values[:, 0] - values[:, 1], values[:, 2] - values[:, 0]]))
    axes.errorbar(
        values[:, 0],
        y,
        xerr=np.maximum(errors, 0),
        fmt="os^"[number],
        color=color(number),
        capsize=2,
        markersize=5,
        label=label,
    )


def _name(method: str) -> str:
    return re.sub(r"(?<=[._-])\n", "", method_label(method)).replace("\n", " ")
