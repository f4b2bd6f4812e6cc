"""The rule ``neuron_figures``: draw a UMAP with patches and a contact sheet for each chosen neuron."""

import logging
import textwrap
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from PIL import Image

from purelens.circuits.methods import PURE
from purelens.circuits.projections import spread_out
from purelens.data.dataset import Images, open_images
from purelens.errors import listed
from purelens.figures.style import color, paper_style, save
from purelens.progress import Progress
from purelens.report.gallery import write_gallery
from purelens.report.pictures import cut
from purelens.storage.files import replace_folder_when_whole
from purelens.storage.reading import Artifact, read, strings

logger = logging.getLogger("purelens")

THUMBNAIL = 96
COLUMNS = 10
PATCH_SHARE = 0.105
"""Side of a patch as a share of the UMAP."""


def neuron_figures(
    images_h5: str,
    patches_h5: str,
    virtual_neurons_h5: str,
    projections_h5: str,
    folder: str,
    gallery_html: str,
    title: str,
    neurons: int | list[int] = 8,
    n_references: int = 20,
    n_clusters: int = 2,
) -> None:
    """Draw neurons of a layer.

    Parameters
    ----------
    images_h5, patches_h5, virtual_neurons_h5, projections_h5
        Artifacts of the rules of these names.
    folder
        Where ``neuron_<number>_umap.png`` and ``neuron_<number>_sheet.png`` go.
    gallery_html, title
        A page with all figures, and its heading.
    neurons
        Numbers of the neurons; or how many, those with the largest silhouettes.
    n_references
        References drawn as patches, best first: on the sheet, and divided among the virtual neurons on the UMAP. Points,
        densities and shares are those of all references.
    n_clusters
        Number of virtual neurons drawn.
    """
    mpl.use("Agg")
    with ExitStack() as stack:
        made = stack.enter_context(replace_folder_when_whole(folder))
        images = stack.enter_context(open_images(images_h5))
        patches = stack.enter_context(read(patches_h5, "patches"))
        clusters = stack.enter_context(read(virtual_neurons_h5, "virtual_neurons"))
        plane = stack.enter_context(read(projections_h5, "projections"))
        rows = choose_neurons(clusters, neurons, n_clusters, plane.attribute("lower_layer"))
        stack.enter_context(paper_style())
        progress = stack.enter_context(Progress(len(rows), "neuron figures", "neurons"))
        for row in rows:
            neuron = collect(images, patches, clusters, plane, row, n_clusters)
            if len(neuron.patches):
                save(draw_sheet(neuron, n_references), made / f"neuron_{neuron.number:05d}_sheet.png")
                save(draw_umap(neuron, n_references), made / f"neuron_{neuron.number:05d}_umap.png")
            progress.advance(1)
        write_gallery(gallery_html, title, sorted(made.glob("*.png")))


@dataclass(frozen=True)
class NeuronData:
    """A neuron and all its references, best first.

    Attributes
    ----------
    number, lower_layer
        Number of the neuron, and the layer of its circuits.
    patches
        Thumbnails.
    points
        (n, 2) position of each on the map.
    label
        (n,) virtual neuron of each; -1: none.
    classes
        (n,) name of the class of each image, empty where it has none.
    """

    number: int
    lower_layer: str
    patches: list[Image.Image]
    points: np.ndarray
    label: np.ndarray
    classes: list[str]

    @property
    def virtual_neurons(self) -> list[int]:
        """Numbers of the virtual neurons that have references."""
        return sorted(set(self.label.tolist()) - {-1})


def choose_neurons(clusters: Artifact, neurons: int | list[int], n_clusters: int, lower_layer: str) -> list[int]:
    """Choose the rows of the neurons to draw: those that are named, or those with the largest silhouettes.

    Parameters
    ----------
    clusters
        Artifact of the rule ``virtual_neurons``.
    neurons
        Numbers of the neurons, or how many.
    n_clusters, lower_layer
        Number of virtual neurons, and the layer of the circuits.

    Returns
    -------
    list
        Rows in the artifacts: as they are named, or the largest silhouette first.
    """
    numbers = clusters["neuron"][...].tolist()
    if not isinstance(neurons, int):
        missing = [number for number in neurons if number not in numbers]
        if missing:
            logger.warning("not drawn: %s are not among the neurons studied in this layer", listed(missing))
        return [numbers.index(number) for number in neurons if number in numbers]
    position = strings(clusters["method"]).index(PURE + lower_layer)
    k = clusters["n_clusters"][...].tolist().index(n_clusters)
    silhouette = np.nan_to_num(clusters["silhouette"][position, k], nan=-2)
    return np.argsort(-silhouette, kind="stable")[:neurons].tolist()


def collect(
    images: Images, patches: Artifact, clusters: Artifact, plane: Artifact, row: int, n_clusters: int
) -> NeuronData:
    """Read a neuron and cut its patches.

    Parameters
    ----------
    images, patches, clusters, plane
        Artifacts of the rules ``dataset``, ``patches``, ``virtual_neurons`` and ``projections``.
    row
        Row of the neuron.
    n_clusters
        Number of virtual neurons.

    Returns
    -------
    NeuronData
        Its patches and their positions, labels and classes.
    """
    lower_layer = plane.attribute("lower_layer")
    position = strings(clusters["method"]).index(PURE + lower_layer)
    k = clusters["n_clusters"][...].tolist().index(n_clusters)
    ids = clusters["reference_id"][row]
    ids = ids[ids >= 0]
    names = strings(images.file["class_name"])
    label = images.file["label"][...][ids]
    pixels = images.take(ids)
    boxes = patches["box"][row : row + 1][0, : len(ids)]
    return NeuronData(
        number=int(clusters["neuron"][row]),
        lower_layer=lower_layer,
        patches=[cut(image, box, THUMBNAIL) for image, box in zip(pixels, boxes, strict=True)],
        points=plane["position"][row, : len(ids)],
        label=clusters["label"][position, k, row, : len(ids)],
        classes=[names[number] if number >= 0 else "" for number in label],
    )


