"""The rule ``world_scenes``: draw the scenes of one part of the embedded world."""

from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

import numpy as np

from purelens.progress import Progress
from purelens.storage.artifacts import create
from purelens.storage.provenance import DEFAULT_EXECUTION, Execution
from purelens.world.scenes import CLASSES, CONCEPTS, SIZE, Scene, draw_scene

PARTS = ("train", "probe", "test")
SLAB = 500


def world_scenes(
    scenes_h5: str, part: str, n_scenes: int, seed: int = 0, execution: Execution = DEFAULT_EXECUTION
) -> None:
    """Draw scenes with their classes, concepts, captions and masks.

    Parameters
    ----------
    scenes_h5
        The artifact, in the form of an HDF5 image source.
    part
        ``train``, ``probe`` or ``test``: different scenes for each.
    n_scenes
        Number of scenes.
    seed
        Seed of the world.
    execution
        Threads (here processes that draw), and provenance record.
    """
    draw = partial(draw_scene, len(PARTS) * seed + PARTS.index(part))
    with (
        create(scenes_h5, "scenes", execution.provenance) as out,
        ProcessPoolExecutor(execution.threads, mp_context=get_context("fork")) as pool,
        Progress(n_scenes, f"drawing {part}", "scenes") as progress,
    ):
        for dim, size in (("image", n_scenes), ("row", SIZE), ("column", SIZE), ("color", 3)):
            out.coordinate(dim, size)
        out.coordinate("class", len(CLASSES))
        out.coordinate("concept_name", len(CONCEPTS))
        out.variable("class_name", data=CLASSES)
        out.variable("concept_label", data=CONCEPTS)
        for name in ("pixels", "mask", "label", "concept"):
            out.variable(name)
        captions: list[str] = []
        for start in range(0, n_scenes, SLAB):
            stop = min(start + SLAB, n_scenes)
            scenes: list[Scene] = list(pool.map(draw, range(start, stop), chunksize=32))
            out["pixels"][start:stop] = np.stack([scene.pixels for scene in scenes])
            out["mask"][start:stop] = np.stack([scene.mask for scene in scenes])
            out["label"][start:stop] = [scene.label for scene in scenes]
            out["concept"][start:stop] = np.stack([scene.concepts for scene in scenes])
            captions += [scene.caption for scene in scenes]
            progress.advance(stop - start)
        out.variable("caption", data=captions)
        out.variable("path", data=[f"{part}/{number:05d}" for number in range(n_scenes)])
