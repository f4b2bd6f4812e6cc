"""The rule ``projections``: map the references of each neuron to a plane, near each other where their circuits are alike."""

import warnings

import numpy as np

from purelens.progress import Progress
from purelens.storage.artifacts import create
from purelens.storage.provenance import DEFAULT_EXECUTION, Execution
from purelens.storage.reading import read


def projections(
    relevances_h5: str,
    projections_h5: str,
    lower_layer: str,
    neighbors: int = 6,
    min_dist: float = 0.3,
    seed: int = 0,
    execution: Execution = DEFAULT_EXECUTION,
) -> None:
    """Project the circuits of every neuron's references to a plane.

    Parameters
    ----------
    relevances_h5
        Artifact of the rule ``relevances``.
    projections_h5
        The artifact.
    lower_layer
        The layer of the circuits.
    neighbors, min_dist, seed
        Settings of the UMAP (McInnes et al. 2018).
    execution
        Provenance record.
    """
    with (
        read(relevances_h5, "relevances") as file,
        create(projections_h5, "projections", execution.provenance) as out,
        Progress(len(file["neuron"]), "projections", "neurons") as progress,
    ):
        reference_id = file["reference_id"][...]
        out.references(file["neuron"][...], reference_id)
        out.coordinate("axis", 2)
        out.attribute("lower_layer", lower_layer)
        rows = file[f"relevance/{lower_layer}"]
        position = np.full((*reference_id.shape, 2), np.nan, dtype="f4")
        for row, ids in enumerate(reference_id):
            valid = ids >= 0
            position[row, valid] = project(rows[row : row + 1][0][valid], neighbors, min_dist, seed)
            progress.advance(1)
        out.variable("position", data=position)


def project(vectors: np.ndarray, neighbors: int, min_dist: float, seed: int) -> np.ndarray:
    """Project vectors to a plane by UMAP, or on their principal axes where they are too few for it.

    Parameters
    ----------
    vectors
        (n, d).
    neighbors, min_dist, seed
        Settings of the UMAP.

    Returns
    -------
    numpy.ndarray
        (n, 2).
    """
    if len(vectors) < max(5, neighbors + 1):
        centered = vectors - vectors.mean(axis=0) if len(vectors) else vectors
        left, scale, _ = np.linalg.svd(centered, full_matrices=False)
        flat = (left * scale)[:, :2]
        return np.pad(flat, ((0, 0), (0, 2 - flat.shape[1])))
    from umap import UMAP  # takes seconds to import

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # umap-learn warns that a seed limits it to one core; a seed is required here
        return UMAP(n_neighbors=neighbors, min_dist=min_dist, random_state=seed).fit_transform(vectors)


def spread_out(points: np.ndarray, distance: float, iterations: int = 200) -> np.ndarray:
    """Push points apart until no two overlap, or nearly so.

    Parameters
    ----------
    points
        (n, 2).
    distance
        Side of the square that each point takes.
    iterations
        Most steps.

    Returns
    -------
    numpy.ndarray
        (n, 2) positions.
    """
    # equal points are moved a little, so that there is a direction to push them apart
    positions = points + 1e-4 * np.arange(len(points))[:, None] * [1, -1]
    for _ in range(iterations):
        offset = positions[:, None] - positions[None]
        overlap = np.clip(distance - np.abs(offset), 0, None)
        touching = (overlap > 0).all(axis=2) & ~np.eye(len(positions), dtype=bool)
        if not touching.any():
            break
        # along the axis where they overlap less
        along = overlap <= overlap.min(axis=2, keepdims=True)
        positions = positions + 0.25 * (np.sign(offset) * overlap * along * touching[..., None]).sum(axis=1)
    return positions
