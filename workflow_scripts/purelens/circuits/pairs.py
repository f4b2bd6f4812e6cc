"""Order the (neuron, reference) pairs of a layer so that each image is forwarded once."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from purelens.circuits.selection import neuron_ids
from purelens.errors import UserError
from purelens.storage.reading import Artifact
from purelens.storage.shards import NO_SHARDS, shard_of


@dataclass(frozen=True)
class Pairs:
    """The pairs of neurons and their reference images.

    Attributes
    ----------
    neurons
        (C,) numbers of the neurons.
    reference_id
        (C, K) image ids, -1 where there is none.
    reference_position
        (C, K) positions of the largest activation.
    """

    neurons: np.ndarray
    reference_id: np.ndarray
    reference_position: np.ndarray

    def by_image(self) -> list[tuple[int, np.ndarray]]:
        """List the unique images, each with the flat indices (into (C, K)) of its pairs; those with most pairs come first.

        Images with many pairs in one batch are attributed in the same backward passes.
        """
        flat = self.reference_id.reshape(-1)
        order = np.argsort(flat, kind="stable")
        order = order[flat[order] >= 0]
        images, starts = np.unique(flat[order], return_index=True)
        groups = list(zip(images.tolist(), np.split(order, starts[1:]), strict=True)) if len(order) else []
        return sorted(groups, key=lambda group: (-len(group[1]), group[0]))


@dataclass(frozen=True)
class Round:
    """One backward pass: at most one pair for each image of a batch.

    Attributes
    ----------
    row
        (r,) positions of the images in the batch.
    pair
        (r,) flat indices of their pairs into (C, K).
    """

    row: np.ndarray
    pair: np.ndarray


def rounds(groups: list[tuple[int, np.ndarray]]) -> Iterator[Round]:
    """Divide the pairs of a batch of images among backward passes."""
    for number in range(max((len(pairs) for _, pairs in groups), default=0)):
        rows = [row for row, (_, pairs) in enumerate(groups) if len(pairs) > number]
        yield Round(np.array(rows), np.array([groups[row][1][number] for row in rows]))


def refuse_dead(reference_id: np.ndarray) -> None:
    """Refuse references (C, K) of which there is none.

    Raises
    ------
    UserError
        If all are -1.
    """
    if (reference_id < 0).all():
        raise UserError("no selected neuron has any reference: all of them are dead; select others")


def select_pairs(activations: Artifact, neurons: str | list[int | str], layer: str, shard: str = NO_SHARDS) -> Pairs:
    """Read the pairs of some neurons from an artifact of the rule ``activations``.

    Parameters
    ----------
    activations
        The artifact.
    neurons
        ``all``, or numbers and ranges.
    layer
        Name of the layer, for messages.
    shard
        Which shard of the neurons, such as ``2/4``.

    Returns
    -------
    Pairs
        Neurons and their references, in the order of the neurons.
    """
    ids = np.array(neuron_ids(neurons, len(activations["neuron"]), layer), dtype=np.int64)
    reference_id = activations["reference_id"][ids]
    refuse_dead(reference_id)
    rows = shard_of(np.arange(len(ids)), shard)
    return Pairs(ids[rows], reference_id[rows], activations["reference_position"][ids[rows]])
