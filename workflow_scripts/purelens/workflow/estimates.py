"""Estimate the size, memory and time of jobs, for the plan and for the resources that a cluster is asked for.

Sizes of artifacts follow from their shapes. Memory and time are upper bounds, from measurements on two CPU cores; a job
that needs more is retried with more by the cluster's profile, and resumes where it stopped.
"""

import csv
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from purelens.config.planted import MOST_VECTORS

MEGABYTE = 2**20
IMPORTS_MB = {"torch": 900, "plain": 400}
"""Memory of a job before it computes anything, by what it imports, in megabytes."""

USES_TORCH = (
    "model",
    "activations",
    "relevances",
    "planted",
    "dictionaries",
    "selectivity",
    "patches",
    "embeddings",
    "image_embeddings",
    "concepts",
    "assignments",
    "ablate",
    "network_dissection",
    "effects",
    "directions",
    "texts",
    "classes",
    "words",
    "replacements",
    "discovery",
    "segmentation",
    "heatmaps",
    "attacks",
    "attack_images",
    "world_cnn",
    "world_clip",
)
AT_224_PIXELS = {
    "model": 600,
    "activations": 900,
    "relevances": 1600,
    "planted": 1600,
    "dictionaries": 900,
    "selectivity": 900,
    "patches": 2600,
    "embeddings": 1600,
    "image_embeddings": 1600,
    "concepts": 1600,
    "assignments": 1600,
    "ablate": 900,
    "network_dissection": 2600,
    "effects": 2200,
    "directions": 2000,
    "texts": 1600,
    "classes": 1600,
    "words": 1600,
    "replacements": 1600,
    "discovery": 1600,
    "segmentation": 1600,
    "heatmaps": 1600,
    "attacks": 900,
    "attack_images": 1600,
}
"""Memory of a batch of images of 224 x 224 pixels, in megabytes."""

SECONDS_EACH = {
    "dataset": 0.02,
    "activations": 0.2,
    "relevances": 0.2,
    "planted": 0.2,
    "planted_scores": 0.002,
    "dictionaries": 0.4,
    "selectivity": 6.0,
    "monosemanticity": 0.005,
    "patches": 0.6,
    "embeddings": 0.2,
    "projections": 0.002,
    "polysemanticity": 0.002,
    "virtual_neurons": 0.002,
    "image_embeddings": 0.2,
    "assignments": 1.0,
    "ablate": 4.0,
    "network_dissection": 0.5,
    "effects": 0.4,
    "directions": 0.01,
    "words": 0.01,
    "replacements": 0.3,
    "discovery": 0.3,
    "segmentation": 0.5,
    "heatmaps": 0.3,
}
"""Time of an image or of a (neuron, reference) pair of 224 x 224 pixels on two cores."""

OVER_IMAGES = (
    "dataset",
    "activations",
    "dictionaries",
    "image_embeddings",
    "assignments",
    "ablate",
    "network_dissection",
    "effects",
    "replacements",
    "discovery",
    "segmentation",
    "heatmaps",
)
"""Rules whose time grows with the images; that of all others grows with the pairs."""

SHORTEST_MINUTES = 10

COPIES_OF_VECTORS = 5
"""While a dictionary is learned: the activation vectors, what is left of them, and gradients."""


@dataclass(frozen=True)
class Sizes:
    """The shapes that decide what a job needs.

    Attributes
    ----------
    images, side
        N, and the side of an image in pixels.
    neurons, selected
        Neurons of the layer, and those studied.
    references
        K.
    lower_neurons
        Neurons of all lower layers.
    joint
        1 if neurons are split by circuits and activations together, else 0.
    heat_size, components, latents
        Side of a stored heatmap; length of an embedding; latents of a dictionary.
    real_bytes
        Bytes of a number in a large table.
    n_clusters, methods
        How many numbers of virtual neurons, and methods that split into each.
    heads, words
        Attention heads above a CLIP's neurons, and words of each neuron.
    shards
        Jobs that share the work.
    """

    images: int = 0
    side: int = 224
    neurons: int = 0
    selected: int = 0
    references: int = 0
    lower_neurons: int = 0
    joint: int = 0
    heat_size: int = 20
    components: int = 768
    latents: int = 128
    n_clusters: int = 4
    real_bytes: int = 4
    methods: int = 5
    heads: int = 0
    words: int = 0
    shards: int = 1

    @property
    def pairs(self) -> int:
        """(neuron, reference) pairs."""
        return self.selected * self.references


