"""What the explorer shows of one neuron."""

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import h5py
import numpy as np

from purelens.circuits.projections import spread_out
from purelens.circuits.virtual_neurons import PURE
from purelens.data.dataset import Images
from purelens.report.data import rounded
from purelens.storage.artifacts import Rows, strings
from purelens.storage.provenance import text

SLAB_NEURONS = 16
THUMBNAIL = 0.075
"""Side of a patch as a share of the map of the references."""


@dataclass(frozen=True)
class LayerFiles:
    """The open artifacts of a layer."""

    images: Images
    activations: h5py.File
    relevances: h5py.File
    patches: h5py.File
    clusters: h5py.File
    plane: h5py.File

    @cached_property
    def methods(self) -> list[str]:
        """What was clustered."""
        return strings(self.clusters["method"])

    @cached_property
    def main_method(self) -> str:
        """The clustering that is shown first."""
        return PURE + text(self.plane, "lower_layer")

    @cached_property
    def n_clusters(self) -> list[int]:
        """The numbers of clusters."""
        return [int(k) for k in self.clusters["n_clusters"][...]]


@dataclass(frozen=True)
class Neuron:
    """What is known of the references of one neuron, best first.

    Attributes
    ----------
    number
        Of the neuron in its layer.
    ids, value, box, heat, points
        Image, activation, box, heatmap and place in the plane of each of the n references.
    label
        (methods, numbers of clusters, n) virtual neuron of each.
    silhouette
        (methods, numbers of clusters) mean silhouette of the references.
    relevance
        (n, C_lower) for each lower layer.
    """

    number: int
    ids: np.ndarray
    value: np.ndarray
    box: np.ndarray
    heat: np.ndarray
    points: np.ndarray
    label: np.ndarray
    silhouette: np.ndarray
    relevance: dict[str, np.ndarray]


def neurons(files: LayerFiles) -> Iterator[Neuron]:
    """Read the neurons of a layer one after another; memory holds a few of them."""
    numbers = files.clusters["neuron"][...]
    of_layer = {int(number): row for row, number in enumerate(files.activations["neuron"][...])}
    for start in range(0, len(numbers), SLAB_NEURONS):
        rows = slice(start, start + SLAB_NEURONS)
        ids, label = files.clusters["reference_id"][rows], files.clusters["label"][:, :, rows]
        silhouette = files.clusters["silhouette"][:, :, rows]
        box, heat = Rows(files.patches, "box")[rows], Rows(files.patches, "heat")[rows]
        points = files.plane["position"][rows]
        relevance = {
            lower: Rows(files.relevances, f"relevance/{lower}")[rows] for lower in files.relevances["relevance"]
        }
        for place, number in enumerate(numbers[rows]):
            n = int((ids[place] >= 0).sum())
            yield Neuron(
                number=int(number),
                ids=ids[place, :n],
                value=files.activations["reference_value"][of_layer[int(number)], :n],
                box=box[place, :n],
                heat=heat[place, :n],
                points=points[place, :n],
                label=label[:, :, place, :n],
                silhouette=silhouette[:, :, place],
                relevance={lower: values[place, :n] for lower, values in relevance.items()},
            )


def shown(neuron: Neuron, label: np.ndarray, n_references: int) -> np.ndarray:
    """Choose the references that are shown: half of them the best, the others the best of each virtual neuron in turn.

    The best reference of every virtual neuron of every other clustering is added, so that none is without a picture.
    """
    best = list(range(min(len(neuron.ids), n_references // 2)))
    waiting = [np.flatnonzero(label == number).tolist() for number in sorted(set(label.tolist()) - {-1})]
    waiting = [[index for index in part if index not in best] for part in waiting] or [[]]
    n_missing = min(len(neuron.ids), n_references) - len(best)
    turns = [part[turn] for turn in range(len(neuron.ids)) for part in waiting if turn < len(part)]
    rest = [index for index in range(len(neuron.ids)) if index not in best and index not in turns]
    chosen = set(best + (turns + rest)[:n_missing])
    for clustering in np.concatenate(neuron.label):
        for number in set(clustering.tolist()) - {-1}:
            members = np.flatnonzero(clustering == number).tolist()
            if chosen.isdisjoint(members):
                chosen.add(members[0])
    return np.array(sorted(chosen), dtype=int)


def neuron_data(
    neuron: Neuron, files: LayerFiles, chosen: np.ndarray, gap: np.ndarray, n_circuit: int
) -> dict[str, Any]:
    """Everything the page of a neuron shows but pictures.

    Parameters
    ----------
    neuron, files
        The neuron, and the artifacts of its layer.
    chosen
        Positions of the references that have a patch in the strip, in its order.
    gap
        (methods, numbers of clusters) how much farther references of different virtual neurons are apart.
    n_circuit
        Lower neurons of a circuit that are listed.
    """
    label, path = files.images.file["label"], files.images.file["path"]
    unique, inverse = np.unique(neuron.ids, return_inverse=True)
    classes = label[unique][inverse]
    paths = strings(path[unique])
    points = _in_unit_square(neuron.points)
    places = np.clip(spread_out(points[chosen], THUMBNAIL), 0, 1)
    return {
        "number": neuron.number,
        "side": files.images.size,
        "images": neuron.ids.tolist(),
        "classes": classes.tolist(),
        "values": rounded(neuron.value),
        "points": rounded(points, 3),
        "shown": [
            {
                "index": int(index),
                "path": paths[inverse[index]],
                "place": rounded(place, 3),
                "box": neuron.box[index].tolist(),
                "heat": base64.b64encode(neuron.heat[index].tobytes()).decode(),
            }
            for index, place in zip(chosen, places, strict=True)
        ],
        "heat_side": int(neuron.heat.shape[-1]),
        "clusterings": {
            method: {
                str(k): _clustering(neuron, files, number, place, n_circuit)
                | {"apart": rounded(gap[number, place]), "silhouette": rounded(neuron.silhouette[number, place])}
                for place, k in enumerate(files.n_clusters)
            }
            for number, method in enumerate(files.methods)
        },
    }


def _in_unit_square(points: np.ndarray) -> np.ndarray:
    if not len(points):
        return points
    return (points - points.min(axis=0)) / np.maximum(np.ptp(points, axis=0), 1e-9)


def _clustering(neuron: Neuron, files: LayerFiles, method: int, place: int, n_circuit: int) -> dict[str, Any]:
    """A clustering of the references: labels, the circuit of each virtual neuron, and what tells them apart."""
    name = files.methods[method]
    lower = name.removeprefix(PURE) if name.startswith(PURE) else files.main_method.removeprefix(PURE)
    label = neuron.label[method, place]
    members = label == np.arange(files.n_clusters[place])[:, None]
    count = members.sum(axis=1)
    circuit = members[count > 0] @ neuron.relevance[lower] / count[count > 0, None]
    apart = np.ptp(circuit, axis=0) if len(circuit) > 1 else np.zeros(neuron.relevance[lower].shape[1])
    return {
        "label": label.tolist(),
        "lower": lower,
        "parts": np.flatnonzero(count).tolist(),
        "circuits": [[[int(i), *rounded(row[i : i + 1])] for i in _largest(np.abs(row), n_circuit)] for row in circuit],
        "telling": [[int(i), *rounded(circuit[:, i])] for i in _largest(apart, n_circuit) if apart[i] > 0],
    }


def _largest(values: np.ndarray, n: int) -> np.ndarray:
    return np.argsort(-values, kind="stable")[:n]
