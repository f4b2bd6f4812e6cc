"""The rule ``words``: the direction of each neuron, and of each of its parts, as a sparse sum of texts."""

import logging
from dataclasses import dataclass

import numpy as np
import torch

from purelens.data.vocabulary import FEWEST_TEXTS
from purelens.errors import UserError
from purelens.lens.pursuit import pursue, unit_atoms
from purelens.networks.batching import choose_device
from purelens.progress import Progress
from purelens.storage.artifacts import create, read, strings
from purelens.storage.provenance import Provenance

logger = logging.getLogger("purelens")

AT_A_TIME = 512
LEAST_DIFFERENCE = 1e-6


@dataclass(frozen=True)
class Described:
    """Vectors (n, d) in words.

    Attributes
    ----------
    word, weight
        (n, m) texts, strongest first, -1 and 0 where there are fewer.
    rebuilt
        (n, d) their weighted sums.
    likeness
        (n,) cosine of the sums with the vectors; NaN without words.
    """

    word: np.ndarray
    weight: np.ndarray
    rebuilt: np.ndarray
    likeness: np.ndarray


def words(
    directions_h5: str,
    texts_h5: str,
    words_h5: str,
    n_words: int = 32,
    scaling: str = "unit",
    device: str = "auto",
    provenance: Provenance | None = None,
) -> None:
    """Describe directions by orthogonal matching pursuit over a pool of texts.

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
    device
        See `purelens.networks.batching`.
    provenance
        What the artifact is made from.

    Raises
    ------
    UserError
        If the pool has fewer than two different texts.
    """
    where = choose_device(device)
    with read(texts_h5, "texts") as file:
        pool, names = file["text_embedding"][...], strings(file["text"])
    if len(names) < FEWEST_TEXTS:
        raise UserError(
            f"lens: {texts_h5} has {len(names)} text; texts are told apart by their differences, so give more"
        )
    if not atoms_differ(pool):
        raise UserError(f"lens: {texts_h5}: the CLIP knows no difference between the {len(names)} texts; give others")
    if n_words > len(names):
        logger.warning("lens.words: %d are wanted, but the pool has only %d different texts", n_words, len(names))
    atoms = unit_atoms(torch.from_numpy(pool).double().to(where), scaling)
    with read(directions_h5, "directions") as file, create(words_h5, "words", provenance, str(where)) as out:
        direction, part_direction = file["direction"][...], file["part_direction"][...]
        n_neurons, n_parts, n_components = part_direction.shape
        whole = describe(atoms, direction, n_words)
        split = file["part"][...].max(axis=1) > 0
        parts = _repeated(whole, n_parts)
        few = describe(atoms, part_direction[split].reshape(-1, n_components), n_words)
        for name, value in parts.items():
            value[split] = getattr(few, name).reshape(-1, *value.shape[1:])
        out.coordinate("neuron", file["neuron"][...])
        out.coordinate("component", n_components)
        out.coordinate("part_number", n_parts)
        out.coordinate("rank", whole.word.shape[1])
        out.coordinate("text_number", len(names))
        out.variable("text", data=names)
        for name in ("word", "weight", "rebuilt", "likeness"):
            out.variable(name, data=getattr(whole, name))
        for name in ("word", "weight", "likeness"):
            out.variable(f"part_{name}", data=parts[name])
        logger.info("%d neurons, %d of them in parts; cosine of words and direction %.2f (median)",
                    n_neurons, int(split.sum()), np.nanmedian(whole.likeness))  # fmt: skip


def atoms_differ(pool: np.ndarray) -> bool:
    """Whether embeddings of texts (M, d) are not all the same."""
    return bool(np.abs(pool - pool[:1]).max() > LEAST_DIFFERENCE)


def _repeated(whole: Described, n_parts: int) -> dict[str, np.ndarray]:
    """The words of the whole neurons as those of their first and only part."""
    empty = {"word": -1, "weight": 0.0, "likeness": np.nan}
    found = {}
    for name, value in empty.items():
        of_whole = getattr(whole, name)
        found[name] = np.full((len(of_whole), n_parts, *of_whole.shape[1:]), value, dtype=of_whole.dtype)
        found[name][:, 0] = of_whole
    return found


def describe(atoms: torch.Tensor, vectors: np.ndarray, n_words: int) -> Described:
    """Describe vectors (n, d) by atoms (M, d); NaN vectors get no words."""
    found = []
    with Progress(len(vectors), "words", "directions") as progress:
        for start in range(0, len(vectors), AT_A_TIME):
            targets = torch.from_numpy(np.nan_to_num(vectors[start : start + AT_A_TIME])).to(atoms)
            found.append(_strongest_first(atoms, targets, *pursue(atoms, targets, n_words)))
            progress.advance(len(targets))
    if not found:
        m = min(n_words, len(atoms))
        return Described(
            np.zeros((0, m), "i4"), np.zeros((0, m), "f4"), np.zeros((0, atoms.shape[1]), "f4"), np.zeros(0)
        )
    return Described(*(np.concatenate([getattr(part, name) for part in found]) for name in Described.__annotations__))


def _strongest_first(
    atoms: torch.Tensor, targets: torch.Tensor, chosen: torch.Tensor, weights: torch.Tensor
) -> Described:
    order = torch.sort(weights.abs(), dim=1, descending=True, stable=True).indices
    chosen, weights = chosen.gather(1, order), weights.gather(1, order)
    rebuilt = (weights[:, None] @ atoms[chosen.clamp(min=0)])[:, 0]
    lengths = torch.linalg.vector_norm(rebuilt, dim=1) * torch.linalg.vector_norm(targets, dim=1)
    likeness = torch.where(lengths > 0, (rebuilt * targets).sum(dim=1) / lengths.clamp(min=1e-12), torch.nan)
    return Described(
        chosen.cpu().numpy().astype("i4"), weights.cpu().numpy().astype("f4"), rebuilt.cpu().numpy().astype("f4"),
        likeness.cpu().numpy(),
    )  # fmt: skip
