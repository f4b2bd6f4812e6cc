"""The rule ``segmentation``: objects found by the neurons that push an image towards its class."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch.nn import functional

from purelens.lens.classes import read_classes
from purelens.lens.effect_reader import directions_of
from purelens.lens.effects import finite, load_clip
from purelens.lens.masks import Segmented, fitted_batch, open_masks
from purelens.lens.segmentation_scores import COUNTS, average_precision, center_blob, counts, stretched, summary
from purelens.lens.vision_tower import watched
from purelens.networks.batching import choose_device
from purelens.networks.embedders import Embedder
from purelens.progress import Progress
from purelens.storage.tables import write_table

logger = logging.getLogger("purelens")

IMAGES_AT_A_TIME = 16
LEAST_SPREAD = 1e-6
METHODS = {
    "towards": "neurons that push towards the class more than towards others, where each is above its own average",
    "published": "neurons that push towards the class or away from it, as they are",
    "center": "a blob in the middle of every image",
}


def segmentation(
    images_h5: str,
    directions_h5: Sequence[str],
    classes_h5: str,
    segmentation_csv: str,
    summary_csv: str,
    embedder: Mapping[str, Any],
    blocks: Sequence[int],
    neurons: int,
    file: str | None = None,
    bootstrap: int = 2000,
    confidence: float = 0.95,
    device: str = "auto",
    seed: int = 0,
) -> None:
    """Segment images without training: where the neurons nearest to the class that is found are active.

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
        How many neurons of all blocks together.
    file
        Images and masks in ImageNet-Segmentation's format; None: those of the dataset.
    bootstrap, confidence, seed
        Of the intervals over images.
    device
        See `purelens.networks.batching`.

    Notes
    -----
    Gandelsman et al. 2024, section 5.2. Image and mask go through one geometry.
    """
    where = choose_device(device)
    with open_masks(images_h5, file) as scenes, torch.inference_mode():
        rows: list[dict[str, Any]] = []
        names, classes = read_classes(classes_h5)
        if scenes is None or len(names) < 2:
            logger.info("nothing to segment: the images have no masks, or no classes that could be told apart")
        else:
            clip = load_clip(embedder, where, seed)
            segmenter = Segmenter(clip, blocks, directions_of(directions_h5), classes, neurons, where)
            rows = _look(segmenter, scenes, names)
    columns = ["image", "method", "class", *COUNTS, "average_precision"]
    table = pd.DataFrame(rows, columns=columns)
    write_table(segmentation_csv, table)
    write_table(summary_csv, _summary(table, bootstrap, confidence, seed))


class Segmenter:
    """A CLIP whose neurons draw heatmaps of the class that it finds.

    Parameters
    ----------
    clip
        The CLIP.
    blocks, directions
        Its blocks, and their neurons' directions (blocks, n, d).
    classes
        (C, d) embeddings of the classes.
    neurons
        How many neurons draw.

    Notes
    -----
    As published, those neurons draw whose directions have the largest product with the class, in size: those that push away
    from it too, and those that push towards every class. Here those draw that push towards the class more than towards the
    mean of all classes; each draws where it is more active than on the image's average, in units of its spread, so that
    none drowns the others, and that one is silent somewhere says nothing against another that is not.
    """

    def __init__(
        self,
        clip: Embedder,
        blocks: Sequence[int],
        directions: np.ndarray,
        classes: np.ndarray,
        neurons: int,
        device: torch.device,
    ) -> None:
        self.clip, self._device = clip, device
        visual: Any = clip.network.module.visual
        self._visual = visual
        self._watched = {str(block): visual.transformer.resblocks[block].mlp.gelu for block in blocks}
        self._classes = torch.from_numpy(classes).to(device)
        every = torch.from_numpy(directions).to(device)
        contrast = (self._classes - self._classes.mean(dim=0)) @ every.T
        sizes = {"towards": contrast, "published": (self._classes @ every.T).abs()}
        # a stable sort: equal products by number
        self._chosen = {
            name: torch.sort(size, dim=1, descending=True, stable=True).indices[:, :neurons]
            for name, size in sizes.items()
        }
        self._pushes = (contrast.gather(1, self._chosen["towards"]) > 0).to(contrast)

    def __call__(self, pixels: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Classes (b,) and heatmaps (b, S, S) by method, of images (b, S, S, 3)."""
        found, maps = self._active(pixels)
        return found, {name: self._enlarged(heat) for name, heat in maps.items()}

    def grids(self, pixels: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Classes (b,) and heatmaps (b, rows, columns) by method, one cell for each patch."""
        found, maps = self._active(pixels)
        return found, {name: stretched(heat[:, 0].float().cpu().numpy()) for name, heat in maps.items()}

    def _active(self, pixels: np.ndarray) -> tuple[np.ndarray, dict[str, torch.Tensor]]:
        with watched({}, self._watched) as seen:
            embedding = finite(self._visual(self.clip.network.normalize(torch.from_numpy(pixels).to(self._device))))
        found = (embedding @ self._classes.T).argmax(dim=1)
        hidden = torch.cat([seen[name][:, 1:] for name in self._watched], dim=2)
        active = {
            name: hidden.gather(2, chosen[found][:, None].expand(-1, hidden.shape[1], -1))
            for name, chosen in self._chosen.items()
        }
        spread = active["towards"].std(dim=1, keepdim=True, unbiased=False).clamp(min=LEAST_SPREAD)
        standard = (active["towards"] - active["towards"].mean(dim=1, keepdim=True)) / spread
        pushes = self._pushes[found][:, None]
        towards = (standard.clamp(min=0) * pushes).sum(dim=2) / pushes.sum(dim=2).clamp(min=1)
        maps = {"towards": towards, "published": active["published"].mean(dim=2)}
        shape = (len(found), 1, *self._visual.grid_size)
        return found.cpu().numpy(), {name: heat.reshape(shape) for name, heat in maps.items()}

    def _enlarged(self, heat: torch.Tensor) -> np.ndarray:
        (rows, columns), (height, width) = self._visual.grid_size, self._visual.patch_size
        covered = functional.interpolate(heat, size=(rows * height, columns * width), mode="bilinear")
        # patches need not cover the lower and the right edge of an image
        below, beside = (size - part for size, part in zip(self._visual.image_size, covered.shape[2:], strict=True))
        whole = functional.pad(covered, (0, beside, 0, below), mode="replicate")
        return stretched(whole[:, 0].float().cpu().numpy())


def _look(segmenter: Segmenter, scenes: Segmented, names: Sequence[str]) -> list[dict[str, Any]]:
    rows = []
    geometry = segmenter.clip.geometry
    blob = center_blob(geometry.size)
    with Progress(len(scenes), "segmentation", "images") as progress:
        for start in range(0, len(scenes), IMAGES_AT_A_TIME):
            indices = range(start, min(start + IMAGES_AT_A_TIME, len(scenes)))
            pixels, masks = fitted_batch(scenes, indices, geometry)
            classes, maps = segmenter(pixels)
            maps["center"] = np.broadcast_to(blob, masks.shape)
            for method, heat in maps.items():
                counted = counts(heat, masks)
                for row, index in enumerate(indices):
                    scores = {name: int(values[row]) for name, values in counted.items()}
                    precision = average_precision(heat[row], masks[row])
                    rows.append(
                        {
                            "image": index,
                            "method": method,
                            "class": names[classes[row]],
                            **scores,
                            "average_precision": precision,
                        }
                    )
            progress.advance(len(indices))
    return rows


def _summary(table: pd.DataFrame, bootstrap: int, confidence: float, seed: int) -> pd.DataFrame:
    rows = []
    for method in METHODS:
        of_method = table[table["method"] == method]
        if len(of_method):
            columns = {name: of_method[name].to_numpy() for name in (*COUNTS, "average_precision")}
            for quantity, (value, low, high) in summary(columns, bootstrap, confidence, seed).items():
                rows.append([method, quantity, value, low, high, len(of_method)])
                logger.info("%s, %s: %.1f [%.1f, %.1f]", method, quantity, value, low, high)
    return pd.DataFrame(rows, columns=["method", "quantity", "value", "low", "high", "n_images"])
