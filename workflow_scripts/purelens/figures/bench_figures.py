"""The rule ``bench_figures``: draw the times of all implementations, and how time and memory grow with the input."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from purelens.figures.style import PALETTE, paper_style, save
from purelens.storage.files import replace_folder_when_whole
from purelens.storage.tables import read_table

IMPLEMENTATIONS = ("definition", "published", "purelens", "floor")
SHADES = dict(zip(IMPLEMENTATIONS, ("0.8", "0.55", PALETTE[0], PALETTE[2]), strict=True))


def bench_figures(ratios_csv: str, growth_csv: str, folder: str) -> None:
    """Draw the benchmark.

    Parameters
    ----------
    ratios_csv, growth_csv
        Tables of the rule ``comparisons``.
    folder
        Where ``stages_<study>.png`` and ``growth_<study>.png`` go.
    """
    mpl.use("Agg")
    with replace_folder_when_whole(folder) as made, paper_style():
        for draw, path, kind in ((draw_stages, ratios_csv, "stages"), (draw_growth, growth_csv, "growth")):
            table = read_table(path)
            for study in dict.fromkeys(table["study"]) if len(table) else []:
                save(draw(table[table["study"] == study], study), made / f"{kind}_{study}.png")


def draw_stages(table: pd.DataFrame, study: str) -> Figure:
    """Draw the median time of each implementation of each stage, with the ratios of PureLens."""
    figure, axes = plt.subplots(figsize=(9, 0.5 + 0.95 * len(table)), layout="constrained")
    height = 0.2
    for place, (_, row) in enumerate(table.iterrows()):
        for rank, name in enumerate(IMPLEMENTATIONS):
            seconds = row[f"{name}_s"]
            if np.isfinite(seconds):
                y = place + (rank - 1.5) * height
                axes.barh(y, seconds, height, color=SHADES[name])
                text = f" {seconds:.2f} s{_ratio(row, name)}"
                axes.text(seconds, y, text, va="center", size=8, weight="bold" if name == "purelens" else None)
    axes.set(
        xscale="log", yticks=range(len(table)), yticklabels=table["stage"], xlabel="seconds, median of the repeats"
    )
    axes.set_xlim(right=axes.get_xlim()[1] * 6)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("")
    axes.invert_yaxis()
    handles = [mpl.patches.Patch(color=SHADES[name], label=name) for name in IMPLEMENTATIONS]
    figure.legend(handles=handles, loc="outside upper right", ncols=4, frameon=False)
    axes.set_title(study)
    sns.despine(ax=axes)
    return figure


def _ratio(row: pd.Series, name: str) -> str:
    if name == "published" and np.isfinite(row["published_over_purelens"]):
        return f"  {row['published_over_purelens']:.1f} x PureLens"
    if name == "purelens" and np.isfinite(row["purelens_over_floor"]):
        return f"  {row['purelens_over_floor']:.2f} x the floor"
    return ""


def draw_growth(table: pd.DataFrame, study: str) -> Figure:
    """Draw time against the number of images or pairs, with a fitted line, and peak memory."""
    stages = list(dict.fromkeys(table["stage"]))
    figure, axes = plt.subplots(2, len(stages), figsize=(3.4 * len(stages), 5.2), layout="constrained", squeeze=False)
    for column, stage in enumerate(stages):
        rows = table[table["stage"] == stage]
        size = "pairs" if rows["pairs"].any() else "images"
        _draw_seconds(axes[0, column], rows[size].to_numpy(float), rows["seconds"].to_numpy(float))
        axes[0, column].set_title(stage)
        peak = rows["peak_bytes"].to_numpy(float) / 1e9
        axes[1, column].plot(rows[size], peak, "o-", color=PALETTE[1])
        axes[1, column].set(xlabel=size, xlim=(0, None), ylim=(0, 1.3 * peak.max()))
        axes[1, column].text(0.04, 0.06, f"{peak[-1] / peak[0]:.2f} x at 4 x", transform=axes[1, column].transAxes)
    axes[0, 0].set_ylabel("seconds")
    axes[1, 0].set_ylabel("peak memory [GB]")
    figure.suptitle(study, weight="bold", x=0.01, ha="left")
    sns.despine(figure)
    return figure


def _draw_seconds(axes: Axes, size: np.ndarray, seconds: np.ndarray) -> None:
    rate, start = np.polyfit(size, seconds, 1)
    line = np.array([0, size.max()])
    axes.plot(line, start + rate * line, color="0.6")
    axes.plot(size, seconds, "o", color=PALETTE[0])
    worst = (np.abs(start + rate * size - seconds) / seconds).max()
    axes.text(0.04, 0.9, f"{1000 * rate:.1f} ms each, within {worst:.1%}", transform=axes.transAxes, size=8)
    axes.set(xlim=(0, None), ylim=(0, 1.15 * seconds.max()))
