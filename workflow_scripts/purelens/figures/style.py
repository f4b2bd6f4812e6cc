"""Set the look of all figures: colors that color-blind readers can tell apart, and sizes that stay legible in the report."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from purelens.circuits.methods import ACTIVATIONS, DICTIONARY, EMBEDDER, JOINT, NO_SPLIT, PURE, RANDOM

PALETTE = sns.color_palette("colorblind")
DPI = 150
LONG_NAME = 10


def color(number: int) -> tuple[float, float, float]:
    """Return the color of a virtual neuron or method; colors repeat after ten."""
    return PALETTE[number % len(PALETTE)]


@contextmanager
def paper_style() -> Iterator[None]:
    """Apply the style within a block."""
    settings: dict[str, Any] = {
        "figure.dpi": DPI,
        "savefig.dpi": DPI,
        "font.size": 10,
        "axes.titlesize": 11,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "text.parse_math": False,
    }
    settings = {**sns.axes_style("ticks"), **sns.plotting_context("notebook", font_scale=0.85), **settings}
    with mpl.rc_context(settings):  # type: ignore[arg-type]
        yield


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG and close it; the same figure gives the same bytes."""
    figure.savefig(path, format="png", bbox_inches="tight", pad_inches=0.08, metadata={"Software": None})
    plt.close(figure)


def method_label(method: str) -> str:
    """Return the name of a method as figures show it."""
    kind, _, name = method.partition(":")
    if len(name) > LONG_NAME:
        cuts = [place + 1 for place, letter in enumerate(name) if letter in "._-"]
        cut = min(cuts, key=lambda place: abs(place - len(name) / 2), default=len(name))
        name = f"{name[:cut]}\n{name[cut:]}"
    if method.startswith(PURE):
        return f"PURE\n({name})"
    if method.startswith(DICTIONARY):
        return name.upper()
    return name if method.startswith(EMBEDDER) else {NO_SPLIT: "no split", RANDOM: "random\nsplit"}.get(kind, kind)


METHOD_ORDER = tuple(
    method.rstrip(":") for method in (EMBEDDER, JOINT, PURE, ACTIVATIONS, DICTIONARY, RANDOM, NO_SPLIT)
)


def in_order(methods: list[str]) -> list[str]:
    """Sort methods as figures and tables show them."""
    return sorted(methods, key=lambda method: (METHOD_ORDER.index(method.partition(":")[0]), method))