def draw_umap(neuron: NeuronData, n_patches: int) -> Figure:
    """Draw all references as points over their density, and the best patches of each virtual neuron."""
    figure, axes = plt.subplots(figsize=(6.4, 5.8), layout="constrained")
    low, size = neuron.points.min(axis=0), np.maximum(np.ptp(neuron.points, axis=0), 1e-6)
    points = (neuron.points - low) / size
    for number in neuron.virtual_neurons:
        chosen = points[neuron.label == number]
        if len(chosen) >= 3 and (np.ptp(chosen, axis=0) > 1e-6).all():
            sns.kdeplot(
                x=chosen[:, 0], y=chosen[:, 1], ax=axes, fill=True, levels=5, thresh=0.15, alpha=0.35,
                color=color(number), warn_singular=False,
            )  # fmt: skip
    axes.scatter(points[:, 0], points[:, 1], color=[_color(number) for number in neuron.label.tolist()], s=9, zorder=2)
    shown = best_of_each(neuron, n_patches)
    positions = spread_out(points[shown], PATCH_SHARE)
    for index, position in zip(shown, positions, strict=True):
        axes.plot(*np.stack([points[index], position]).T, color="0.45", linewidth=0.7, zorder=2)
        frame = {"edgecolor": _color(neuron.label[index]), "linewidth": 2, "boxstyle": "square,pad=0"}
        picture = OffsetImage(np.asarray(neuron.patches[index]), zoom=0.32)
        axes.add_artist(AnnotationBbox(picture, tuple(position), bboxprops=frame, pad=0.1, zorder=3))
    margin = 0.7 * PATCH_SHARE
    everything = np.concatenate([points, positions])
    axes.set_xlim(everything[:, 0].min() - margin, everything[:, 0].max() + margin)
    axes.set_ylim(everything[:, 1].min() - margin, everything[:, 1].max() + margin)
    axes.set(xticks=[], yticks=[], xlabel="", ylabel="")
    axes.set_title(f"neuron {neuron.number}: circuits in {neuron.lower_layer}")
    handles = [mpl.patches.Patch(color=color(n), label=describe(neuron, n, 30)) for n in neuron.virtual_neurons]
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False)
    sns.despine(ax=axes, left=True, bottom=True)
    return figure


def best_of_each(neuron: NeuronData, n_patches: int) -> np.ndarray:
    """Choose the best references of each virtual neuron: the same number of each, as far as they go."""
    share = max(1, n_patches // max(len(neuron.virtual_neurons), 1))
    numbers = neuron.virtual_neurons or [-1]
    return np.sort(np.concatenate([np.flatnonzero(neuron.label == number)[:share] for number in numbers]))


def _color(number: int) -> Any:
    return color(number) if number >= 0 else "0.6"


def describe(neuron: NeuronData, number: int, width: int = 60) -> str:
    """Describe a virtual neuron: its number, its share of the references, and their most frequent classes.

    Parameters
    ----------
    neuron, number
        The neuron, and the number of its virtual neuron.
    width
        Letters of the names of classes.

    Returns
    -------
    str
        One line.
    """
    chosen = np.flatnonzero(neuron.label == number)
    names, counts = np.unique([neuron.classes[i] for i in chosen if neuron.classes[i]], return_counts=True)
    top = ", ".join(names[np.lexsort((names, -counts))][:3]) if len(names) else ""
    text = f"{neuron.number}.{number + 1}: {len(chosen)} of {len(neuron.label)}"
    return text + (f" · {textwrap.shorten(top, width, placeholder='…')}" if top else "")


def draw_sheet(neuron: NeuronData, n_patches: int) -> Figure:
    """Draw the best references, then a row with the best of each virtual neuron."""
    first = np.arange(min(n_patches, len(neuron.patches)))
    rows: list[tuple[str, np.ndarray, Any]] = [
        (f"neuron {neuron.number}: the best {len(first)} of {len(neuron.patches)} references", first, "0.75")
    ]
    for number in neuron.virtual_neurons:
        chosen = np.flatnonzero(neuron.label == number)[:COLUMNS]
        rows.append((describe(neuron, number), chosen, color(number)))
    heights = [0.45 + -(-len(chosen) // COLUMNS) for _, chosen, _ in rows]
    figure = plt.figure(figsize=(0.82 * COLUMNS, 0.82 * sum(heights)))
    top = sum(heights)
    for (title, chosen, frame), height in zip(rows, heights, strict=True):
        figure.text(0.0, (top - 0.38) / sum(heights), title, weight="bold", color=_darker(frame), va="bottom", size=9.5)
        for place, index in enumerate(chosen):
            line, column = divmod(place, COLUMNS)
            bottom = (top - 0.45 - line - 1 + 0.04) / sum(heights)
            axes = figure.add_axes((column / COLUMNS, bottom, 0.94 / COLUMNS, 0.94 / sum(heights)))
            axes.imshow(neuron.patches[index])
            axes.set(xticks=[], yticks=[])
            for spine in axes.spines.values():
                spine.set(color=frame, linewidth=2)
        top -= height
    return figure


def _darker(shade: Any) -> Any:
    """Darken a color so that text on white is legible."""
    red, green, blue = mpl.colors.to_rgb(shade)
    return (0.6 * red, 0.6 * green, 0.6 * blue)
