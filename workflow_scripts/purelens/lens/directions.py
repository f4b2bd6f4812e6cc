"""The rule ``directions``: one direction for each neuron of a CLIP, and several where one does not do."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import h5py
import numpy as np
import torch

from purelens.errors import UserError
from purelens.lens.effect_reader import few_neurons, fitted_images, neuron_blocks
from purelens.networks.batching import choose_device
from purelens.numerics.clustering import gram_matrices, k_means, silhouettes, squared_distances
from purelens.progress import Progress
from purelens.storage.artifacts import Writer, create, read
from purelens.storage.provenance import Provenance

logger = logging.getLogger("purelens")

RESTARTS = 10
NO_EFFECT = 1e-5
"""Effects that are no longer than this, of an embedding of length 100, are rounding."""

SPECTRUM = 8
"""Principal components whose shares are kept."""


def directions(
    effects_h5: str,
    directions_h5: str,
    top_images: int = 100,
    significant: float = 0.02,
    split_below: float = 0.5,
    n_parts: Sequence[int] = (2, 3, 4, 5),
    device: str = "auto",
    seed: int = 0,
    provenance: Provenance | None = None,
) -> None:
    """Find the first principal component of each neuron's largest effects.

    Parameters
    ----------
    effects_h5
        Artifact of the rule ``effects``.
    directions_h5
        The artifact.
    top_images
        How many of the images with the largest effects.
    significant
        Share of the images on which an effect is significant.
    split_below
        A neuron whose first component explains a smaller share of its largest effects is split by clustering them.
    n_parts
        Numbers of parts that are tried; the best silhouette decides.
    device
        See `purelens.networks.batching`.
    seed
        Of the split of the images, and of k-means.
    provenance
        What the artifact is made from.

    Raises
    ------
    UserError
        If there are fewer images than ``top_images`` to find directions on.

    Notes
    -----
    Gandelsman et al. 2024, section 4.1: effects are centered by their mean over the images, the 100 longest are taken, and
    their first right singular vector is turned so that most of them point along it.
    """
    where = choose_device(device)
    with read(effects_h5, "effects") as file, create(directions_h5, "directions", provenance, str(where)) as out:
        images = fitted_images(len(file["image"]), seed)
        if images.sum() <= top_images:
            raise UserError(
                f"lens: the directions of {top_images} images (lens.top_images) are wanted, but there are only "
                f"{images.sum()} to choose them from; take fewer, or more images"
            )
        finder = Finder(top_images, significant, split_below, tuple(n_parts), seed)
        found = [finder.find(*effects) for effects in _effects(file, images, where)]
        _write(out, file, np.flatnonzero(images), found)


def _effects(file: h5py.File, images: np.ndarray, device: torch.device):  # type: ignore[no-untyped-def]
    """Yield neurons and their effects (n, I, d), a few at a time."""
    shared = torch.from_numpy(file["shared"][...][images]).to(device)
    n_neurons = len(file["neuron"])
    with Progress(n_neurons, "directions", "neurons") as progress:
        for block, weights in neuron_blocks(file, images):
            basis = torch.from_numpy(file["basis"][:, block]).to(device)
            for few in few_neurons(len(shared), shared.shape[1], block.stop - block.start):
                heads = basis[:, few].transpose(0, 1)
                scalars = weights[few].to(device)
                effects = torch.baddbmm(shared.expand(len(heads), -1, -1), scalars, heads)
                # what a neuron that does nothing shares in means and biases is not its own
                idle = (scalars.abs().amax(dim=(1, 2)) == 0) | (heads.abs().amax(dim=(1, 2)) == 0)
                effects[idle] = effects[idle].mean(dim=1, keepdim=True)
                yield np.arange(block.start + few.start, block.start + few.stop), effects
                progress.advance(few.stop - few.start)


@dataclass(frozen=True)
class Found:
    """Directions of some neurons.

    Attributes
    ----------
    mean, direction
        (n, d) mean effect, and unit vector.
    explained
        (n, s) shares of the first components; NaN where a neuron has no effect.
    threshold
        (n,) length above which an effect is significant.
    top
        (n, K) rows of the images with the longest centered effects, longest first.
    length, projection
        (n, K) their lengths, and their products with the direction.
    part
        (n, K) part of each of them; all 0 where a neuron is not split.
    part_direction, part_explained
        (n, P, d) and (n, P); NaN where there is no such part.
    silhouette
        (n,) of the split; NaN where there is none.
    """

    mean: np.ndarray
    direction: np.ndarray
    explained: np.ndarray
    threshold: np.ndarray
    top: np.ndarray
    length: np.ndarray
    projection: np.ndarray
    part: np.ndarray
    part_direction: np.ndarray
    part_explained: np.ndarray
    silhouette: np.ndarray


@dataclass(frozen=True)
class Finder:
    """How directions are found (see `directions`)."""

    top_images: int
    significant: float
    split_below: float
    n_parts: tuple[int, ...]
    seed: int

    def find(self, neurons: np.ndarray, effects: torch.Tensor) -> Found:
        """Find the directions of neurons (n,) from their effects (n, I, d), which are overwritten."""
        mean = effects.mean(dim=1, keepdim=True)
        effects -= mean
        lengths = torch.linalg.vector_norm(effects, dim=2)
        none = lengths.amax(dim=1) < NO_EFFECT
        effects[none], lengths[none] = 0.0, 0.0
        n_significant = min(max(1, round(self.significant * effects.shape[1])), effects.shape[1] - 1)
        # between two images, so that rounding does not decide about one
        threshold = lengths.topk(n_significant + 1, dim=1).values[:, -2:].mean(dim=1)
        threshold[none] = torch.inf
        # a stable order: equal lengths by image
        length, top = (each[:, : self.top_images] for each in torch.sort(lengths, dim=1, descending=True, stable=True))
        longest = torch.gather(effects, 1, top[..., None].expand(-1, -1, effects.shape[2])).cpu().numpy()
        direction, explained = principal(longest, np.ones(longest.shape[:2], dtype=bool))
        part, silhouette = self._split(neurons, longest, explained[:, 0])
        part_direction, part_explained = self._of_parts(longest, part, direction, explained[:, 0])
        return Found(
            mean[:, 0].cpu().numpy(), direction, explained, threshold.cpu().numpy(), top.cpu().numpy(),
            length.cpu().numpy(), (longest @ direction[..., None])[..., 0], part, part_direction, part_explained,
            silhouette,
        )  # fmt: skip

    def _split(self, neurons: np.ndarray, longest: np.ndarray, explained: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Cluster the effects (n, K, d) of neurons that one direction does not explain: parts (n, K), silhouettes (n,)."""
        part = np.zeros(longest.shape[:2], dtype=np.int8)
        silhouette = np.full(len(longest), np.nan)
        several = np.flatnonzero(explained < self.split_below)
        if len(several):
            part[several], silhouette[several] = self._cluster(neurons[several], longest[several])
        return part, silhouette

    def _of_parts(
        self, longest: np.ndarray, part: np.ndarray, direction: np.ndarray, explained: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Directions (n, P, d) of the parts and what they explain (n, P); a neuron that is not split is its own part."""
        n_most = max(self.n_parts)
        directions = np.full((len(longest), n_most, longest.shape[2]), np.nan, dtype=np.float32)
        share = np.full((len(longest), n_most), np.nan)
        directions[:, 0], share[:, 0] = direction, explained
        split = part.max(axis=1) > 0
        for number in range(n_most):
            members = (part == number) & split[:, None]
            some = members.any(axis=1)
            if some.any():
                directions[some, number], spectrum = principal(longest[some], members[some])
                share[some, number] = spectrum[:, 0]
        return directions, share

    def _cluster(self, neurons: np.ndarray, longest: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Labels (n, K) and silhouettes (n,) of the number of clusters with the best silhouette."""
        valid = np.ones(longest.shape[:2], dtype=bool)
        gram = gram_matrices(longest, valid)
        distances = np.sqrt(squared_distances(gram))
        best, score = np.zeros(valid.shape, dtype=np.int8), np.full(len(longest), -np.inf)
        for k in self.n_parts:
            labels, _ = k_means(gram, valid, k, RESTARTS, [[self.seed, int(neuron)] for neuron in neurons])
            found = np.nan_to_num(silhouettes(distances, labels), nan=-np.inf)
            best[found > score] = labels[found > score]
            score = np.maximum(score, found)
        return np.maximum(best, 0), np.where(np.isfinite(score), score, np.nan)


def principal(vectors: np.ndarray, members: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First right singular vector of each set of vectors, and the shares of the first components.

    Parameters
    ----------
    vectors
        (n, K, d), not centered again.
    members
        (n, K) which of them count.

    Returns
    -------
    tuple
        Unit vectors (n, d), along which most of the vectors point, and shares (n, s) of the sum of squares. A set of zeros has
        the direction 0 and the shares NaN.
    """
    used = np.where(members[..., None], vectors, 0).astype(np.float64)
    values, left = np.linalg.eigh(used @ used.transpose(0, 2, 1))
    first = left[:, :, -1]
    direction = (first[:, None] @ used)[:, 0]
    length = np.linalg.norm(direction, axis=1, keepdims=True)
    direction = np.divide(direction, length, out=np.zeros_like(direction), where=length > 0)
    along = (used @ direction[..., None])[..., 0]
    balance = (along > 0).sum(axis=1) - (along < 0).sum(axis=1)
    sign = np.where(balance != 0, np.sign(balance), np.where(along.sum(axis=1) < 0, -1, 1))
    total = values.sum(axis=1, keepdims=True)
    shares = np.full((len(vectors), SPECTRUM), np.nan)
    kept = np.clip(values[:, ::-1][:, :SPECTRUM], 0, None)
    np.divide(kept, total, out=shares[:, : kept.shape[1]], where=total > 0)
    return (direction * sign[:, None]).astype(np.float32), shares


def _write(out: Writer, file: h5py.File, image_ids: np.ndarray, found: Sequence[Found]) -> None:
    """Write the directions of all neurons."""

    def joined(name: str) -> np.ndarray:
        return np.concatenate([getattr(part, name) for part in found])

    explained = joined("explained")
    out.coordinate("neuron", file["neuron"][...])
    out.coordinate("component", file["component"][...])
    out.coordinate("top", len(found[0].top[0]))
    out.coordinate("order", SPECTRUM)
    out.coordinate("part_number", found[0].part_direction.shape[1])
    for name in ("mean", "direction", "threshold", "length", "projection", "part", "part_direction"):
        out.variable(name, data=joined(name))
    out.variable("explained", data=explained)
    out.variable("part_explained", data=joined("part_explained"))
    out.variable("silhouette", data=joined("silhouette"))
    out.variable("image_id", data=image_ids[joined("top")])
    out.attribute("n_images", len(image_ids))
    n_split = int((joined("part").max(axis=1) > 0).sum())
    share = explained[np.isfinite(explained[:, 0]), 0]
    if len(share) < len(explained):
        logger.info("%d of %d neurons have no effect", len(explained) - len(share), len(explained))
    if len(share):
        logger.info(
            "one direction explains %.0f %% of a neuron's largest effects (median); %d of %d neurons are split",
            100 * np.median(share), n_split, len(share),
        )  # fmt: skip
