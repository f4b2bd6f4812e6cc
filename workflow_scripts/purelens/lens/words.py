"""The rule ``words``: decompose the directions of each neuron into sparse sums of texts."""

import logging
from dataclasses import dataclass, fields

import numpy as np
import torch

from purelens.data.vocabulary import FEWEST_TEXTS
from purelens.errors import UserError
from purelens.lens.pursuit import pursue, unit_atoms
from purelens.networks.batching import choose_device
from purelens.progress import Progress
from purelens.storage.artifacts import create
from purelens.storage.provenance import DEFAULT_EXECUTION, Execution
from purelens.storage.reading import read, strings

logger = logging.getLogger("purelens")

AT_A_TIME = 512
MIN_DIFFERENCE = 1e-6

NO_WORDS = {"word": -1, "weight": 0.0, "cosine_similarity": np.nan}
"""What a direction that does not exist has instead of words."""


@dataclass(frozen=True)
class Described:
    """Vectors (n, d), decomposed into texts.

    Attributes
    ----------
    word, weight
        (n, m) texts, strongest first, -1 and 0 where there are fewer.
    reconstruction
        (n, d) their weighted sums.
    cosine_similarity
        (n,) of the sums and the vectors; NaN without words.
    """

    word: np.ndarray
    weight: np.ndarray
    reconstruction: np.ndarray
    cosine_similarity: np.ndarray


def words(
    directions_h5: str,
    texts_h5: str,
    words_h5: str,
    n_words: int = 32,
    scaling: str = "unit",
    execution: Execution = DEFAULT_EXECUTION,
) -> None:
    """Decompose directions by orthogonal matching pursuit over a pool of texts.

    Parameters
    ----------
    directions_h5, texts_h5
        Artifacts of the rules ``directions`` and ``texts``.
    words_h5
        The artifact.
    n_words
        Most texts of a direction; the whole pool where it is smaller.
    scaling
        See `purelens.lens.pursuit.unit_atoms`.
    execution
        Device and provenance record.

    Raises
    ------
    UserError
        If the pool has fewer than two different texts.

    Notes
    -----
    Gandelsman et al. 2024 decompose directions in the same way; the released program scales the texts otherwise.
    """
    device = choose_device(execution.device)
    with read(texts_h5, "texts") as file:
        pool, names = file["text_embedding"][...], strings(file["text"])
    _check_pool(pool, texts_h5, n_words)
    atoms = unit_atoms(torch.from_numpy(pool).double().to(device), scaling)
    with (
        read(directions_h5, "directions") as file,
        create(words_h5, "words", execution.provenance, str(device)) as out,
    ):
        direction, of_clusters = file["direction"][...], file["cluster_direction"][...]
        n_neurons, n_clusters, n_components = of_clusters.shape
        whole = describe(atoms, direction, n_words)
        split = file["cluster"][...].max(axis=1) > 0
        clusters = _as_one_cluster(whole, n_clusters)
        several = describe(atoms, of_clusters[split].reshape(-1, n_components), n_words)
        for name, value in clusters.items():
            value[split] = getattr(several, name).reshape(-1, *value.shape[1:])
        out.coordinate("neuron", file["neuron"][...])
        out.coordinate("component", n_components)
        out.coordinate("cluster_number", n_clusters)
        out.coordinate("rank", whole.word.shape[1])
        out.coordinate("text_number", len(names))
        out.variable("text", data=names)
        for field in fields(whole):
            out.variable(field.name, data=getattr(whole, field.name))
        for name, value in clusters.items():
            out.variable(f"cluster_{name}", data=value)
        logger.info("%d neurons, %d of them with several directions; cosine of words and direction %.2f (median)",
                    n_neurons, int(split.sum()), np.nanmedian(whole.cosine_similarity))  # fmt: skip


def _check_pool(pool: np.ndarray, texts_h5: str, n_words: int) -> None:
    if len(pool) < FEWEST_TEXTS:
        raise UserError(
            f"lens: {texts_h5} has {len(pool)} text; texts are told apart by their differences, so give more"
        )
    if not atoms_differ(pool):
        raise UserError(f"lens: {texts_h5}: the CLIP knows no difference between the {len(pool)} texts; give others")
    if n_words > len(pool):
        logger.warning("lens.words: %d words requested, but the pool has only %d different texts", n_words, len(pool))


def atoms_differ(pool: np.ndarray) -> bool:
    """Tell whether embeddings of texts (M, d) differ."""
    return bool(np.abs(pool - pool[:1]).max() > MIN_DIFFERENCE)


def _as_one_cluster(whole: Described, n_clusters: int) -> dict[str, np.ndarray]:
    """Take the words of whole neurons as those of their first and only cluster."""
    clusters = {}
    for name, empty in NO_WORDS.items():
        of_whole = getattr(whole, name)
        clusters[name] = np.full((len(of_whole), n_clusters, *of_whole.shape[1:]), empty, dtype=of_whole.dtype)
        clusters[name][:, 0] = of_whole
    return clusters


def describe(atoms: torch.Tensor, vectors: np.ndarray, n_words: int) -> Described:
    """Decompose vectors into atoms.

    Parameters
    ----------
    atoms
        (M, d) texts (see `purelens.lens.pursuit.unit_atoms`).
    vectors
        (n, d); NaN vectors get no words.
    n_words
        Most texts of a vector.

    Returns
    -------
    Described
        Atoms and weights of each vector, and its reconstruction.
    """
    parts = []
    with Progress(len(vectors), "words", "directions") as progress:
        for start in range(0, len(vectors), AT_A_TIME):
            targets = torch.from_numpy(np.nan_to_num(vectors[start : start + AT_A_TIME])).to(atoms)
            parts.append(_strongest_first(atoms, targets, *pursue(atoms, targets, n_words)))
            progress.advance(len(targets))
    if not parts:
        m = min(n_words, len(atoms))
        return Described(
            np.zeros((0, m), "i4"), np.zeros((0, m), "f4"), np.zeros((0, atoms.shape[1]), "f4"), np.zeros(0)
        )
    return Described(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Described)))


def _strongest_first(
    atoms: torch.Tensor, targets: torch.Tensor, chosen: torch.Tensor, weights: torch.Tensor
) -> Described:
    order = torch.sort(weights.abs(), dim=1, descending=True, stable=True).indices
    chosen, weights = chosen.gather(1, order), weights.gather(1, order)
    reconstruction = (weights[:, None] @ atoms[chosen.clamp(min=0)])[:, 0]
    lengths = torch.linalg.vector_norm(reconstruction, dim=1) * torch.linalg.vector_norm(targets, dim=1)
    cosine = torch.where(lengths > 0, (reconstruction * targets).sum(dim=1) / lengths.clamp(min=1e-12), torch.nan)
    return Described(
        chosen.cpu().numpy().astype("i4"), weights.cpu().numpy().astype("f4"),
        reconstruction.cpu().numpy().astype("f4"), cosine.cpu().numpy(),
    )  # fmt: skip
