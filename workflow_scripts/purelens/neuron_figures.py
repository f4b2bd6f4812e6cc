"""The rule ``neuron_figures``: a UMAP with the patches at their points, and a contact sheet, for each chosen neuron."""

import logging
import textwrap
import warnings
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import h5py
import matplotlib as mpl
import numpy as np
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from PIL import Image

from purelens.artifacts import Rows, read, strings
from purelens.dataset import Images, open_images
from purelens.errors import listed
from purelens.files import replace_folder_when_whole
from purelens.progress import Progress
from purelens.style import colour, paper_style, save

logger = logging.getLogger("purelens")

THUMBNAIL = 96
COLUMNS = 10
PATCH_SHARE = 0.105
"""Side of a patch as a share of the UMAP."""


def neuron_figures(
    images_h5: str,
    patches_h5: str,
    relevances_h5: str,
    virtual_neurons_h5: str,
    folder: str,
    neurons: int | list[int] = 8,
    n_references: int = 20,
    n_clusters: int = 2,
    neighbours: int = 6,
    min_dist: float = 0.3,
    seed: int = 0,
) -> None:
    """Draw neurons of a layer.

    Parameters
    ----------
    images_h5, patches_h5, relevances_h5, virtual_neurons_h5
        Artifacts of the rules of these names.
    folder
        Where ``neuron_<number>_umap.png`` and ``neuron_<number>_sheet.png`` go.
    neurons
        Which neurons; or how many, those whose circuits separate best (by silhouette).
    n_references
        References drawn as patches, best first: on the sheet, and shared among the virtual neurons on the UMAP. The UMAP
        itself, its density and the shares are those of all references.
    n_clusters
        Number of virtual neurons drawn.
    neighbours, min_dist, seed
        Of the UMAP (McInnes et al. 2018).
    """
    mpl.use("Agg")
    with ExitStack() as stack:
        made = stack.enter_context(replace_folder_when_whole(folder))
        images = stack.enter_context(open_images(images_h5))
        patches = stack.enter_context(read(patches_h5, "patches"))
        relevance = stack.enter_context(read(relevances_h5, "relevances"))
        clusters = stack.enter_context(read(virtual_neurons_h5, "virtual_neurons"))
        rows = choose_neurons(clusters, neurons, n_clusters)
        stack.enter_context(paper_style())
        progress = stack.enter_context(Progress(len(rows), "neuron figures", "neurons"))
        for row in rows:
            neuron = collect(images, patches, relevance, clusters, row, n_clusters)
            if len(neuron.patches):
                save(draw_sheet(neuron, n_references), made / f"neuron_{neuron.number:05d}_sheet.png")
                points = project(neuron.vectors, neighbours, min_dist, seed)
                save(draw_umap(neuron, points, n_references), made / f"neuron_{neuron.number:05d}_umap.png")
            progress.advance(1)


@dataclass(frozen=True)
class Neuron:
    """What is drawn of a neuron: all its references, best first.

    Attributes
    ----------
    number, lower_layer
        The neuron, and the layer that its circuits are of.
    patches
        Thumbnails.
    vectors
        (n, C_lower) relevances.
    label
        (n,) virtual neuron of each, -1 where it was not split.
    classes
        (n,) class name of each image, empty where it has none.
    """

    number: int
    lower_layer: str
    patches: list[Image.Image]
    vectors: np.ndarray
    label: np.ndarray
    classes: list[str]

    @property
    def virtual_neurons(self) -> list[int]:
        """The virtual neurons that have references here."""
        return sorted(set(self.label.tolist()) - {-1})


def _first_circuits(clusters: h5py.File) -> tuple[int, str]:
    """Position and lower layer of the first PURE method."""
    methods = strings(clusters["method"])
    position = next(i for i, method in enumerate(methods) if method.startswith("pure:"))
    return position, methods[position].removeprefix("pure:")


