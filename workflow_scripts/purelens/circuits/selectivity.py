"""The rule ``selectivity``: measure whether the circuit of a virtual neuron drives its references, and not those of others."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from purelens.circuits.methods import EMBEDDER, PURE
from purelens.circuits.neuron_kinds import MAX, functions_before
from purelens.circuits.replacement import Replacement
from purelens.circuits.summaries import areas, polysemantic_rows, summarize_subsets
from purelens.data.dataset import open_images
from purelens.networks.batching import choose_device
from purelens.networks.loading import load_network
from purelens.networks.subnetwork import LayerView, Segment
from purelens.numerics.bootstrap import Intervals
from purelens.progress import Progress
from purelens.storage.provenance import DEFAULT_EXECUTION, Execution
from purelens.storage.reading import read, strings
from purelens.storage.tables import write_table

AREAS = ("selectivity", "control", "selectivity over control")
"""Areas under curves whose means are estimated."""

SHARES = (0.01, 0.02, 0.05, 0.1, 0.2)
"""Shares of the lower neurons that are replaced."""

FEWEST = 4
"""References that a neuron has at least: two to make circuits from, two to measure falls on."""

NEAREST = 5
"""A control is drawn among so many free lower neurons, the nearest by their rank of relevance."""

COLUMNS = (
    "neuron",
    "method",
    "n_clusters",
    "share",
    "own",
    "other",
    "control_own",
    "control_other",
    "selectivity",
    "control_selectivity",
)


@dataclass(frozen=True)
class Measured:
    """What is measured.

    Attributes
    ----------
    lower_layer
        Where neurons are replaced.
    n_clusters
        Number of virtual neurons k of each neuron.
    neurons
        Number of neurons, drawn at random: polysemantic ones first.
    """

    lower_layer: str
    n_clusters: int = 2
    neurons: int = 16


@dataclass(frozen=True)
class Neuron:
    """A neuron with the relevances of its references.

    Attributes
    ----------
    number
        Of the neuron.
    image_id
        (n,) its references, best first.
    relevance
        (n, C_lower).
    labels
        (n,) virtual neuron of each reference, by method; -1: none.
    """

    number: int
    image_id: np.ndarray
    relevance: np.ndarray
    labels: dict[str, np.ndarray]

    @property
    def held_out(self) -> np.ndarray:
        """(n,) bool: every other reference, which circuits are not made from."""
        return np.arange(len(self.image_id)) % 2 == 1


def selectivity(
    images_h5: str,
    model: tuple[str, str],
    relevances_h5: str,
    virtual_neurons_h5: str,
    polysemanticity_h5: Sequence[str],
    selectivity_csv: str,
    summary_csv: str,
    layer: LayerView,
    measured: Measured,
    intervals: Intervals,
    reference_criterion: str = MAX,
    execution: Execution = DEFAULT_EXECUTION,
) -> None:
    """Replace what drives one virtual neuron, and compare how far its references and those of the others fall.

    Parameters
    ----------
    images_h5, model, relevances_h5, virtual_neurons_h5
        Artifacts of the rules of these names.
    polysemanticity_h5
        That of the rule ``polysemanticity``, or none.
    selectivity_csv
        A row per neuron, method and share of lower neurons: ``own`` and ``other``, the falls of the neuron on the references
        of the virtual neuron and of the others as shares of its activation, and their difference ``selectivity``; the same for
        other lower neurons of about the same relevance.
    summary_csv
        Means over neurons with intervals, of the area under the curve over the shares, and paired differences between methods.
    layer, measured
        The layer, and what is measured.
    intervals
        Settings of the bootstrap; its seed draws the neurons and the controls.
    reference_criterion
        As in `purelens.circuits.activations.activations`.
    execution
        Device and batch size.

    Notes
    -----
    No embedding is needed. Circuits are made from the references of odd rank (the first, third, ...), and the falls measured on
    those of even rank. Lower neurons are ordered by the difference of the virtual neuron's circuit from that of all others.
    """
    network = load_network(*model, choose_device(execution.device))
    before, lower_layer = functions_before(reference_criterion), measured.lower_layer
    with open_images(images_h5) as images:
        with Segment(network.module, layer.name, [lower_layer], before) as segment:
            layer, _ = segment.resolve(layer, images.size)
        with Segment(network.module, layer.name, (), before) as segment:
            replacement = Replacement(network, images, segment, layer, layer.of(lower_layer), execution.batch_size)
            chosen, polysemantic = _chosen(virtual_neurons_h5, polysemanticity_h5, measured.neurons, intervals.seed)
            rows = []
            with Progress(len(chosen), "selectivity", "neurons") as progress:
                for neuron in _neurons(relevances_h5, virtual_neurons_h5, measured, chosen):
                    rows += measure(neuron, replacement, measured.n_clusters, intervals.seed)
                    progress.advance(1)
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    table.insert(1, "polysemantic", table["neuron"].isin(polysemantic))
    write_table(selectivity_csv, table)
    write_table(summary_csv, summarize_subsets(areas(table), AREAS, ["selectivity"], intervals))


def _chosen(
    virtual_neurons_h5: str, polysemanticity_h5: Sequence[str], n_neurons: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draw rows of neurons, polysemantic ones first; and list the numbers of all polysemantic neurons."""
    with read(virtual_neurons_h5, "virtual_neurons") as file:
        neurons, ids = file["neuron"][...], file["reference_id"][...]
    several = polysemantic_rows(polysemanticity_h5, len(neurons))
    order = np.random.default_rng(seed).permutation(len(neurons))
    order = order[(ids[order] >= 0).sum(axis=1) >= FEWEST]
    order = order[np.argsort(~several[order], kind="stable")]
    return np.sort(order[:n_neurons]), neurons[several]


