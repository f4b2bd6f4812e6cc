"""The rule ``explain``: explain every neuron by a short sum of concepts, by several methods."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from purelens.circuits.selection import neuron_ids
from purelens.data.splits import TEST, TRAIN, VALIDATION
from purelens.data.vocabulary import read_imported
from purelens.errors import UserError, listed
from purelens.explanations.dissection import N_IMAGES, concept_shares, log_likelihood, soft_wpmi
from purelens.explanations.methods import DISSECT, IMPORTED, LINEAR, NETWORK_DISSECTION
from purelens.explanations.moments import Moments, concept_moments, with_activations
from purelens.explanations.ranking import rank_concepts, ranked
from purelens.explanations.selection import Covariances, Explanation, select
from purelens.explanations.table import ConceptTable, open_concepts
from purelens.explanations.units import WHOLE_NEURON, Units, open_units
from purelens.progress import Progress
from purelens.storage.artifacts import create
from purelens.storage.provenance import DEFAULT_EXECUTION, Execution, Provenance
from purelens.storage.reading import read, strings

logger = logging.getLogger("purelens")

MIN_IOU = 0.04
"""Below it Network Dissection has no explanation, as published."""

SLAB_IMAGES = 1024
SLAB_NEURONS = 32
MIN_VARIANCE = 1e-12


@dataclass(frozen=True)
class Search:
    """Settings of the search for linear explanations.

    Attributes
    ----------
    l1, l1_ratio
        Penalty of the elastic net that ranks concepts (see `purelens.explanations.ranking`).
    length, width, tolerance
        Settings of the greedy search (see `purelens.explanations.selection`).
    inhibitory
        Whether strong negative weights rank as high as positive ones.
    """

    l1: float = 0.05
    l1_ratio: float = 0.99
    length: int = 10
    width: int = 10
    tolerance: float = 0.02
    inhibitory: bool = False


DEFAULT_SEARCH = Search()

Explanations = dict[int, Explanation]
"""Explanations by the place of the unit; units without one are left out."""


def explain(
    activations_h5: str,
    concepts: Sequence[str],
    assignments_h5: Sequence[str],
    iou_h5: Sequence[str],
    explanations_h5: str,
    names: Sequence[str],
    neurons: str | list[int | str],
    layer: str,
    imported: Mapping[str, str] | None = None,
    clip_dissect: bool = True,
    search: Search = DEFAULT_SEARCH,
    execution: Execution = DEFAULT_EXECUTION,
) -> None:
    """Explain neurons and virtual neurons.

    Parameters
    ----------
    activations_h5, concepts, assignments_h5, iou_h5
        Artifacts of the rules ``activations``, ``concepts`` (one for each concept set), and, none or one each,
        ``assignments`` and ``network_dissection``.
    explanations_h5
        The artifact.
    names
        Names of the concept sets.
    neurons, layer
        Neurons that are studied, and the name of their layer.
    imported
        Tables of explanations by other programs, by name.
    clip_dissect
        Also explain by CLIP-Dissect, with each set of texts.
    search
        Settings of the search for linear explanations.
    execution
        Provenance record.

    Notes
    -----
    Oikarinen & Weng 2024, section 3, with closed-form fits: the moments of all images are kept, and no image is
    looked at twice. Test images take no part.
    """
    vocabulary = Vocabulary()
    assigned = assignments_h5[0] if assignments_h5 else None
    with open_units(activations_h5, assigned, _selected(activations_h5, neurons, layer)) as units:
        methods: dict[str, Explanations] = {}
        for name, path in zip(names, concepts, strict=True):
            with open_concepts(path) as table:
                linear = explain_linearly(units, table, search, name)
                methods[LINEAR + name] = vocabulary.renumbered(linear, table.names)
                if clip_dissect and table.of_texts:
                    methods[DISSECT + name] = vocabulary.renumbered(dissect(units, table), table.names)
        for path in iou_h5:
            methods[NETWORK_DISSECTION] = _best_overlaps(path, units, vocabulary)
        for name, path in (imported or {}).items():
            methods[IMPORTED + name] = _imported(path, units, vocabulary, layer)
        _write(explanations_h5, units, methods, vocabulary, search.length, execution.provenance)


def _selected(activations_h5: str, neurons: str | list[int | str], layer: str) -> np.ndarray:
    with open_units(activations_h5, None) as units:
        return np.array(neuron_ids(neurons, len(units), layer))


class Vocabulary:
    """The names that occur in explanations, numbered as they come."""

    def __init__(self) -> None:
        self._number: dict[str, int] = {}

    @property
    def names(self) -> list[str]:
        """Names in the order of their numbers."""
        return list(self._number)

    def numbers(self, names: Sequence[str]) -> np.ndarray:
        """Look up the numbers of names; new names get new ones."""
        return np.array([self._number.setdefault(name, len(self._number)) for name in names], dtype=int)

    def renumbered(self, explanations: Explanations, names: Sequence[str]) -> Explanations:
        """Replace places in a list of names by numbers of this vocabulary."""
        return {
            unit: Explanation(self.numbers([names[c] for c in e.concepts]), e.weights, e.intercept, e.correlation)
            for unit, e in explanations.items()
        }


def explain_linearly(units: Units, table: ConceptTable, search: Search, name: str) -> Explanations:
    """Fit a short sum of concepts to every unit.

    Parameters
    ----------
    units
        The units.
    table
        The concept set; concepts that do not pass its filter are left out.
    search
        Settings of the search.
    name
        Name of the concept set, for messages.

    Returns
    -------
    dict
        Explanation of each unit that has one, by its place.
    """
    kept = np.flatnonzero(table.kept)
    images = {split: np.flatnonzero(table.split == split) for split in (TRAIN, VALIDATION)}
    if not len(kept) or min(map(len, images.values())) < 2:
        logger.warning(
            "concepts %s: no explanations: %d concepts are kept, %d images to fit on, %d to choose concepts on (2 at least)",
            name, len(kept), len(images[TRAIN]), len(images[VALIDATION]),
        )  # fmt: skip
        return {}
    of_concepts = {
        split: concept_moments((table.probabilities(i)[:, kept] for i in _slabs(ids)), len(kept))
        for split, ids in images.items()
    }
    explanations: Explanations = {}
    with Progress(len(units), f"explanations by {name}", "neurons") as progress:
        for block in units.blocks():
            n_units = block.stop - block.start
            train, validation = (
                with_activations(of_concepts[split], _both(table, units, block, images[split], kept), n_units)
                for split in (TRAIN, VALIDATION)
            )
            for row in range(n_units):
                e = _explain_one(train, validation, row, search)
                if e is not None:
                    explanations[block.start + row] = Explanation(
                        kept[e.concepts], e.weights, e.intercept, e.correlation
                    )
                progress.advance(1)
    missing = sorted({int(units.neuron[unit]) for unit in range(len(units)) if unit not in explanations})
    if missing:
        logger.warning(
            "concepts %s: %d neurons are constant or fit no concept: %s", name, len(missing), listed(missing)
        )
    return explanations


def _slabs(images: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(images), SLAB_IMAGES):
        yield images[start : start + SLAB_IMAGES]


def _both(
    table: ConceptTable, units: Units, block: slice, images: np.ndarray, kept: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for slab in _slabs(images):
        yield table.probabilities(slab)[:, kept], units.activations(block, slab)


def _explain_one(train: Moments, validation: Moments, row: int, search: Search) -> Explanation | None:
    """Explain one unit; None if it is constant or no concept predicts it."""
    if min(train.variance[row], validation.variance[row]) <= MIN_VARIANCE * train.mean_y[row] ** 2:
        return None
    varying = np.flatnonzero(np.diag(train.gram) > MIN_VARIANCE)
    gram = train.gram[np.ix_(varying, varying)] if len(varying) < len(train.gram) else train.gram
    weights, marginal = rank_concepts(
        gram, train.cross[row, varying], train.variance[row], train.n, search.l1, search.l1_ratio
    )
    order = varying[ranked(weights, marginal, search.inhibitory)]
    of_train, of_validation = (
        Covariances(m.gram, m.cross[row], m.variance[row], m.mean, m.mean_y[row]) for m in (train, validation)
    )
    return select(of_train, of_validation, order, search.length, search.width, search.tolerance)


def dissect(units: Units, table: ConceptTable) -> Explanations:
    """Explain every neuron that is not constant by one concept, by CLIP-Dissect on the training and validation images.

    Parameters
    ----------
    units
        The units; virtual neurons are left out.
    table
        A set of texts.

    Returns
    -------
    dict
        Explanation of each neuron, by its place.
    """
    images = np.flatnonzero(table.split != TEST)
    best_images = _best_images(units, images, min(N_IMAGES, len(images)))
    alive = list(best_images)
    if not alive:
        return {}

    def likelihoods() -> Iterator[np.ndarray]:
        for start in range(0, len(alive), SLAB_NEURONS):
            rows = np.stack([best_images[unit] for unit in alive[start : start + SLAB_NEURONS]])
            unique, inverse = np.unique(rows, return_inverse=True)
            shares = concept_shares(table.cosines(unique))
            yield np.stack([log_likelihood(shares[of_unit][None])[0] for of_unit in inverse.reshape(rows.shape)])

    best, score = soft_wpmi(likelihoods, len(alive))
    return {
        unit: Explanation(np.array([concept]), np.ones(1), 0.0, float("nan"))
        for unit, concept, value in zip(alive, best.tolist(), score.tolist(), strict=True)
        if np.isfinite(value)
    }


def _best_images(units: Units, images: np.ndarray, n_best: int) -> dict[int, np.ndarray]:
    """Find the images (n,) with the largest mean activation of each neuron that is not constant; ties go by id."""
    best = {}
    for block in units.blocks():
        values = np.concatenate([units.activations(block, slab) for slab in _slabs(images)])
        order = np.argsort(-values, axis=0, kind="stable")[:n_best]
        for column in np.flatnonzero((np.ptp(values, axis=0) > 0) & (units.virtual_neuron[block] == WHOLE_NEURON)):
            best[block.start + int(column)] = images[order[:, column]]
    return best


def _best_overlaps(path: str, units: Units, vocabulary: Vocabulary) -> Explanations:
    """Explain each neuron by the concept with the largest intersection over union, if that is large enough."""
    with read(path, "iou") as file:
        iou, names = file["iou"][...], strings(file["concept_label"])
    explanations: Explanations = {}
    for unit in np.flatnonzero(units.virtual_neuron == WHOLE_NEURON).tolist() if names else []:
        best = int(iou[units.neuron[unit]].argmax())
        if iou[units.neuron[unit], best] >= MIN_IOU:
            explanations[unit] = Explanation(vocabulary.numbers([names[best]]), np.ones(1), 0.0, float("nan"))
    return explanations


def _imported(path: str, units: Units, vocabulary: Vocabulary, layer: str) -> Explanations:
    given = read_imported(path)
    whole = np.flatnonzero(units.virtual_neuron == WHOLE_NEURON).tolist()
    place = {int(units.neuron[unit]): unit for unit in whole}
    unknown = sorted(set(given) - set(place))
    if unknown:
        raise UserError(f"explanations: {path}: neurons {listed(unknown)} are not among those studied of layer {layer}")
    return {
        place[neuron]: Explanation(vocabulary.numbers(e.names), e.weights, 0.0, float("nan"))
        for neuron, e in given.items()
    }


def _write(
    path: str,
    units: Units,
    methods: Mapping[str, Explanations],
    vocabulary: Vocabulary,
    length: int,
    provenance: Provenance,
) -> None:
    longest = max([length, *(len(e.concepts) for of_method in methods.values() for e in of_method.values())])
    shape = (len(methods), len(units))
    concept, weight = np.full((*shape, longest), -1), np.zeros((*shape, longest))
    intercept, correlation = np.full(shape, np.nan), np.full(shape, np.nan)
    for number, of_method in enumerate(methods.values()):
        for unit, e in of_method.items():
            concept[number, unit, : len(e.concepts)], weight[number, unit, : len(e.concepts)] = e.concepts, e.weights
            intercept[number, unit], correlation[number, unit] = e.intercept, e.correlation
    with create(path, "explanations", provenance) as out:
        for dim, size in (("method_number", len(methods)), ("unit", len(units)), ("slot", longest)):
            out.coordinate(dim, size)
        out.coordinate("concept", len(vocabulary.names))
        out.variable("method", data=list(methods))
        out.variable("concept_label", data=vocabulary.names)
        out.variable("unit_neuron", data=units.neuron)
        out.variable("unit_virtual_neuron", data=units.virtual_neuron)
        out.variable("concept_number", data=concept)
        out.variable("weight", data=weight)
        out.variable("intercept", data=intercept)
        out.variable("correlation", data=correlation)