def choose_neurons(clusters: h5py.File, neurons: int | list[int], n_clusters: int) -> list[int]:
    """Rows of the neurons to draw: those that are named and in the layer, or the best separated."""
    numbers = clusters["neuron"][...].tolist()
    if not isinstance(neurons, int):
        missing = [number for number in neurons if number not in numbers]
        if missing:
            logger.warning("not drawn: %s are not among the neurons studied in this layer", listed(missing))
        return [numbers.index(number) for number in neurons if number in numbers]
    position, _ = _first_circuits(clusters)
    k = clusters["n_clusters"][...].tolist().index(n_clusters)
    silhouette = np.nan_to_num(clusters["silhouette"][position, k], nan=-2)
    return np.argsort(-silhouette, kind="stable")[:neurons].tolist()


def collect(
    images: Images,
    patches: h5py.File,
    relevance: h5py.File,
    clusters: h5py.File,
    row: int,
    n_clusters: int,
) -> Neuron:
    """Gather what is drawn of one neuron."""
    position, lower_layer = _first_circuits(clusters)
    k = clusters["n_clusters"][...].tolist().index(n_clusters)
    ids = clusters["reference_id"][row]
    ids = ids[ids >= 0]
    names = strings(images.file["class_name"])
    label = images.file["label"][...][ids]
    pixels = images.take(ids)
    boxes = Rows(patches, "box")[row : row + 1][0, : len(ids)]
    return Neuron(
        number=int(clusters["neuron"][row]),
        lower_layer=lower_layer,
        patches=[thumbnail(image, box) for image, box in zip(pixels, boxes, strict=True)],
        vectors=Rows(relevance, f"relevance/{lower_layer}")[row : row + 1][0, : len(ids)],
        label=clusters["label"][position, k, row, : len(ids)],
        classes=[names[number] if number >= 0 else "" for number in label],
    )


def thumbnail(image: np.ndarray, box: np.ndarray) -> Image.Image:
    """Cut a patch (top, left, bottom, right) out of an image and bring it to the size it is drawn at."""
    top, left, bottom, right = box.tolist()
    patch = Image.fromarray(np.ascontiguousarray(image[top:bottom, left:right]))
    return patch.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BICUBIC)


def project(vectors: np.ndarray, neighbours: int, min_dist: float, seed: int) -> np.ndarray:
    """Project relevances (n, d) to the plane (n, 2); too few for a UMAP are laid on their principal axes."""
    if len(vectors) < max(5, neighbours + 1):
        centred = vectors - vectors.mean(axis=0)
        left, scale, _ = np.linalg.svd(centred, full_matrices=False)
        flat = (left * scale)[:, :2]
        return np.pad(flat, ((0, 0), (0, 2 - flat.shape[1])))
    from umap import UMAP

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns that a seed makes it run on one core, which is wanted
        return UMAP(n_neighbors=neighbours, min_dist=min_dist, random_state=seed).fit_transform(vectors)


def draw_umap(neuron: Neuron, points: np.ndarray, n_patches: int) -> Figure:
    """Draw all references as points over their density, and the best patches of each virtual neuron at theirs."""
    figure, axes = plt.subplots(figsize=(6.4, 5.8), layout="constrained")
    low, size = points.min(axis=0), np.maximum(np.ptp(points, axis=0), 1e-6)
    points = (points - low) / size
    for number in neuron.virtual_neurons:
        chosen = points[neuron.label == number]
        if len(chosen) >= 3 and (np.ptp(chosen, axis=0) > 1e-6).all():
            sns.kdeplot(
                x=chosen[:, 0], y=chosen[:, 1], ax=axes, fill=True, levels=5, thresh=0.15, alpha=0.35,
                color=colour(number), warn_singular=False,
            )  # fmt: skip
    axes.scatter(points[:, 0], points[:, 1], color=[_colour(number) for number in neuron.label.tolist()], s=9, zorder=2)
    shown = best_of_each(neuron, n_patches)
    places = spread_out(points[shown], PATCH_SHARE)
    for index, place in zip(shown, places, strict=True):
        axes.plot(*np.stack([points[index], place]).T, color="0.45", linewidth=0.7, zorder=2)
        frame = {"edgecolor": _colour(neuron.label[index]), "linewidth": 2, "boxstyle": "square,pad=0"}
        picture = OffsetImage(np.asarray(neuron.patches[index]), zoom=0.32)
        axes.add_artist(AnnotationBbox(picture, tuple(place), bboxprops=frame, pad=0.1, zorder=3))
    margin = 0.7 * PATCH_SHARE
    everything = np.concatenate([points, places])
    axes.set_xlim(everything[:, 0].min() - margin, everything[:, 0].max() + margin)
    axes.set_ylim(everything[:, 1].min() - margin, everything[:, 1].max() + margin)
    axes.set(xticks=[], yticks=[], xlabel="", ylabel="")
    axes.set_title(f"neuron {neuron.number}: circuits in {neuron.lower_layer}")
    handles = [mpl.patches.Patch(color=colour(n), label=describe(neuron, n, 30)) for n in neuron.virtual_neurons]
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False)
    sns.despine(ax=axes, left=True, bottom=True)
    return figure