def _neurons(relevances_h5: str, virtual_neurons_h5: str, measured: Measured, rows: np.ndarray) -> Iterator[Neuron]:
    """Read neurons one after another."""
    lower_layer = measured.lower_layer
    with read(relevances_h5, "relevances") as relevances, read(virtual_neurons_h5, "virtual_neurons") as clusters:
        place = clusters["n_clusters"][...].tolist().index(measured.n_clusters)
        methods = {
            number: method
            for number, method in enumerate(strings(clusters["method"]))
            if not method.startswith(EMBEDDER) and (not method.startswith(PURE) or method == PURE + lower_layer)
        }
        for row in rows.tolist():
            ids = relevances["reference_id"][row]
            there = np.flatnonzero(ids >= 0)
            yield Neuron(
                int(relevances["neuron"][row]),
                ids[there],
                relevances[f"relevance/{lower_layer}"][row][there].astype(np.float64),
                {method: clusters["label"][number, place, row][there] for number, method in methods.items()},
            )


def measure(neuron: Neuron, replacement: Replacement, n_clusters: int, seed: int) -> list[dict[str, object]]:
    """Measure the selectivity of the virtual neurons of one neuron, by every method.

    Parameters
    ----------
    neuron, replacement
        The neuron, and the network in which lower neurons are replaced.
    n_clusters
        Number of virtual neurons k.
    seed
        Of the controls.

    Returns
    -------
    list
        A row for each method and share.
    """
    rng = np.random.default_rng([seed, neuron.number])
    held = neuron.held_out
    relevance = neuron.relevance[~held]
    size = np.abs(relevance).mean(axis=0)
    plans, sets = [], [np.zeros(0, dtype=int)]
    for method, labels in neuron.labels.items():
        for part in range(n_clusters):
            for share, lower in discriminative(relevance, labels[~held] == part, labels[~held] >= 0).items():
                plans.append((method, part, share))
                sets += [lower, others_of_equal_relevance(size, lower, rng)]
    values = replacement.largest(neuron.image_id[held], neuron.number, sets)
    with np.errstate(invalid="ignore", divide="ignore"):
        falls = np.where(values[0] > 0, 1 - values[1:] / values[0], np.nan)
    rows = []
    for number, (method, part, share) in enumerate(plans):
        labels = neuron.labels[method][held]
        own, other = labels == part, (labels >= 0) & (labels != part)
        found = {"neuron": neuron.number, "method": method, "n_clusters": n_clusters, "share": share}
        for prefix, fall in zip(("", "control_"), falls[2 * number : 2 * number + 2], strict=True):
            found |= {prefix + "own": _mean(fall[own]), prefix + "other": _mean(fall[other])}
        rows.append(found)
    return _over_parts(rows)


def discriminative(relevance: np.ndarray, own: np.ndarray, used: np.ndarray) -> dict[float, np.ndarray]:
    """Find the lower neurons whose relevance for one virtual neuron exceeds that for the others most.

    Parameters
    ----------
    relevance
        (n, C_lower) of the references that circuits are made from.
    own, used
        (n,) bool: the references of the virtual neuron, and those of any.

    Returns
    -------
    dict
        Numbers of the lower neurons for each of ``SHARES``; empty where one side has no reference.
    """
    other = used & ~own
    if not own.any() or not other.any():
        return {}
    difference = relevance[own].mean(axis=0) - relevance[other].mean(axis=0)
    order = np.argsort(-difference, kind="stable")
    return {share: order[: max(1, round(share * len(order)))] for share in SHARES}


def others_of_equal_relevance(relevance: np.ndarray, chosen: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw as many other lower neurons of about the same relevance.

    Parameters
    ----------
    relevance
        (C_lower,) mean absolute relevance.
    chosen
        (m,) lower neurons that are to be matched.
    rng
        Draws one for each.

    Returns
    -------
    numpy.ndarray
        (m,) different ones, none of the chosen; fewer where there are not as many.
    """
    rank = np.empty(len(relevance), dtype=int)
    order = np.argsort(-relevance, kind="stable")
    rank[order] = np.arange(len(order))
    free = np.ones(len(relevance), dtype=bool)
    free[chosen] = False
    drawn = []
    for neuron in chosen:
        candidates = np.flatnonzero(free)
        if not len(candidates):
            break
        distance = np.abs(rank[candidates] - rank[neuron])
        nearest = candidates[np.argsort(distance, kind="stable")[:NEAREST]]
        drawn.append(int(rng.choice(nearest)))
        free[drawn[-1]] = False
    return np.array(drawn, dtype=int)


def _mean(values: np.ndarray) -> float:
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else float("nan")


def _over_parts(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    """Average over the virtual neurons of each method that have references on both sides."""
    if not rows:
        return []
    table = pd.DataFrame(rows)
    table["selectivity"] = table["own"] - table["other"]
    table["control_selectivity"] = table["control_own"] - table["control_other"]
    table = table[table[["selectivity", "control_selectivity"]].notna().all(axis=1)]
    means = table.groupby(["neuron", "method", "n_clusters", "share"], sort=False).mean()
    return means.reset_index().to_dict("records")
