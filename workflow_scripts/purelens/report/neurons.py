"""Collect what the explorer shows of one neuron."""

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from purelens.circuits.methods import JOINT, PURE
from purelens.circuits.projections import spread_out
from purelens.report.data import rounded
from purelens.report.layer_files import LayerFiles
from purelens.storage.reading import strings

SLAB_NEURONS = 16
CHOSEN_NUMBER = "chosen"
"""Key of the split whose number of virtual neurons was chosen, beside those of given numbers."""

MEASURES = {"silhouette": "silhouette", "stability": "half_stability", "seed_stability": "seed_stability"}
"""What pages say of each clustering, and its variable: mean silhouette of the references, agreement with the splits of every
other reference, and with splits by other seeds."""

THUMBNAIL = 0.075
"""Side of a patch as a share of the map of the references."""


@dataclass(frozen=True)
class Neuron:
    """A neuron and its n references, best first.

    Attributes
    ----------
    number
        Number of the neuron in its layer.
    ids, value, box, heat, points
        Image id, activation, box, heatmap and position on the map of each reference.
    label
        (methods, numbers of clusters, n) virtual neuron of each.
    measures
        (methods, numbers of clusters) for each of ``MEASURES``.
    relevance
        (n, C_lower) for each lower layer.
    decided
        (n,) virtual neuron of each where their number was chosen; None where the neuron was not tested.
    """

    number: int
    ids: np.ndarray
    value: np.ndarray
    box: np.ndarray
    heat: np.ndarray
    points: np.ndarray
    label: np.ndarray
    measures: dict[str, np.ndarray]
    relevance: dict[str, np.ndarray]
    decided: np.ndarray | None = None


def neurons(files: LayerFiles) -> Iterator[Neuron]:
    """Read the neurons of a layer one after another; memory holds a few of them."""
    numbers = files.clusters["neuron"][...]
    row_of = {int(number): row for row, number in enumerate(files.activations["neuron"][...])}
    for start in range(0, len(numbers), SLAB_NEURONS):
        rows = slice(start, start + SLAB_NEURONS)
        ids, label = files.clusters["reference_id"][rows], files.clusters["label"][:, :, rows]
        measures = {name: files.clusters[variable][:, :, rows] for name, variable in MEASURES.items()}
        tested = np.isfinite(files.decisions["p_value"][rows]) if files.decisions else np.zeros(len(ids), dtype=bool)
        decided = files.decisions["label"][rows] if files.decisions else None
        box, heat = files.patches["box"][rows], files.patches["heat"][rows]
        points = files.plane["position"][rows]
        relevance = {
            lower: files.relevances[f"relevance/{lower}"][rows] for lower in files.relevances.names("relevance")
        }
        for place, number in enumerate(numbers[rows]):
            n = int((ids[place] >= 0).sum())
            yield Neuron(
                number=int(number),
                ids=ids[place, :n],
                value=files.activations["reference_value"][row_of[int(number)], :n],
                box=box[place, :n],
                heat=heat[place, :n],
                points=points[place, :n],
                label=label[:, :, place, :n],
                measures={name: values[:, :, place] for name, values in measures.items()},
                relevance={lower: values[place, :n] for lower, values in relevance.items()},
                decided=decided[place, :n] if decided is not None and tested[place] else None,
            )