def best_of_each(neuron: Neuron, n_patches: int) -> np.ndarray:
    """Choose the best references of each virtual neuron, equally many if there are as many."""
    share = max(1, n_patches // max(len(neuron.virtual_neurons), 1))
    numbers = neuron.virtual_neurons or [-1]
    return np.sort(np.concatenate([np.flatnonzero(neuron.label == number)[:share] for number in numbers]))


def spread_out(points: np.ndarray, distance: float, iterations: int = 200) -> np.ndarray:
    """Push points (n, 2) apart until none is nearer to another than a distance along both axes, or nearly so."""
    places = points + 1e-4 * np.arange(len(points))[:, None] * [1, -1]
    for _ in range(iterations):
        apart = places[:, None] - places[None]
        overlap = np.clip(distance - np.abs(apart), 0, None)
        touching = (overlap > 0).all(axis=2) & ~np.eye(len(places), dtype=bool)
        if not touching.any():
            break
        # along the axis where they overlap less
        along = overlap <= overlap.min(axis=2, keepdims=True)
        places = places + 0.25 * (np.sign(apart) * overlap * along * touching[..., None]).sum(axis=1)
    return places


def _colour(number: int) -> Any:
    return colour(number) if number >= 0 else "0.6"


def describe(neuron: Neuron, number: int, width: int = 60) -> str:
    """Name a virtual neuron: its number, its share, and the classes it has most of."""
    chosen = np.flatnonzero(neuron.label == number)
    names, counts = np.unique([neuron.classes[i] for i in chosen if neuron.classes[i]], return_counts=True)
    top = ", ".join(names[np.lexsort((names, -counts))][:3]) if len(names) else ""
    text = f"{neuron.number}.{number + 1}: {len(chosen)} of {len(neuron.label)}"
    return text + (f" · {textwrap.shorten(top, width, placeholder='…')}" if top else "")


def draw_sheet(neuron: Neuron, n_patches: int) -> Figure:
    """Draw the best references, then a row with the best of each virtual neuron."""
    first = np.arange(min(n_patches, len(neuron.patches)))
    parts: list[tuple[str, np.ndarray, Any]] = [
        (f"neuron {neuron.number}: the best {len(first)} of {len(neuron.patches)} references", first, "0.75")
    ]
    for number in neuron.virtual_neurons:
        chosen = np.flatnonzero(neuron.label == number)[:COLUMNS]
        parts.append((describe(neuron, number), chosen, colour(number)))
    heights = [0.45 + -(-len(chosen) // COLUMNS) for _, chosen, _ in parts]
    figure = plt.figure(figsize=(0.82 * COLUMNS, 0.82 * sum(heights)))
    top = sum(heights)
    for (title, chosen, frame), height in zip(parts, heights, strict=True):
        figure.text(0.0, (top - 0.38) / sum(heights), title, weight="bold", color=_darker(frame), va="bottom", size=9.5)
        for place, index in enumerate(chosen):
            row, column = divmod(place, COLUMNS)
            bottom = (top - 0.45 - row - 1 + 0.04) / sum(heights)
            axes = figure.add_axes((column / COLUMNS, bottom, 0.94 / COLUMNS, 0.94 / sum(heights)))
            axes.imshow(neuron.patches[index])
            axes.set(xticks=[], yticks=[])
            for spine in axes.spines.values():
                spine.set(color=frame, linewidth=2)
        top -= height
    return figure


def _darker(shade: Any) -> Any:
    """A colour dark enough for text on white."""
    red, green, blue = mpl.colors.to_rgb(shade)
    return (0.6 * red, 0.6 * green, 0.6 * blue)
