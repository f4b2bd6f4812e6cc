"""The rule ``discovery``: the concepts that the activated neurons of a CLIP find in each image."""

import logging
from collections.abc import Sequence
from contextlib import ExitStack

import h5py
import numpy as np
import torch
from scipy import sparse

from purelens.errors import UserError
from purelens.lens.effect_reader import SLAB_BYTES, centered_effects, word_weights
from purelens.networks.batching import choose_device
from purelens.progress import Progress
from purelens.storage.artifacts import Writer, create, read, strings
from purelens.storage.provenance import Provenance

logger = logging.getLogger("purelens")

N_WORDS, N_NEURONS = 10, 10


def discovery(
    effects_h5: Sequence[str],
    directions_h5: Sequence[str],
    words_h5: Sequence[str],
    discovery_h5: str,
    blocks: Sequence[int],
    device: str = "auto",
    provenance: Provenance | None = None,
) -> None:
    """Find the words of the neurons that are significantly active on each image.

    Parameters
    ----------
    effects_h5, directions_h5, words_h5
        Artifacts of each block.
    discovery_h5
        The artifact.
    blocks
        Numbers of the blocks.
    device
        See `purelens.networks.batching`.
    provenance
        What the artifact is made from.

    Raises
    ------
    UserError
        If the blocks were not described with the same texts.

    Notes
    -----
    Gandelsman et al. 2024, appendix A.5. The score of a word is the sum over the activated neurons of its weight times the
    product of effect and direction, so a neuron that points away from its words counts against them.
    """
    where = choose_device(device)
    with ExitStack() as stack:
        effects, directions, words = (
            [stack.enter_context(read(path, name)) for path in paths]
            for name, paths in (("effects", effects_h5), ("directions", directions_h5), ("words", words_h5))
        )
        names = strings(words[0]["text"])
        if any(strings(other["text"]) != names for other in words[1:]):
            raise UserError("lens: the blocks were described with different texts; run again")
        activated = sparse.hstack(
            [active_neurons(*files, where) for files in zip(effects, directions, strict=True)], format="csr"
        )
        of_words = sparse.vstack([word_weights(file, len(names)) for file in words], format="csr")
        neurons = np.array([(b, n) for b, file in zip(blocks, words, strict=True) for n in range(len(file["neuron"]))])
        with create(discovery_h5, "discovery", provenance, str(where)) as out:
            _write(out, activated, of_words, neurons, names)


def active_neurons(effects: h5py.File, directions: h5py.File, device: torch.device) -> sparse.csr_array:
    """How far each significantly active neuron moves each image along its direction: (N, n), 0 elsewhere."""
    n_images, _, n_neurons = effects["head_scalar"].shape
    every = np.ones(n_images, dtype=bool)
    places, values = [], []
    with Progress(n_images * n_neurons, "activated neurons", "effects") as progress:
        for part in centered_effects(effects, directions, every, device):
            rows, columns = (place.cpu().numpy() for place in part.significant.nonzero(as_tuple=True))
            places.append((part.images[rows], columns + part.neurons.start))
            values.append(part.along[part.significant].cpu().numpy())
            progress.advance(part.significant.numel())
    where = tuple(np.concatenate(place) for place in zip(*places, strict=True))
    return sparse.csr_array((np.concatenate(values), where), shape=(n_images, n_neurons))


def _write(
    out: Writer, activated: sparse.csr_array, of_words: sparse.csr_array, neurons: np.ndarray, names: Sequence[str]
) -> None:
    n_images = activated.shape[0]
    n_words, n_neurons = min(N_WORDS, len(names)), min(N_NEURONS, len(neurons))
    word, score = np.full((n_images, n_words), -1, dtype="i4"), np.zeros((n_images, n_words), dtype="f4")
    neuron, along = np.full((n_images, n_neurons, 2), -1, dtype="i4"), np.zeros((n_images, n_neurons), dtype="f4")
    step = max(1, SLAB_BYTES // (4 * max(of_words.shape)))
    for start in range(0, n_images, step):
        slab = activated[start : start + step]
        rows = slice(start, start + slab.shape[0])
        word[rows], score[rows] = strongest((slab @ of_words).toarray(), n_words, signed=True)
        numbers, along[rows] = strongest(slab.toarray(), n_neurons, signed=False)
        neuron[rows] = np.where(numbers[..., None] >= 0, neurons[numbers], -1)
    out.coordinate("image", n_images)
    out.coordinate("rank", n_words)
    out.coordinate("neuron_rank", n_neurons)
    out.coordinate("place", 2)
    out.coordinate("text_number", len(names))
    n_active = np.diff(activated.indptr).astype("i4")
    variables = {"text": names, "word": word, "score": score, "neuron": neuron, "along": along, "n_active": n_active}
    for name, values in variables.items():
        out.variable(name, data=values)
    logger.info("%.1f neurons are activated on an image (median)", np.median(n_active))
    if (n_active == 0).any():
        logger.info("on %d images none is: they have no concepts", int((n_active == 0).sum()))


def strongest(scores: np.ndarray, n: int, signed: bool) -> tuple[np.ndarray, np.ndarray]:
    """The largest scores of each row (r, M), or the largest in size: places (r, n), -1 where there is no more, and scores."""
    sizes = scores if signed else np.abs(scores)
    order = np.argsort(-sizes, axis=1, kind="stable")[:, :n]
    found = np.take_along_axis(scores, order, axis=1)
    there = found > 0 if signed else found != 0
    return np.where(there, order, -1).astype("i4"), np.where(there, found, 0).astype("f4")
