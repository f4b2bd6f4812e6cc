"""The rule ``explain``: a short sum of concepts for every neuron, by several methods."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from purelens.circuits.selection import neuron_ids
from purelens.data.splits import TEST, TRAIN, VALIDATION
from purelens.data.vocabulary import read_elsewhere
from purelens.errors import UserError, listed
from purelens.explanations.dissection import N_IMAGES, concept_shares, log_likelihood, soft_wpmi
from purelens.explanations.methods import DISSECT, ELSEWHERE, LINEAR, NETWORK_DISSECTION
from purelens.explanations.moments import Moments, concept_moments, with_activations
from purelens.explanations.ranking import rank_concepts, ranked
from purelens.explanations.selection import Covariances, Explanation, select
from purelens.explanations.table import ConceptTable, open_concepts
from purelens.explanations.units import WHOLE, Units, open_units
from purelens.progress import Progress
from purelens.storage.artifacts import create, read, strings
from purelens.storage.provenance import Provenance

logger = logging.getLogger("purelens")

LEAST_IOU = 0.04
"""Below it Network Dissection has no explanation, as published."""

SLAB_IMAGES = 1024
SLAB_NEURONS = 32
LEAST_VARIANCE = 1e-12


@dataclass(frozen=True)
class Search:
    """How linear explanations are looked for (see `purelens.config.explain.Explain`)."""

    l1: float
    l1_ratio: float
    length: int
    width: int
    tolerance: float
    inhibitory: bool


Found = dict[int, Explanation]
"""Explanations by the place of the unit; units without one are left out."""


def explain(
    activations_h5: str,
    concepts: Sequence[str],
    gates_h5: Sequence[str],
    iou_h5: Sequence[str],
    explanations_h5: str,
    names: Sequence[str],
    neurons: str | list[int | str],
    layer: str,
    elsewhere: Mapping[str, str] | None = None,
    clip_dissect: bool = True,
    l1: float = 0.05,
    l1_ratio: float = 0.99,
    length: int = 10,
    width: int = 10,
    tolerance: float = 0.02,
    inhibitory: bool = False,
    provenance: Provenance | None = None,
) -> None:
    """Explain neurons and virtual neurons.

    Parameters
    ----------
    activations_h5, concepts, gates_h5, iou_h5
        Artifacts of the rules ``activations``, ``concepts`` (one for each set), and, none or one, ``gates`` and
        ``network_dissection``.
    explanations_h5
        The artifact.
    names
        Of the sets of concepts.
    neurons, layer
        Which neurons of the layer are studied.
    elsewhere
        Tables of explanations that were made elsewhere, by name.
    clip_dissect
        Also explain by CLIP-Dissect, with each set of texts.
    l1, l1_ratio, length, width, tolerance, inhibitory
        See `purelens.explanations.ranking` and `purelens.explanations.selection`.
    provenance
        What the artifact is made from.

    Notes
    -----
    Oikarinen & Weng 2024, section 3, with closed-form fits: of all images the moments are kept, and no image is looked at
    twice. The test images take no part.
    """
    search = Search(l1, l1_ratio, length, width, tolerance, inhibitory)
    vocabulary = Vocabulary()
    with open_units(
        activations_h5, gates_h5[0] if gates_h5 else None, _selected(activations_h5, neurons, layer)
    ) as units:
        methods: dict[str, Found] = {}
        for name, path in zip(names, concepts, strict=True):
            with open_concepts(path) as table:
                found = explain_linearly(units, table, search, name)
                methods[LINEAR + name] = vocabulary.renumbered(found, table.names)
                if clip_dissect and table.of_texts:
                    methods[DISSECT + name] = vocabulary.renumbered(dissect(units, table), table.names)
        for path in iou_h5:
            methods[NETWORK_DISSECTION] = _most_shared(path, units, vocabulary)
        for name, path in (elsewhere or {}).items():
            methods[ELSEWHERE + name] = _from_elsewhere(path, units, vocabulary, layer)
        _write(explanations_h5, units, methods, vocabulary, length, provenance)


def _selected(activations_h5: str, neurons: str | list[int | str], layer: str) -> np.ndarray:
    with open_units(activations_h5, None) as units:
        return np.array(neuron_ids(neurons, len(units), layer))


class Vocabulary:
    """The names that occur in explanations, numbered as they come."""

    def __init__(self) -> None:
        self._number: dict[str, int] = {}

    @property
    def names(self) -> list[str]:
        """In the order of their numbers."""
        return list(self._number)

    def numbers(self, names: Sequence[str]) -> np.ndarray:
        """Numbers of names; new names get new ones."""
        return np.array([self._number.setdefault(name, len(self._number)) for name in names], dtype=int)

    def renumbered(self, found: Found, names: Sequence[str]) -> Found:
        """Explanations whose concepts are numbers of this vocabulary instead of places in a list of names."""
        return {
            unit: Explanation(self.numbers([names[c] for c in e.concepts]), e.weights, e.intercept, e.correlation)
            for unit, e in found.items()
        }


def explain_linearly(units: Units, table: ConceptTable, search: Search, name: str) -> Found:
    """Fit a short sum of the kept concepts to every unit."""
    kept = np.flatnonzero(table.kept)
    parts = {part: np.flatnonzero(table.part == part) for part in (TRAIN, VALIDATION)}
    if not len(kept) or min(map(len, parts.values())) < 2:
        logger.warning(
            "concepts %s: no explanations: %d concepts are kept, %d images to fit on, %d to choose concepts on (2 at least)",
            name,
            len(kept),
            len(parts[TRAIN]),
            len(parts[VALIDATION]),
        )
        return {}
    of_concepts = {
        part: concept_moments((table.probabilities(i)[:, kept] for i in _slabs(images)), len(kept))
        for part, images in parts.items()
    }
    found: Found = {}
    with Progress(len(units), f"explanations by {name}", "neurons") as progress:
        for block in units.blocks():
            train, validation = (
                with_activations(
                    of_concepts[part], _both(table, units, block, parts[part], kept), block.stop - block.start
                )
                for part in (TRAIN, VALIDATION)
            )
            for row in range(block.stop - block.start):
                explanation = _explain_one(train, validation, row, search)
                if explanation is not None:
                    found[block.start + row] = Explanation(
                        kept[explanation.concepts], explanation.weights, explanation.intercept, explanation.correlation
                    )
                progress.advance(1)
    missing = sorted({int(units.neuron[unit]) for unit in range(len(units)) if unit not in found})
    if missing:
        logger.warning(
            "concepts %s: %d neurons are constant or like no concept: %s", name, len(missing), listed(missing)
        )
    return found


def _slabs(images: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(images), SLAB_IMAGES):
        yield images[start : start + SLAB_IMAGES]


def _both(
    table: ConceptTable, units: Units, block: slice, images: np.ndarray, kept: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for slab in _slabs(images):
        yield table.probabilities(slab)[:, kept], units.activations(block, slab)


def _explain_one(train: Moments, validation: Moments, row: int, search: Search) -> Explanation | None:
    """Explain one unit; None if it is constant or no concept tells anything of it."""
    if min(train.variance[row], validation.variance[row]) <= LEAST_VARIANCE * train.mean_y[row] ** 2:
        return None
    varying = np.flatnonzero(np.diag(train.gram) > LEAST_VARIANCE)
    gram = train.gram[np.ix_(varying, varying)] if len(varying) < len(train.gram) else train.gram
    weights, marginal = rank_concepts(
        gram, train.cross[row, varying], train.variance[row], train.n, search.l1, search.l1_ratio
    )
    order = varying[ranked(weights, marginal, search.inhibitory)]
    of_train, of_validation = (
        Covariances(m.gram, m.cross[row], m.variance[row], m.mean, m.mean_y[row]) for m in (train, validation)
    )
    return select(of_train, of_validation, order, search.length, search.width, search.tolerance)


def dissect(units: Units, table: ConceptTable) -> Found:
    """Find the one concept of each neuron that is not constant by soft-WPMI, on the images that are not kept for the test."""
    images = np.flatnonzero(table.part != TEST)
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
    """For each neuron that is not constant the images (n,) with the largest mean activation, best first, ties by number."""
    found = {}
    for block in units.blocks():
        values = np.concatenate([units.activations(block, slab) for slab in _slabs(images)])
        order = np.argsort(-values, axis=0, kind="stable")[:n_best]
        for column in np.flatnonzero((np.ptp(values, axis=0) > 0) & (units.part[block] == WHOLE)):
            found[block.start + int(column)] = images[order[:, column]]
    return found


def _most_shared(path: str, units: Units, vocabulary: Vocabulary) -> Found:
    """The concept of each neuron that shares most of its places, if they share enough."""
    with read(path, "iou") as file:
        iou, names = file["iou"][...], strings(file["concept_label"])
    found: Found = {}
    for unit in np.flatnonzero(units.part == WHOLE).tolist() if names else []:
        best = int(iou[units.neuron[unit]].argmax())
        if iou[units.neuron[unit], best] >= LEAST_IOU:
            found[unit] = Explanation(vocabulary.numbers([names[best]]), np.ones(1), 0.0, float("nan"))
    return found


def _from_elsewhere(path: str, units: Units, vocabulary: Vocabulary, layer: str) -> Found:
    given = read_elsewhere(path)
    place = {int(units.neuron[unit]): unit for unit in range(len(units)) if units.part[unit] == WHOLE}
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
    methods: Mapping[str, Found],
    vocabulary: Vocabulary,
    length: int,
    provenance: Provenance | None,
) -> None:
    longest = max([length, *(len(e.concepts) for found in methods.values() for e in found.values())])
    shape = (len(methods), len(units))
    concept, weight = np.full((*shape, longest), -1), np.zeros((*shape, longest))
    intercept, correlation = np.full(shape, np.nan), np.full(shape, np.nan)
    for number, found in enumerate(methods.values()):
        for unit, e in found.items():
            concept[number, unit, : len(e.concepts)], weight[number, unit, : len(e.concepts)] = e.concepts, e.weights
            intercept[number, unit], correlation[number, unit] = e.intercept, e.correlation
    with create(path, "explanations", provenance) as out:
        for dim, size in (("method_number", len(methods)), ("unit", len(units)), ("slot", longest)):
            out.coordinate(dim, size)
        out.coordinate("concept", len(vocabulary.names))
        texts: dict[str, Callable[[], list[str]]] = {
            "method": lambda: list(methods),
            "concept_label": lambda: vocabulary.names,
        }
        for name, values in texts.items():
            out.variable(name, data=values())
        arrays = {"unit_neuron": units.neuron, "unit_part": units.part, "concept_number": concept, "weight": weight}
        for name, data in (arrays | {"intercept": intercept, "correlation": correlation}).items():
            out.variable(name, data=data)
