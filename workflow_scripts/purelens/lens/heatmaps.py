"""The rule ``heatmaps``: draw where in each image the neurons nearest to its class are active."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from purelens.data.dataset import open_images
from purelens.lens.classes import read_classes
from purelens.lens.clip import load_clip
from purelens.lens.effect_reader import directions_of
from purelens.lens.methods import TOWARD
from purelens.lens.segmenter import IMAGES_AT_A_TIME, Segmenter
from purelens.networks.batching import choose_device
from purelens.progress import Progress
from purelens.storage.artifacts import create
from purelens.storage.provenance import DEFAULT_EXECUTION, Execution


def heatmaps(
    images_h5: str,
    directions_h5: Sequence[str],
    classes_h5: str,
    heatmaps_h5: str,
    embedder: Mapping[str, Any],
    blocks: Sequence[int],
    neurons: int,
    seed: int = 0,
    execution: Execution = DEFAULT_EXECUTION,
) -> None:
    """Draw, for every image of a dataset, where the neurons are active that push it towards its zero-shot class.

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
    seed
        Seed of random weights.
    execution
        Device and provenance record.
    """
    device = choose_device(execution.device)
    names, classes = read_classes(classes_h5)
    with (
        open_images(images_h5) as images,
        create(heatmaps_h5, "heatmaps", execution.provenance, str(device)) as out,
        torch.inference_mode(),
    ):
        clip = load_clip(embedder, device, seed)
        visual: Any = clip.network.module.visual
        rows, columns = visual.grid_size
        zero_shot = np.full(len(images), -1, dtype="i4")
        heat = np.zeros((len(images), rows, columns), dtype="u1")
        if len(names) > 1:
            segmenter = Segmenter(clip, blocks, directions_of(directions_h5), classes, neurons)
            with Progress(len(images), "heatmaps", "images") as progress:
                for start, pixels in images.batches(IMAGES_AT_A_TIME):
                    batch = slice(start, start + len(pixels))
                    zero_shot[batch], grids = segmenter.grids(clip.geometry.apply_all(pixels))
                    heat[batch] = np.rint(255 * grids[TOWARD])
                    progress.advance(len(pixels))
        out.coordinate("image", len(images))
        out.coordinate("heat_row", rows)
        out.coordinate("heat_column", columns)
        out.variable("class", data=zero_shot)
        out.variable("heat", data=heat)
