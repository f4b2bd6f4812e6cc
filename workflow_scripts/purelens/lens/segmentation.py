"""The rule ``segmentation``: segment objects by the neurons that push an image towards its class."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch

from purelens.lens.classes import read_classes
from purelens.lens.clip import load_clip
from purelens.lens.effect_reader import directions_of
from purelens.lens.masks import Segmented, fitted_batch, open_masks
from purelens.lens.methods import CENTER, SEGMENTATIONS
from purelens.lens.segmentation_scores import COUNTS, average_precision, center_blob, counts, summary
from purelens.lens.segmenter import IMAGES_AT_A_TIME, Segmenter
from purelens.networks.batching import choose_device
from purelens.numerics.bootstrap import Intervals
from purelens.progress import Progress
from purelens.storage.provenance import DEFAULT_EXECUTION, Execution
from purelens.storage.tables import write_table

logger = logging.getLogger("purelens")

COLUMNS = ("image", "method", "class", *COUNTS, "average_precision")


def segmentation(
    images_h5: str,
    directions_h5: Sequence[str],
    classes_h5: str,
    segmentation_csv: str,
    summary_csv: str,
    embedder: Mapping[str, Any],
    blocks: Sequence[int],
    neurons: int,
    intervals: Intervals,
    file: str | None = None,
    execution: Execution = DEFAULT_EXECUTION,
) -> None:
    """Segment images without training: where the neurons nearest to the zero-shot class are active.

    Parameters
    ----------
    images_h5, classes_h5
        Artifacts of the rules ``dataset`` and ``classes``.
    directions_h5
        The artifact of each block.
    segmentation_csv, summary_csv
        Counts of each image and method; scores of each method with intervals.
    embedder, blocks
        Configuration of the CLIP, and its blocks.
    neurons
        Number of neurons of all blocks together.
    intervals
        Settings of the bootstrap over images; its seed is also that of random weights.
    file
        Images and masks in ImageNet-Segmentation's format; None: those of the dataset.
    execution
        Device.

    Notes
    -----
    Gandelsman et al. 2024, section 5.2. Image and mask go through one geometry.
    """
    device = choose_device(execution.device)
    with open_masks(images_h5, file) as scenes, torch.inference_mode():
        rows: list[dict[str, Any]] = []
        names, classes = read_classes(classes_h5)
        if scenes is None or len(names) < 2:
            logger.info("nothing to segment: the images have no masks, or no classes that could be told apart")
        else:
            clip = load_clip(embedder, device, intervals.seed)
            segmenter = Segmenter(clip, blocks, directions_of(directions_h5), classes, neurons)
            rows = _rows(segmenter, scenes, names)
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    write_table(segmentation_csv, table)
    write_table(summary_csv, _summary(table, intervals))


def _rows(segmenter: Segmenter, scenes: Segmented, names: Sequence[str]) -> list[dict[str, Any]]:
    rows = []
    geometry = segmenter.clip.geometry
    blob = center_blob(geometry.size)
    with Progress(len(scenes), "segmentation", "images") as progress:
        for start in range(0, len(scenes), IMAGES_AT_A_TIME):
            indices = range(start, min(start + IMAGES_AT_A_TIME, len(scenes)))
            pixels, masks = fitted_batch(scenes, indices, geometry)
            classes, maps = segmenter(pixels)
            maps[CENTER] = np.broadcast_to(blob, masks.shape)
            for method, heat in maps.items():
                counted = counts(heat, masks)
                for row, index in enumerate(indices):
                    scores = {name: int(values[row]) for name, values in counted.items()}
                    precision = average_precision(heat[row], masks[row])
                    of_image = {"image": index, "method": method, "class": names[classes[row]]}
                    rows.append({**of_image, **scores, "average_precision": precision})
            progress.advance(len(indices))
    return rows


def _summary(table: pd.DataFrame, intervals: Intervals) -> pd.DataFrame:
    rows = []
    for method in SEGMENTATIONS:
        of_method = table[table["method"] == method]
        if len(of_method):
            columns = {name: of_method[name].to_numpy() for name in (*COUNTS, "average_precision")}
            for quantity, (value, low, high) in summary(columns, intervals).items():
                rows.append([method, quantity, value, low, high, len(of_method)])
                logger.info("%s, %s: %.1f [%.1f, %.1f]", method, quantity, value, low, high)
    return pd.DataFrame(rows, columns=["method", "quantity", "value", "low", "high", "n_images"])