def shown(neuron: Neuron, label: np.ndarray, n_references: int) -> np.ndarray:
    """Choose the references that are shown as patches.

    Half of them are the best; the others are the best of each virtual neuron in turn. The best reference of every virtual
    neuron of every other clustering is added, so that none is without a picture.

    Parameters
    ----------
    neuron
        The neuron.
    label
        (n,) virtual neuron of each reference, in the clustering that is shown first.
    n_references
        Number of references, before those that are added.

    Returns
    -------
    numpy.ndarray
        Positions of the references, ascending.
    """
    best = list(range(min(len(neuron.ids), n_references // 2)))
    waiting = [np.flatnonzero(label == number).tolist() for number in sorted(set(label.tolist()) - {-1})]
    waiting = [[index for index in members if index not in best] for members in waiting] or [[]]
    n_missing = min(len(neuron.ids), n_references) - len(best)
    turns = [members[turn] for turn in range(len(neuron.ids)) for members in waiting if turn < len(members)]
    rest = [index for index in range(len(neuron.ids)) if index not in best and index not in turns]
    chosen = set(best + (turns + rest)[:n_missing])
    decided = [] if neuron.decided is None else [neuron.decided]
    for clustering in [*np.concatenate(neuron.label), *decided]:
        for number in set(clustering.tolist()) - {-1}:
            members = np.flatnonzero(clustering == number).tolist()
            if chosen.isdisjoint(members):
                chosen.add(members[0])
    return np.array(sorted(chosen), dtype=int)


def neuron_data(
    neuron: Neuron,
    files: LayerFiles,
    chosen: np.ndarray,
    scores: Mapping[str, np.ndarray],
    decided_scores: Mapping[str, float],
    n_circuit: int,
) -> dict[str, Any]:
    """Collect everything that the page of a neuron shows besides pictures.

    Parameters
    ----------
    neuron, files
        The neuron, and the artifacts of its layer.
    chosen
        Positions of the references that have a patch in the strip, in its order.
    scores
        (methods, numbers of clusters) scores of the clusterings.
    decided_scores
        Scores of the split whose number was chosen.
    n_circuit
        Lower neurons of a circuit that are listed.

    Returns
    -------
    dict
        Ready for JSON.
    """
    label, path = files.images.file["label"], files.images.file["path"]
    unique, inverse = np.unique(neuron.ids, return_inverse=True)
    classes = label[unique][inverse]
    paths = strings(path[unique])
    points = _in_unit_square(neuron.points)
    positions = np.clip(spread_out(points[chosen], THUMBNAIL), 0, 1)
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
                "place": rounded(position, 3),
                "box": neuron.box[index].tolist(),
                "heat": base64.b64encode(neuron.heat[index].tobytes()).decode(),
            }
            for index, position in zip(chosen, positions, strict=True)
        ],
        "heat_side": int(neuron.heat.shape[-1]),
        "clusterings": _clusterings(neuron, files, scores, decided_scores, n_circuit),
    }


def _clusterings(
    neuron: Neuron,
    files: LayerFiles,
    scores: Mapping[str, np.ndarray],
    decided_scores: Mapping[str, float],
    n_circuit: int,
) -> dict[str, dict[str, Any]]:
    """Describe all clusterings, by method and number; the one whose number was chosen is one more of its method."""
    measures = {**scores, **neuron.measures}
    described: dict[str, dict[str, Any]] = {
        method: {
            str(k): _clustering(neuron, files, method, neuron.label[number, place], n_circuit)
            | {name: rounded(values[number, place]) for name, values in measures.items()}
            for place, k in enumerate(files.n_clusters)
        }
        for number, method in enumerate(files.methods)
    }
    if neuron.decided is not None:
        values = dict.fromkeys(measures) | {name: rounded(np.array(value)) for name, value in decided_scores.items()}
        described[JOINT][CHOSEN_NUMBER] = _clustering(neuron, files, JOINT, neuron.decided, n_circuit) | values
    return described


def _in_unit_square(points: np.ndarray) -> np.ndarray:
    if not len(points):
        return points
    return (points - points.min(axis=0)) / np.maximum(np.ptp(points, axis=0), 1e-9)  # all points may be one


def _clustering(neuron: Neuron, files: LayerFiles, name: str, label: np.ndarray, n_circuit: int) -> dict[str, Any]:
    """Describe a clustering of the references: labels, circuits, and the discriminative lower neurons."""
    lower = name.removeprefix(PURE) if name.startswith(PURE) else files.main_method.removeprefix(PURE)
    members = label == np.arange(label.max(initial=0) + 1)[:, None]
    count = members.sum(axis=1)
    circuit = members[count > 0] @ neuron.relevance[lower] / count[count > 0, None]
    spread = np.ptp(circuit, axis=0) if len(circuit) > 1 else np.zeros(neuron.relevance[lower].shape[1])
    return {
        "label": label.tolist(),
        "lower": lower,
        "virtual_neurons": np.flatnonzero(count).tolist(),
        "circuits": [[[int(i), *rounded(row[i : i + 1])] for i in _largest(np.abs(row), n_circuit)] for row in circuit],
        "discriminative": [[int(i), *rounded(circuit[:, i])] for i in _largest(spread, n_circuit) if spread[i] > 0],
    }


def _largest(values: np.ndarray, n: int) -> np.ndarray:
    return np.argsort(-values, kind="stable")[:n]