BYTES: dict[str, Callable[[Sizes], int]] = {
    "dataset": lambda s: s.images * (3 * s.side**2 + 100),
    "activations": lambda s: s.images * s.neurons * 2 * s.real_bytes + s.neurons * s.references * 12,
    "relevances": lambda s: s.pairs * (s.real_bytes * (s.lower_neurons + s.joint * s.neurons) + 4),
    "patches": lambda s: s.pairs * (s.heat_size**2 + 16),
    "embeddings": lambda s: s.pairs * (s.real_bytes * s.components + 4),
    "projections": lambda s: s.pairs * 12,
    "dictionaries": lambda s: 4 * s.latents * (s.images * s.real_bytes + 4 * s.neurons + 2 * s.references),
    "polysemanticity": lambda s: s.pairs + 5 * s.real_bytes * s.selected * s.lower_neurons,
    "image_embeddings": lambda s: s.images * s.real_bytes * s.components,
    "effects": lambda s: (
        s.images * (s.heads * s.neurons * s.real_bytes + 8 * s.components) + 4 * s.heads * s.neurons * s.components
    ),
    "directions": lambda s: s.neurons * (4 * s.components * (2 + s.n_clusters) + 13 * s.references),
    "words": lambda s: s.neurons * (8 * s.words * (1 + s.n_clusters) + 4 * s.components),
    "virtual_neurons": lambda s: s.n_clusters * (s.methods * s.pairs + 5 * s.real_bytes * s.selected * s.lower_neurons),
}


def artifact_bytes(rule: str, sizes: Sizes) -> int | None:
    """Estimate the size of what a job makes, in bytes; None where it is unknown."""
    return BYTES[rule](sizes) // sizes.shards if rule in BYTES else None


def memory_mb(rule: str, sizes: Sizes) -> int:
    """Estimate the memory of a job, in megabytes."""
    base = IMPORTS_MB["torch" if rule in USES_TORCH else "plain"]
    batch = AT_224_PIXELS.get(rule, 300) * min(1.0, max(sizes.side / 224, 0.3) ** 2)
    # a slab of neurons; views of all lower layers and of the layer are read together
    table = (
        max(artifact_bytes("relevances", sizes) or 0, 0) / max(sizes.selected, 1) * 64 * (1 + sizes.joint) / MEGABYTE
    )
    if rule == "dictionaries":
        table = COPIES_OF_VECTORS * 4 * MOST_VECTORS * sizes.neurons / MEGABYTE
    is_plain = rule not in USES_TORCH or rule == "dictionaries"
    return 100 * math.ceil((base + batch + (table if is_plain else 0)) / 100)


def minutes(rule: str, sizes: Sizes) -> int:
    """Estimate the time that a job may take, in minutes."""
    items = sizes.images if rule in OVER_IMAGES else sizes.pairs
    seconds = SECONDS_EACH.get(rule, 0.0) * items * (sizes.side / 224) ** 2 / sizes.shards
    return max(SHORTEST_MINUTES, math.ceil(seconds / 60))


def measured_seconds(benchmark: str | Path) -> float | None:
    """Read the wall time of the last run of a job from its benchmark file, in seconds; None without one."""
    try:
        with Path(benchmark).open(newline="", encoding="utf-8") as file:
            return float(next(csv.DictReader(file, delimiter="\t"))["s"])
    except (OSError, StopIteration, KeyError, ValueError, TypeError):
        return None
