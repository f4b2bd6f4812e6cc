"""The rule ``projections``: the references of each neuron laid out in a plane, those with like circuits near each other."""

import warnings

import numpy as np

from purelens.progress import Progress
from purelens.storage.artifacts import Rows, create, read
from purelens.storage.provenance import Provenance


def projections(
    relevances_h5: str,
    projections_h5: str,
    lower_layer: str,
    neighbors: int = 6,
    min_dist: float = 0.3,
    seed: int = 0,
    provenance: Provenance | None = None,
) -> None:
    """Project the circuits of every neuron's references.

    Parameters
    ----------
    relevances_h5
        Artifact of the rule ``relevances``.
    projections_h5
        Where the positions go.
    lower_layer
        The layer that the circuits are of.
    neighbors, min_dist, seed
        Of the UMAP (McInnes et al. 2018).
    """
    with (
        read(relevances_h5, "relevances") as file,
        create(projections_h5, "projections", provenance) as out,
        Progress(len(file["neuron"]), "projections", "neurons") as progress,
    ):
        reference_id = file["reference_id"][...]
        out.references(file["neuron"][...], reference_id)
        out.coordinate("axis", 2)
        out.attribute("lower_layer", lower_layer)
        rows = Rows(file, f"relevance/{lower_layer}")
        position = np.full((*reference_id.shape, 2), np.nan, dtype="f4")
        for row, ids in enumerate(reference_id):
            valid = ids >= 0
            position[row, valid] = project(rows[row : row + 1][0][valid], neighbors, min_dist, seed)
            progress.advance(1)
        out.variable("position", data=position)


def project(vectors: np.ndarray, neighbors: int, min_dist: float, seed: int) -> np.ndarray:
    """Project relevances (n, d) to the plane (n, 2); too few for a UMAP are laid on their principal axes."""
    if len(vectors) < max(5, neighbors + 1):
        centered = vectors - vectors.mean(axis=0) if len(vectors) else vectors
        left, scale, _ = np.linalg.svd(centered, full_matrices=False)
        flat = (left * scale)[:, :2]
        return np.pad(flat, ((0, 0), (0, 2 - flat.shape[1])))
    from umap import UMAP

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns that a seed makes it run on one core, which is wanted
        return UMAP(n_neighbors=neighbors, min_dist=min_dist, random_state=seed).fit_transform(vectors)


def spread_out(points: np.ndarray, distance: float, iterations: int = 200) -> np.ndarray:
    """Push points (n, 2) apart until none is nearer to another than a distance along both axes, or nearly so."""
    places = points + 1e-4 * np.arange(len(points))[:, None] * [1, -1]
    for _ in range(iterations):
        apart = places[:, None] - places[None]
        overlap = np.clip(distance - np.abs(apart), 0, None)
        touching = (overlap > 0).all(axis=2) & ~np.eye(len(places), dtype=bool)
        if not touching.any():
            break
        # along the axis where they overlap less
        along = overlap <= overlap.min(axis=2, keepdims=True)
        places = places + 0.25 * (np.sign(apart) * overlap * along * touching[..., None]).sum(axis=1)
    return places
