"""Read stored effects a block of neurons at a time, never as one table of images, neurons and components."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse

from purelens.data.splits import TEST, split_images
from purelens.storage.reading import Artifact, read

BLOCK_BYTES = 2**29
EFFECTS_BYTES = 2**27
SLAB_BYTES = 2**26


def fitted_images(n_images: int, seed: int) -> np.ndarray:
    """Find the images (N,) bool on which directions are found; the others judge them."""
    return split_images(n_images, seed) != TEST


def neuron_blocks(file: Artifact, images: np.ndarray) -> Iterator[tuple[slice, torch.Tensor]]:
    """Read scaled head scalars of some images, a block of neurons at a time.

    Parameters
    ----------
    file
        The artifact of the rule ``effects``.
    images
        (N,) bool, which I images.

    Yields
    ------
    block : slice
        The neurons.
    scalars : torch.Tensor
        (n, I, J) float32, scale times head scalar.
    """
    scalars = file["head_scalar"]
    n_images, n_heads, n_neurons = scalars.shape
    n_at_a_time = max(1, BLOCK_BYTES // (4 * int(images.sum()) * n_heads))
    scale = file["scale"][...]
    for start in range(0, n_neurons, n_at_a_time):
        block = slice(start, min(start + n_at_a_time, n_neurons))
        values = np.empty((int(images.sum()), n_heads, block.stop - start), dtype=np.float32)
        first = 0
        for rows in _slabs(n_images, 4 * n_heads * n_neurons):
            chosen = images[rows]
            part = slice(first, first + int(chosen.sum()))
            values[part] = scalars[rows][chosen][:, :, block] * scale[rows][chosen][:, None, None]
            first = part.stop
        yield block, torch.from_numpy(values).permute(2, 0, 1)


def _slabs(n_rows: int, row_bytes: int) -> list[slice]:
    step = max(1, SLAB_BYTES // row_bytes)
    return [slice(start, min(start + step, n_rows)) for start in range(0, n_rows, step)]


def few_neurons(n_images: int, n_components: int, n_neurons: int) -> list[slice]:
    """Divide a block of neurons so that their effects (n, I, d) fit in memory.

    Parameters
    ----------
    n_images, n_components
        I and d.
    n_neurons
        Number of neurons of the block.

    Returns
    -------
    list
        Slices of consecutive neurons.
    """
    step = max(1, EFFECTS_BYTES // (4 * n_images * n_components))
    return [slice(start, min(start + step, n_neurons)) for start in range(0, n_neurons, step)]


@dataclass(frozen=True)
class Effect:
    """Centered effects of some neurons on some images.

    Attributes
    ----------
    images
        (i,) image ids.
    neurons
        The n neurons.
    centered
        (i, n, d) effects without their means.
    significant
        (i, n) bool, which are long enough.
    projection
        (i, n) their products with the neurons' directions.
    """

    images: np.ndarray
    neurons: slice
    centered: torch.Tensor
    significant: torch.Tensor
    projection: torch.Tensor


def centered_effects(
    effects: Artifact, directions: Artifact, images: np.ndarray, device: torch.device
) -> Iterator[Effect]:
    """Compute the effects of all neurons on some images, a few images and a few neurons at a time.

    Parameters
    ----------
    effects, directions
        Artifacts of the rules of these names.
    images
        (N,) bool, which images.
    device
        Where to compute.

    Yields
    ------
    Effect
        The effects of some neurons on some images, minus the mean of each neuron.
    """
    scalars, scale, shared = effects["head_scalar"], effects["scale"][...], effects["shared"][...]
    basis, mean, direction, threshold = (
        torch.from_numpy(file[name][...]).to(device)
        for file, name in (
            (effects, "basis"),
            (directions, "mean"),
            (directions, "direction"),
            (directions, "threshold"),
        )
    )
    n_images, n_heads, n_neurons = scalars.shape
    for rows in _slabs(n_images, 4 * n_heads * n_neurons):
        chosen = np.flatnonzero(images[rows])
        if not len(chosen):
            continue
        ids = chosen + rows.start
        weights = torch.from_numpy(scalars[rows][chosen] * scale[ids][:, None, None]).to(device)
        constant = torch.from_numpy(shared[ids]).to(device)
        for few in few_neurons(len(ids), mean.shape[1], n_neurons):
            centered = torch.einsum("ijn,jnd->ind", weights[:, :, few], basis[:, few])
            centered += constant[:, None] - mean[few]
            length = torch.linalg.vector_norm(centered, dim=2)
            projection = torch.einsum("ind,nd->in", centered, direction[few])
            yield Effect(ids, few, centered, length >= threshold[few], projection)


def directions_of(paths: Sequence[str]) -> np.ndarray:
    """Read the directions (n, d) of the neurons of all blocks, from the artifact of each."""
    directions = []
    for path in paths:
        with read(path, "directions") as file:
            directions.append(file["direction"][...])
    return np.concatenate(directions)


def word_weights(words: Artifact, n_texts: int) -> sparse.csr_array:
    """Read the weights (n, M) of M texts for each neuron from an artifact of the rule ``words``."""
    word, weight = words["word"][...], words["weight"][...]
    rows, ranks = np.nonzero(word >= 0)
    return sparse.csr_array((weight[rows, ranks], (rows, word[rows, ranks])), shape=(len(word), n_texts))
