"""The rule ``heatmaps``: where in each image the neurons nearest to its class are active."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from purelens.data.dataset import open_images
from purelens.lens.classes import read_classes
from purelens.lens.effect_reader import directions_of
from purelens.lens.effects import load_clip
from purelens.lens.segmentation import IMAGES_AT_A_TIME, Segmenter
from purelens.networks.batching import choose_device
from purelens.progress import Progress
from purelens.storage.artifacts import create
from purelens.storage.provenance import Provenance


def heatmaps(
    images_h5: str,
    directions_h5: Sequence[str],
    classes_h5: str,
    heatmaps_h5: str,
    embedder: Mapping[str, Any],
    blocks: Sequence[int],
    neurons: int,
    device: str = "auto",
    seed: int = 0,
    provenance: Provenance | None = None,
) -> None:
    """Draw, for every image of a dataset, where the neurons that push it towards the class that is found are active.

    Parameters
    ----------
    images_h5, classes_h5
        Artifacts of the rules ``dataset`` and ``classes``.
    directions_h5
        The artifact of each block.
    heatmaps_h5
        The artifact; without classes nothing is drawn.
    embedder, blocks, neurons
        See `purelens.lens.segmentation.segmentation`.
    device
        See `purelens.networks.batching`.
    seed
        Of random weights.
    provenance
        What the artifact is made from.
    """
    where = choose_device(device)
    names, classes = read_classes(classes_h5)
    with (
        open_images(images_h5) as images,
        create(heatmaps_h5, "heatmaps", provenance, str(where)) as out,
        torch.inference_mode(),
    ):
        clip = load_clip(embedder, where, seed)
        visual: Any = clip.network.module.visual
        rows, columns = visual.grid_size
        found = np.full(len(images), -1, dtype="i4")
        heat = np.zeros((len(images), rows, columns), dtype="u1")
        if len(names) > 1:
            segmenter = Segmenter(clip, blocks, directions_of(directions_h5), classes, neurons, where)
            with Progress(len(images), "heatmaps", "images") as progress:
                for start, pixels in images.batches(IMAGES_AT_A_TIME):
                    fitting = clip.geometry.apply_all(pixels)
                    part = slice(start, start + len(pixels))
                    found[part], grids = segmenter.grids(fitting)
                    heat[part] = np.rint(255 * grids["towards"])
                    progress.advance(len(pixels))
        out.coordinate("image", len(images))
        out.coordinate("heat_row", rows)
        out.coordinate("heat_column", columns)
        out.variable("class", data=found)
        out.variable("heat", data=heat)
