"""The rule ``discovery``: find the concepts of each image by the neurons of a CLIP that have significant effects on it."""

import logging
from collections.abc import Sequence
from contextlib import ExitStack

import numpy as np
import torch
from scipy import sparse

from purelens.errors import UserError
from purelens.lens.effect_reader import SLAB_BYTES, centered_effects, word_weights
from purelens.networks.batching import choose_device
from purelens.progress import Progress
from purelens.storage.artifacts import Writer, create
from purelens.storage.provenance import DEFAULT_EXECUTION, Execution
from purelens.storage.reading import Artifact, read, strings

logger = logging.getLogger("purelens")

N_WORDS, N_NEURONS = 10, 10
"""Words and neurons that are stored of an image."""


def discovery(
    effects_h5: Sequence[str],
    directions_h5: Sequence[str],
    words_h5: Sequence[str],
    discovery_h5: str,
    blocks: Sequence[int],
    execution: Execution = DEFAULT_EXECUTION,
) -> None:
    """Find the words of the neurons that have significant effects on each image.

    Parameters
    ----------
    effects_h5, directions_h5, words_h5
        Artifacts of each block.
    discovery_h5
        The artifact.
    blocks
        Numbers of the blocks.
    execution
        Device and provenance record.

    Raises
    ------
    UserError
        If the blocks were not described with the same texts.

    Notes
    -----
    Gandelsman et al. 2024, appendix A.5. The score of a word is the sum over the neurons of its weight times the
    projection of the effect on the direction, so a neuron that points away from its words counts against them.
    """
    device = choose_device(execution.device)
    with ExitStack() as stack:
        effects, directions, words = (
            [stack.enter_context(read(path, name)) for path in paths]
            for name, paths in (("effects", effects_h5), ("directions", directions_h5), ("words", words_h5))
        )
        names = strings(words[0]["text"])
        if any(strings(other["text"]) != names for other in words[1:]):
            raise UserError("lens: the blocks were described with different texts; run again")
        projections = sparse.hstack(
            [significant_projections(*files, device) for files in zip(effects, directions, strict=True)], format="csr"
        )
        weights = sparse.vstack([word_weights(file, len(names)) for file in words], format="csr")
        neurons = np.array([(b, n) for b, file in zip(blocks, words, strict=True) for n in range(len(file["neuron"]))])
        with create(discovery_h5, "discovery", execution.provenance, str(device)) as out:
            _write(out, projections, weights, neurons, names)


def significant_projections(effects: Artifact, directions: Artifact, device: torch.device) -> sparse.csr_array:
    """Compute the projections of significant effects on their neurons' directions.

    Parameters
    ----------
    effects, directions
        Artifacts of the rules of these names.
    device
        Where to compute.

    Returns
    -------
    scipy.sparse.csr_array
        (N, n); 0 where the effect is not significant.
    """
    n_images, _, n_neurons = effects["head_scalar"].shape
    every = np.ones(n_images, dtype=bool)
    places, values = [], []
    with Progress(n_images * n_neurons, "significant effects", "effects") as progress:
        for effect in centered_effects(effects, directions, every, device):
            rows, columns = (place.cpu().numpy() for place in effect.significant.nonzero(as_tuple=True))
            places.append((effect.images[rows], columns + effect.neurons.start))
            values.append(effect.projection[effect.significant].cpu().numpy())
            progress.advance(effect.significant.numel())
    rows_and_columns = tuple(np.concatenate(place) for place in zip(*places, strict=True))
    return sparse.csr_array((np.concatenate(values), rows_and_columns), shape=(n_images, n_neurons))


def _write(
    out: Writer, projections: sparse.csr_array, weights: sparse.csr_array, neurons: np.ndarray, names: Sequence[str]
) -> None:
    n_images = projections.shape[0]
    n_words, n_neurons = min(N_WORDS, len(names)), min(N_NEURONS, len(neurons))
    word, score = np.full((n_images, n_words), -1, dtype="i4"), np.zeros((n_images, n_words), dtype="f4")
    neuron = np.full((n_images, n_neurons, 2), -1, dtype="i4")
    projection = np.zeros((n_images, n_neurons), dtype="f4")
    step = max(1, SLAB_BYTES // (4 * max(weights.shape)))
    for start in range(0, n_images, step):
        slab = projections[start : start + step]
        rows = slice(start, start + slab.shape[0])
        word[rows], score[rows] = strongest((slab @ weights).toarray(), n_words, signed=True)
        numbers, projection[rows] = strongest(slab.toarray(), n_neurons, signed=False)
        neuron[rows] = np.where(numbers[..., None] >= 0, neurons[numbers], -1)
    out.coordinate("image", n_images)
    out.coordinate("rank", n_words)
    out.coordinate("neuron_rank", n_neurons)
    out.coordinate("place", 2)
    out.coordinate("text_number", len(names))
    n_active = np.diff(projections.indptr).astype("i4")
    variables = {"text": names, "word": word, "score": score, "neuron": neuron, "projection": projection}
    for name, values in (variables | {"n_active": n_active}).items():
        out.variable(name, data=values)
    logger.info("%.1f neurons have significant effects on an image (median)", np.median(n_active))
    if (n_active == 0).any():
        logger.info("%d images have none, and so no concepts", int((n_active == 0).sum()))


def strongest(scores: np.ndarray, n: int, signed: bool) -> tuple[np.ndarray, np.ndarray]:
    """Find the largest scores of each row.

    Parameters
    ----------
    scores
        (r, M).
    n
        Number of scores.
    signed
        Whether the largest are meant, or the largest in size.

    Returns
    -------
    places : numpy.ndarray
        (r, n) int32, -1 where there is no more.
    values : numpy.ndarray
        (r, n) float32 scores.
    """
    sizes = scores if signed else np.abs(scores)
    order = np.argsort(-sizes, axis=1, kind="stable")[:, :n]
    values = np.take_along_axis(scores, order, axis=1)
    exists = values > 0 if signed else values != 0
    return np.where(exists, order, -1).astype("i4"), np.where(exists, values, 0).astype("f4")
