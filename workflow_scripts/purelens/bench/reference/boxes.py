"""Compute the published crop of one heatmap."""

import torch

from purelens.networks.imports import torchvision


def published_box(heat: torch.Tensor, kernel: int = 5, threshold: float = 0.02) -> list[int]:
    """Compute top, left, bottom and right (ends excluded) of the crop of a heatmap.

    Parameters
    ----------
    heat
        (H, W) relevance.
    kernel, threshold
        Side of the Gaussian kernel in pixels, and share of the maximum.

    Returns
    -------
    list
        Top, left, bottom and right, in pixels.
    """
    torchvision()
    from crp.image import get_crop_range

    height, width = heat.shape
    heat = torchvision().transforms.functional.gaussian_blur(heat[None], kernel_size=kernel)[0].abs()
    top, bottom, left, right = (int(edge) for edge in get_crop_range(heat / heat.max(), threshold))
    if (top, bottom, left, right) == (0, -1, 0, -1):
        return [0, 0, height - 1, width - 1]
    rows, columns = bottom - top, right - left
    if rows > columns:
        left, right = left - (rows - columns) // 2, right + (rows - columns) // 2
        if left < 0:
            left, right = 0, right - left
    elif columns > rows:
        top, bottom = top - (columns - rows) // 2, bottom + (columns - rows) // 2
        if top < 0:
            top, bottom = 0, bottom - top
    return [top, left, min(bottom, height), min(right, width)]
