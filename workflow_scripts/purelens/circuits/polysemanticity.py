"""The rule ``polysemanticity``: decide which neurons mean several things, and into how many virtual neurons each is split."""

import logging

import numpy as np
import pandas as pd

from purelens.circuits.representations import SLAB_NEURONS, Representations, open_representations
from purelens.circuits.splitting import centroids
from purelens.circuits.views import view_grams
from purelens.numerics.parts import Part, look_at, split_into_parts
from purelens.numerics.unimodal import LEAST_POINTS, benjamini_hochberg
from purelens.progress import Progress
from purelens.storage.artifacts import Writer, create
from purelens.storage.provenance import DEFAULT_EXECUTION, Execution
from purelens.storage.reading import Artifact, read
from purelens.storage.tables import write_table

logger = logging.getLogger("purelens")


def polysemanticity(
    relevances_h5: str,
    activations_h5: str,
    polysemanticity_h5: str,
    polysemanticity_csv: str,
    false_discovery_rate: float = 0.01,
    most_virtual_neurons: int = 5,
    execution: Execution = DEFAULT_EXECUTION,
) -> None:
    """Test of each neuron whether its references are one group, and split those that are not.

    Parameters
    ----------
    relevances_h5, activations_h5
        Artifacts of the rules ``relevances`` and ``activations``.
    polysemanticity_h5
        The artifact: p-values, decisions, and the virtual neuron of each reference.
    polysemanticity_csv
        A row per neuron.
    false_discovery_rate
        Share of the neurons called polysemantic that are not, at most, on average (Benjamini & Hochberg 1995).
    most_virtual_neurons
        Largest number of virtual neurons of a neuron.
    execution
        Provenance record.

    Notes
    -----
    The test statistic is the separation of the two sides of the best split (see `purelens.numerics.ridge_split`), the null
    hypothesis one group with one mode (see `purelens.numerics.unimodal`). A neuron that is polysemantic is split in two, and
    each part again while the same test finds two groups in it (see `purelens.numerics.parts`). A neuron with fewer than 20
    references is not tested, and not split.
    """
    with read(relevances_h5, "relevances") as file:
        storage = file.storage  # circuits are means of relevances
    with open_representations(relevances_h5, activations_h5, [], [], joint=True) as references:
        wholes, labels = _split(references, false_discovery_rate, most_virtual_neurons)
        chosen = benjamini_hochberg(np.array([whole.p_value for whole in wholes]), false_discovery_rate)
        labels = np.where(chosen[:, None], labels, np.minimum(labels, 0))
        table = _table(references, wholes, chosen, labels)
        with create(polysemanticity_h5, "polysemanticity", execution.provenance, storage=storage) as out:
            out.references(references.neurons, references.reference_id)
            out.coordinate("virtual_neuron", most_virtual_neurons)
            for name in ("separation", "p_value", "polysemantic", "n_virtual_neurons"):
                out.variable(name, data=table[name].to_numpy())
            out.variable("label", data=labels)
            out.attribute("false_discovery_rate", false_discovery_rate)
            with read(relevances_h5, "relevances") as file:
                _write_circuits(out, file, labels, most_virtual_neurons)
    write_table(polysemanticity_csv, table)
    logger.info("%s", in_words(table, false_discovery_rate))


def _split(references: Representations, rate: float, most: int) -> tuple[list[Part], np.ndarray]:
    """Test all neurons, and split those that may be polysemantic: none with a larger p-value than the rate is in the end.

    Views are read once, for they are most of the work; the few that are split in vain cost less.
    """
    labels = np.where(references.reference_id >= 0, 0, -1).astype(np.int8)
    wholes = []
    with Progress(len(labels), "tests", "neurons") as progress:
        for start, stop in references.slabs():
            valid = references.reference_id[start:stop] >= 0
            for row, grams in enumerate(view_grams(references.views, valid, start, stop)):
                there = np.flatnonzero(valid[row])
                own = grams[:, there[:, None], there]
                whole = look_at(own, np.arange(len(there)))
                if whole.p_value <= rate:
                    labels[start + row, there] = split_into_parts(own, whole, most)
                wholes.append(whole)
                progress.advance(1)
    return wholes, labels


def _table(references: Representations, wholes: list[Part], chosen: np.ndarray, labels: np.ndarray) -> pd.DataFrame:
    n_references = (labels >= 0).sum(axis=1)
    return pd.DataFrame(
        {
            "neuron": references.neurons,
            "n_references": n_references,
            "tested": n_references >= LEAST_POINTS,
            "separation": [whole.separation for whole in wholes],
            "p_value": [whole.p_value for whole in wholes],
            "polysemantic": chosen,
            "n_virtual_neurons": labels.max(axis=1) + 1,
        }
    )


def _write_circuits(out: Writer, relevances: Artifact, labels: np.ndarray, most: int) -> None:
    """Write the mean relevances of each virtual neuron, a slab of neurons at a time."""
    for lower in relevances.names("relevance"):
        table = relevances[f"relevance/{lower}"]
        dim = f"lower_neuron.{lower}"
        out.coordinate(dim, table.shape[2])
        circuits = out.variable(f"circuit/{lower}", dims=("neuron", "virtual_neuron", dim))
        for start in range(0, len(labels), SLAB_NEURONS):
            part = labels[start : start + SLAB_NEURONS]
            circuits[start : start + len(part)] = centroids(table[start : start + len(part)], part, most)


def in_words(table: pd.DataFrame, false_discovery_rate: float) -> str:
    """Say how many neurons are polysemantic.

    Parameters
    ----------
    table
        A row per neuron (see `polysemanticity`).
    false_discovery_rate
        As it was set.

    Returns
    -------
    str
        A sentence.
    """
    tested, found = table["tested"], int(table["polysemantic"].sum())
    if not tested.any():
        return f"no neuron was tested: none has the {LEAST_POINTS} references that the test needs"
    rate = f"{100 * false_discovery_rate:g} %"
    text = f"{found} of {int(tested.sum())} neurons are polysemantic at a false discovery rate of {rate}"
    few = len(table) - int(tested.sum())
    return f"{text}; {few} with fewer than {LEAST_POINTS} references are not tested" if few else text
