"""Draw heatmaps of the class that a CLIP finds in an image, by the neurons that push the image towards it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from purelens.lens.clip import finite
from purelens.lens.methods import PUBLISHED, TOWARD
from purelens.lens.vision_tower import recorded
from purelens.networks.embedders import Embedder

IMAGES_AT_A_TIME = 16
MIN_SPREAD = 1e-6


def rescaled(maps: np.ndarray) -> np.ndarray:
    """Rescale heatmaps (b, S, S) to 0-1; constant ones become 0."""
    low, high = maps.min(axis=(1, 2), keepdims=True), maps.max(axis=(1, 2), keepdims=True)
    spread = high - low
    return np.divide(maps - low, spread, out=np.zeros_like(maps), where=spread > 0)


class Segmenter:
    """A CLIP whose neurons draw heatmaps of the zero-shot class of an image.

    Parameters
    ----------
    clip
        The CLIP.
    blocks, directions
        Its blocks, and the directions (n, d) of all their neurons.
    classes
        (C, d) embeddings of the classes.
    neurons
        Number of neurons that draw.

    Notes
    -----
    Gandelsman et al. 2024, section 5.2. As published, those neurons draw whose directions have the largest
    product with the class, in size: also those that push away from it, and those that push towards every class. Here those
    draw that push towards the class more than towards the mean of all classes. Each draws where it is more active than on the
    image's average, in units of its spread, so that none drowns the others, and that one is silent somewhere does not count
    against another that is not.
    """

    def __init__(
        self, clip: Embedder, blocks: Sequence[int], directions: np.ndarray, classes: np.ndarray, neurons: int
    ) -> None:
        self.clip = clip
        device = clip.network.device
        visual: Any = clip.network.module.visual
        self._visual = visual
        self._recorded = {str(block): visual.transformer.resblocks[block].mlp.gelu for block in blocks}
        self._classes = torch.from_numpy(classes).to(device)
        every = torch.from_numpy(directions).to(device)
        contrast = (self._classes - self._classes.mean(dim=0)) @ every.T
        sizes = {TOWARD: contrast, PUBLISHED: (self._classes @ every.T).abs()}
        # a stable sort: equal products by number
        self._chosen = {
            name: torch.sort(size, dim=1, descending=True, stable=True).indices[:, :neurons]
            for name, size in sizes.items()
        }
        self._pushes = (contrast.gather(1, self._chosen[TOWARD]) > 0).to(contrast)

    def __call__(self, pixels: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Find the classes (b,) of images (b, S, S, 3), and draw heatmaps (b, S, S) by each method."""
        classes, maps = self._active(pixels)
        return classes, {name: self._enlarged(heat) for name, heat in maps.items()}

    def grids(self, pixels: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Find the classes (b,) of images (b, S, S, 3), and draw heatmaps (b, rows, columns) with a cell for each patch."""
        classes, maps = self._active(pixels)
        return classes, {name: rescaled(heat[:, 0].float().cpu().numpy()) for name, heat in maps.items()}

    def _active(self, pixels: np.ndarray) -> tuple[np.ndarray, dict[str, torch.Tensor]]:
        with recorded({}, self._recorded) as tensors:
            embedding = finite(self._visual(self.clip.network.prepare(pixels)))
        predicted = (embedding @ self._classes.T).argmax(dim=1)
        hidden = torch.cat([tensors[name][:, 1:] for name in self._recorded], dim=2)
        active = {
            name: hidden.gather(2, chosen[predicted][:, None].expand(-1, hidden.shape[1], -1))
            for name, chosen in self._chosen.items()
        }
        spread = active[TOWARD].std(dim=1, keepdim=True, unbiased=False).clamp(min=MIN_SPREAD)
        standard = (active[TOWARD] - active[TOWARD].mean(dim=1, keepdim=True)) / spread
        pushes = self._pushes[predicted][:, None]
        toward = (standard.clamp(min=0) * pushes).sum(dim=2) / pushes.sum(dim=2).clamp(min=1)
        maps = {TOWARD: toward, PUBLISHED: active[PUBLISHED].mean(dim=2)}
        shape = (len(predicted), 1, *self._visual.grid_size)
        return predicted.cpu().numpy(), {name: heat.reshape(shape) for name, heat in maps.items()}

    def _enlarged(self, heat: torch.Tensor) -> np.ndarray:
        (rows, columns), (height, width) = self._visual.grid_size, self._visual.patch_size
        covered = functional.interpolate(heat, size=(rows * height, columns * width), mode="bilinear")
        # patches need not cover the lower and the right edge of an image
        below, beside = (size - part for size, part in zip(self._visual.image_size, covered.shape[2:], strict=True))
        whole = functional.pad(covered, (0, beside, 0, below), mode="replicate")
        return rescaled(whole[:, 0].float().cpu().numpy())
