"""The rule ``directions``: find the direction of each neuron of a CLIP, and several where one does not explain its effects."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch

from purelens.errors import UserError
from purelens.lens.effect_reader import few_neurons, fitted_images, neuron_blocks
from purelens.networks.batching import choose_device
from purelens.numerics.clustering import gram_matrices, k_means, silhouettes, squared_distances
from purelens.progress import Progress
from purelens.storage.artifacts import Writer, create
from purelens.storage.provenance import DEFAULT_EXECUTION, Execution
from purelens.storage.reading import Artifact, read

logger = logging.getLogger("purelens")

RESTARTS = 10
NO_EFFECT = 1e-5
"""Effects that are no longer than this, of an embedding of length 100, are rounding."""

SPECTRUM = 8
"""Principal components whose explained shares are stored."""


def directions(
    effects_h5: str,
    directions_h5: str,
    top_images: int = 100,
    significant_fraction: float = 0.02,
    min_explained_variance: float = 0.5,
    n_directions: Sequence[int] = (2, 3, 4, 5),
    seed: int = 0,
    execution: Execution = DEFAULT_EXECUTION,
) -> None:
    """Find the first principal component of each neuron's largest effects.

    Parameters
    ----------
    effects_h5
        Artifact of the rule ``effects``.
    directions_h5
        The artifact.
    top_images
        Number of images with the largest effects.
    significant_fraction
        Share of the images on which an effect counts as significant.
    min_explained_variance
        A neuron whose first component explains a smaller share of its largest effects gets several directions: its effects are
        clustered, and each cluster has a direction.
    n_directions
        Numbers of clusters that are tried; the best silhouette decides.
    seed
        Seed of the split of the images, and of k-means.
    execution
        Device and provenance record.

    Raises
    ------
    UserError
        If there are fewer images than ``top_images`` to find directions on.

    Notes
    -----
    Gandelsman et al. 2024, section 4.1: effects are centered by their mean over the images, the 100 longest are taken, and
    their first right singular vector is turned so that most of them point along it.
    """
    device = choose_device(execution.device)
    with (
        read(effects_h5, "effects") as file,
        create(directions_h5, "directions", execution.provenance, str(device)) as out,
    ):
        images = fitted_images(len(file["image"]), seed)
        if images.sum() <= top_images:
            raise UserError(
                f"lens: the directions of {top_images} images (lens.top_images) are requested, but there are only "
                f"{images.sum()} to choose them from; take fewer, or more images"
            )
        finder = Finder(top_images, significant_fraction, min_explained_variance, tuple(n_directions), seed)
        blocks = [finder.find(*effects) for effects in _effects(file, images, device)]
        _write(out, file, np.flatnonzero(images), Directions.joined(blocks))


def _effects(file: Artifact, images: np.ndarray, device: torch.device) -> Iterator[tuple[np.ndarray, torch.Tensor]]:
    """Compute the effects (n, I, d) of all neurons, a few at a time."""
    shared = torch.from_numpy(file["shared"][...][images]).to(device)
    n_neurons = len(file["neuron"])
    with Progress(n_neurons, "directions", "neurons") as progress:
        for block, weights in neuron_blocks(file, images):
            basis = torch.from_numpy(file["basis"][:, block]).to(device)
            for few in few_neurons(len(shared), shared.shape[1], block.stop - block.start):
                heads = basis[:, few].transpose(0, 1)
                scalars = weights[few].to(device)
                effects = torch.baddbmm(shared.expand(len(heads), -1, -1), scalars, heads)
                # a neuron that does nothing has no effects: its shares of means and biases are not its own
                idle = (scalars.abs().amax(dim=(1, 2)) == 0) | (heads.abs().amax(dim=(1, 2)) == 0)
                effects[idle] = effects[idle].mean(dim=1, keepdim=True)
                yield np.arange(block.start + few.start, block.start + few.stop), effects
                progress.advance(few.stop - few.start)


@dataclass(frozen=True)
class Directions:
    """Directions of n neurons.

    Attributes
    ----------
    mean, direction
        (n, d) mean effect, and unit vector.
    explained
        (n, s) share that each of the s first principal components explains; NaN where a neuron has no effect.
    threshold
        (n,) length above which an effect is significant.
    top
        (n, K) rows of the images with the longest centered effects, longest first.
    length, projection
        (n, K) their lengths, and their products with the direction.
    cluster
        (n, K) cluster of each; all 0 where one direction is enough.
    cluster_direction, cluster_explained
        (n, P, d) and (n, P); NaN where there is no such cluster.
    silhouette
        (n,) of the clusters; NaN where there is only one.
    """

    mean: np.ndarray
    direction: np.ndarray
    explained: np.ndarray
    threshold: np.ndarray
    top: np.ndarray
    length: np.ndarray
    projection: np.ndarray
    cluster: np.ndarray
    cluster_direction: np.ndarray
    cluster_explained: np.ndarray
    silhouette: np.ndarray

    @classmethod
    def joined(cls, blocks: Sequence["Directions"]) -> "Directions":
        """Join the directions of blocks of neurons."""
        return cls(*(np.concatenate([getattr(block, field.name) for block in blocks]) for field in fields(cls)))


@dataclass(frozen=True)
class Finder:
    """Find directions (see `directions`)."""

    top_images: int
    significant_fraction: float
    min_explained_variance: float
    n_directions: tuple[int, ...]
    seed: int

    def find(self, neurons: np.ndarray, effects: torch.Tensor) -> Directions:
        """Find the directions of neurons (n,) from their effects (n, I, d), which are overwritten."""
        mean = effects.mean(dim=1, keepdim=True)
        effects -= mean
        lengths = torch.linalg.vector_norm(effects, dim=2)
        none = lengths.amax(dim=1) < NO_EFFECT
        effects[none], lengths[none] = 0.0, 0.0
        n_significant = min(max(1, round(self.significant_fraction * effects.shape[1])), effects.shape[1] - 1)
        # between two images, so that rounding does not decide about one
        threshold = lengths.topk(n_significant + 1, dim=1).values[:, -2:].mean(dim=1)
        threshold[none] = torch.inf
        # a stable order: equal lengths by image
        length, top = (each[:, : self.top_images] for each in torch.sort(lengths, dim=1, descending=True, stable=True))
        longest = torch.gather(effects, 1, top[..., None].expand(-1, -1, effects.shape[2])).cpu().numpy()
        direction, explained = principal(longest, np.ones(longest.shape[:2], dtype=bool))
        cluster, silhouette = self._split(neurons, longest, explained[:, 0])
        cluster_direction, cluster_explained = self._of_clusters(longest, cluster, direction, explained[:, 0])
        return Directions(
            mean[:, 0].cpu().numpy(), direction, explained, threshold.cpu().numpy(), top.cpu().numpy(),
            length.cpu().numpy(), (longest @ direction[..., None])[..., 0], cluster, cluster_direction,
            cluster_explained, silhouette,
        )  # fmt: skip

    def _split(self, neurons: np.ndarray, longest: np.ndarray, explained: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Cluster the effects (n, K, d) that one direction does not explain: clusters (n, K), silhouettes (n,)."""
        cluster = np.zeros(longest.shape[:2], dtype=np.int8)
        silhouette = np.full(len(longest), np.nan)
        several = np.flatnonzero(explained < self.min_explained_variance)
        if len(several):
            cluster[several], silhouette[several] = self._cluster(neurons[several], longest[several])
        return cluster, silhouette

    def _of_clusters(
        self, longest: np.ndarray, cluster: np.ndarray, direction: np.ndarray, explained: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Find the directions (n, P, d) of the clusters and their shares (n, P); a neuron with one direction is one cluster."""
        n_most = max(self.n_directions)
        directions = np.full((len(longest), n_most, longest.shape[2]), np.nan, dtype=np.float32)
        share = np.full((len(longest), n_most), np.nan)
        directions[:, 0], share[:, 0] = direction, explained
        split = cluster.max(axis=1) > 0
        for number in range(n_most):
            members = (cluster == number) & split[:, None]
            some = members.any(axis=1)
            if some.any():
                directions[some, number], spectrum = principal(longest[some], members[some])
                share[some, number] = spectrum[:, 0]
        return directions, share

    def _cluster(self, neurons: np.ndarray, longest: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Cluster effects: labels (n, K) and silhouettes (n,) of the number of clusters with the best silhouette."""
        valid = np.ones(longest.shape[:2], dtype=bool)
        gram = gram_matrices(longest, valid)
        distances = np.sqrt(squared_distances(gram))
        best, score = np.zeros(valid.shape, dtype=np.int8), np.full(len(longest), -np.inf)
        for k in self.n_directions:
            labels, _ = k_means(gram, valid, k, RESTARTS, [[self.seed, int(neuron)] for neuron in neurons])
            silhouette = np.nan_to_num(silhouettes(distances, labels), nan=-np.inf)
            best[silhouette > score] = labels[silhouette > score]
            score = np.maximum(score, silhouette)
        return np.maximum(best, 0), np.where(np.isfinite(score), score, np.nan)


def principal(vectors: np.ndarray, members: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the first right singular vector of each set of vectors, and the shares that the first components explain.

    Parameters
    ----------
    vectors
        (n, K, d), not centered again.
    members
        (n, K) bool, which of them count.

    Returns
    -------
    direction : numpy.ndarray
        (n, d) unit vectors along which most of the vectors point; 0 for a set of zeros.
    shares : numpy.ndarray
        (n, s) of the sum of squares; NaN for a set of zeros.
    """
    used = np.where(members[..., None], vectors, 0).astype(np.float64)
    # from the small matrix of products (K, K): d is several times K
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


def _write(out: Writer, file: Artifact, image_ids: np.ndarray, directions: Directions) -> None:
    """Write the directions of all neurons."""
    out.coordinate("neuron", file["neuron"][...])
    out.coordinate("component", file["component"][...])
    out.coordinate("top", directions.top.shape[1])
    out.coordinate("order", SPECTRUM)
    out.coordinate("cluster_number", directions.cluster_direction.shape[1])
    for field in fields(directions):
        if field.name != "top":
            out.variable(field.name, data=getattr(directions, field.name))
    out.variable("image_id", data=image_ids[directions.top])
    out.attribute("n_images", len(image_ids))
    n_split = int((directions.cluster.max(axis=1) > 0).sum())
    share = directions.explained[np.isfinite(directions.explained[:, 0]), 0]
    if len(share) < len(directions.explained):
        logger.info(
            "%d of %d neurons have no effect", len(directions.explained) - len(share), len(directions.explained)
        )
    if len(share):
        logger.info(
            "one direction explains %.0f %% of a neuron's largest effects (median); %d of %d neurons get several",
            100 * np.median(share), n_split, len(share),
        )  # fmt: skip
