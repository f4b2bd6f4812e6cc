"""Choose the sets of images of planted neurons: sums of neurons, whose references are those of the summands.

Neurons with references in common are not summed. A neuron may mean several things itself; so each kind of sum exists twice,
with all references of the summands, and with those of the class alone that each summand responds to most (one concept). Neurons
of one concept alone are the controls: nothing is to be found in them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

EQUAL, UNEQUAL, MAGNITUDES, TRIPLE, CONTROL = "equal", "unequal", "magnitudes", "triple", "control"

SHARES: Mapping[str, tuple[float, ...]] = {
    EQUAL: (0.5, 0.5),
    UNEQUAL: (0.8, 0.2),
    MAGNITUDES: (0.5, 0.5),
    TRIPLE: (1 / 3, 1 / 3, 1 / 3),
    CONTROL: (1.0,),
}
"""Shares of the summands in the references."""

WEIGHTS: Mapping[str, tuple[float, ...]] = {MAGNITUDES: (1.0, 0.5)}
"""Weights of the summands, each divided by its largest activation first; 1 where nothing is said."""

CONTROL_SHARE = 0.6
"""Images that a control has at least, as a share of the references of a neuron."""

DEEPER = 6
"""How many times the references of a neuron are searched for images of its class."""

TRIES_EACH = 200


@dataclass(frozen=True)
class PlantedSet:
    """A planted neuron and its references.

    Attributes
    ----------
    kind
        See ``SHARES``.
    one_concept
        Whether each summand has references of one class alone.
    parents
        The neurons that are summed.
    overlap
        Common share of the classes of the references of two parents, the largest of all pairs; NaN where one has no labels.
    image_id, truth
        (n,) images, and which parent each comes from.
    """

    kind: str
    one_concept: bool
    parents: tuple[int, ...]
    overlap: float
    image_id: np.ndarray
    truth: np.ndarray

    @property
    def weights(self) -> tuple[float, ...]:
        """Weights of the parents."""
        return WEIGHTS.get(self.kind, (1.0,) * len(self.parents))


@dataclass(frozen=True)
class Rankings:
    """The images of neurons, those that activate each most first.

    Attributes
    ----------
    n_references
        K.
    all_classes, one_class
        Images of each neuron, of all classes and of its most frequent class, by its number.
    main_class
        That class, of the neurons that have references with a label.
    histogram
        (n_classes,) classes of the first K / 2 images of each neuron as shares, of those with a label; NaN where none has one.
    """

    n_references: int
    all_classes: Mapping[int, np.ndarray]
    one_class: Mapping[int, np.ndarray] = field(default_factory=dict)
    main_class: Mapping[int, int] = field(default_factory=dict)
    histogram: Mapping[int, np.ndarray] = field(default_factory=dict)

    def overlap(self, parents: Sequence[int]) -> float:
        """Compute the common share of the classes of two parents, the largest of all pairs; NaN where one has no labels."""
        if not self.histogram:
            return float("nan")
        common = [np.minimum(self.histogram[a], self.histogram[b]).sum() for a, b in combinations(parents, 2)]
        return float(np.max(common, initial=0.0))


def rank(values: Mapping[int, np.ndarray], labels: np.ndarray, n_references: int) -> Rankings:
    """Rank the images of neurons.

    Parameters
    ----------
    values
        (N,) activation of each neuron on all images; images with none above zero do not count.
    labels
        (N,) classes, -1 for none.
    n_references
        K.

    Returns
    -------
    Rankings
        Of the neurons with at least K images.
    """
    orders = {neuron: np.argsort(-v, kind="stable")[: int((v > 0).sum())] for neuron, v in values.items()}
    orders = {neuron: order for neuron, order in orders.items() if len(order) >= n_references}
    if len(np.unique(labels[labels >= 0])) < 2:
        return Rankings(n_references, orders)
    main, one_class, histogram = {}, {}, {}
    for neuron, order in orders.items():
        histogram[neuron] = _shares(labels[order[: n_references // 2]], labels.max() + 1)
        counts = np.bincount(_known(labels[order[:n_references]]))
        if counts.any():
            main[neuron] = int(counts.argmax())
            deep = order[: DEEPER * n_references]
            one_class[neuron] = deep[labels[deep] == main[neuron]][:n_references]
    return Rankings(n_references, orders, one_class, main, histogram)


def _known(labels: np.ndarray) -> np.ndarray:
    return labels[labels >= 0]


def _shares(labels: np.ndarray, n_classes: int) -> np.ndarray:
    """Compute (n_classes,) shares of classes among the images with a label."""
    counts = np.bincount(_known(labels), minlength=n_classes).astype(np.float64)
    return counts / counts.sum() if counts.any() else np.full(n_classes, np.nan)


def plant(rankings: Rankings, n_pairs: int, n_triples: int, n_controls: int, seed: int) -> list[PlantedSet]:
    """Choose the sets of a layer.

    Parameters
    ----------
    rankings
        The images of the neurons that may be summed.
    n_pairs, n_triples, n_controls
        Number of sets of each kind, as far as there are neurons without common references.
    seed
        Seed of the choice.

    Returns
    -------
    list of PlantedSet
        Pairs, triples and controls.
    """
    rng = np.random.default_rng(seed)
    sets = []
    for one_concept in (False, True) if rankings.main_class else (False,):
        pairs = _tuples(rankings, 2, n_pairs, one_concept, rng)
        for kind in (EQUAL, UNEQUAL, MAGNITUDES):
            sets += [_set(rankings, kind, one_concept, parents) for parents in pairs]
        triples = _tuples(rankings, 3, n_triples, one_concept, rng)
        sets += [_set(rankings, TRIPLE, one_concept, parents) for parents in triples]
    if rankings.main_class:
        least = CONTROL_SHARE * rankings.n_references
        neurons = [neuron for neuron, images in rankings.one_class.items() if len(images) >= least]
        drawn = sorted(rng.permutation(neurons)[:n_controls].tolist())
        sets += [_set(rankings, CONTROL, True, (neuron,)) for neuron in drawn]
    return [chosen for chosen in sets if chosen is not None]


def _tuples(
    rankings: Rankings, size: int, n: int, one_concept: bool, rng: np.random.Generator
) -> list[tuple[int, ...]]:
    """Draw different tuples of neurons without common references, and of different classes where each has one."""
    found: list[tuple[int, ...]] = []
    source = rankings.one_class if one_concept else rankings.all_classes
    neurons = list(source)
    for _ in range(TRIES_EACH * n if len(neurons) >= size else 0):
        if len(found) == n:
            break
        parents = tuple(sorted(rng.choice(neurons, size, replace=False).tolist()))
        if parents in found:
            continue
        if one_concept and len({rankings.main_class[parent] for parent in parents}) < size:
            continue
        if _set(rankings, EQUAL if size == 2 else TRIPLE, one_concept, parents) is not None:
            found.append(parents)
    return found


def _set(rankings: Rankings, kind: str, one_concept: bool, parents: tuple[int, ...]) -> PlantedSet | None:
    """Put the references of parents together; None where they have some in common, or too few."""
    source = rankings.one_class if one_concept else rankings.all_classes
    sizes = [max(1, int(share * rankings.n_references + 1e-9)) for share in SHARES[kind]]
    if sum(sizes) > rankings.n_references:  # one reference each is too many
        return None
    parts = [source[parent][:size] for parent, size in zip(parents, sizes, strict=True)]
    if kind != CONTROL and any(len(part) < size for part, size in zip(parts, sizes, strict=True)):
        return None
    images = np.concatenate(parts)
    if len(np.unique(images)) < len(images):
        return None
    truth = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    return PlantedSet(kind, one_concept, parents, 0.0 if one_concept else rankings.overlap(parents), images, truth)
