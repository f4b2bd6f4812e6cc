"""Turn a heatmap into the box of a patch."""

import torch
from torch.nn import functional


def blurred(heat: torch.Tensor, kernel: int) -> torch.Tensor:
    """Blur heatmaps, take absolute values, and divide each by its maximum.

    Parameters
    ----------
    heat
        (n, H, W).
    kernel
        Side of torchvision's Gaussian kernel, in pixels; borders are reflected.

    Returns
    -------
    torch.Tensor
        (n, H, W) with maximum 1; a heatmap without any relevance stays zero.
    """
    if kernel > 1:
        weights = gaussian(kernel).to(heat)
        margin = min(kernel // 2, min(heat.shape[1:]) - 1)
        if margin < kernel // 2:
            weights = gaussian(2 * margin + 1).to(heat)
        padded = functional.pad(heat.unsqueeze(1), (margin,) * 4, mode="reflect")
        heat = functional.conv2d(padded, weights[None, None, :, None])
        heat = functional.conv2d(heat, weights[None, None, None, :]).squeeze(1)
    heat = heat.abs()
    highest = heat.amax(dim=(1, 2), keepdim=True)
    return torch.where(highest > 0, heat / highest, heat)


def gaussian(kernel: int) -> torch.Tensor:
    """Compute the weights (kernel,) of a Gaussian with the standard deviation that torchvision takes for this kernel."""
    sigma = 0.15 * kernel + 0.35
    distance = torch.arange(kernel) - (kernel - 1) / 2
    weights = torch.exp(-0.5 * (distance / sigma) ** 2)
    return weights / weights.sum()


def boxes(heat: torch.Tensor, threshold: float, rule: str = "inclusive") -> torch.Tensor:
    """Find the square box around the pixels above a threshold.

    Parameters
    ----------
    heat
        (n, H, W), each with maximum 1 (see `blurred`).
    threshold
        Pixels above it lie in the box.
    rule
        ``inclusive``: the whole bounding box, extended in the shorter direction and kept in the image by shifting it.
        ``published``: as PURE's program: without the last row and column, extended to both sides, and only the low side
        kept in the image.

    Returns
    -------
    torch.Tensor
        (n, 4) int16: top, left, bottom, right, ends excluded. The whole image where no pixel is above the threshold.
    """
    mask = heat > threshold
    top, bottom = _extent(mask.any(dim=2))
    left, right = _extent(mask.any(dim=1))
    square = _published if rule == "published" else _inclusive
    box = square(top, left, bottom, right, heat.shape[1], heat.shape[2])
    everything = torch.tensor([0, 0, heat.shape[1], heat.shape[2]], device=heat.device)
    if rule == "published":
        # its empty range [0:-1] leaves the last row and column out, except where the crop itself comes out empty
        point = (top >= bottom) & (left >= right)
        box = torch.where(point[:, None], everything - torch.tensor([0, 0, 1, 1], device=heat.device), box)
    empty = (box[:, 0] >= box[:, 2]) | (box[:, 1] >= box[:, 3]) | ~mask.flatten(1).any(dim=1)
    return torch.where(empty[:, None], everything, box).to(torch.int16)


def _extent(occupied: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Find the first and last occupied index of each row of (n, L)."""
    first = occupied.int().argmax(dim=1)
    last = occupied.shape[1] - 1 - occupied.flip(1).int().argmax(dim=1)
    return first, last


def _inclusive(
    top: torch.Tensor, left: torch.Tensor, bottom: torch.Tensor, right: torch.Tensor, height: int, width: int
) -> torch.Tensor:
    side = torch.maximum(bottom - top, right - left) + 1
    side_rows, side_columns = side.clamp(max=height), side.clamp(max=width)
    top = top - (side_rows - (bottom - top + 1)) // 2
    left = left - (side_columns - (right - left + 1)) // 2
    top = torch.minimum(top.clamp(min=0), height - side_rows)
    left = torch.minimum(left.clamp(min=0), width - side_columns)
    return torch.stack([top, left, top + side_rows, left + side_columns], dim=1)


def _published(
    top: torch.Tensor, left: torch.Tensor, bottom: torch.Tensor, right: torch.Tensor, height: int, width: int
) -> torch.Tensor:
    rows, columns = bottom - top, right - left
    grow_columns, grow_rows = (rows - columns).clamp(min=0) // 2, (columns - rows).clamp(min=0) // 2
    left, right = left - grow_columns, right + grow_columns
    top, bottom = top - grow_rows, bottom + grow_rows
    right, bottom = right + (-left).clamp(min=0), bottom + (-top).clamp(min=0)
    left, top = left.clamp(min=0), top.clamp(min=0)
    return torch.stack([top, left, bottom.clamp(max=height), right.clamp(max=width)], dim=1)


def thumbnails(heat: torch.Tensor, size: int) -> torch.Tensor:
    """Shrink heatmaps (n, H, W) to (n, size, size) uint8 by averaging; the highest value becomes 255."""
    small = functional.adaptive_avg_pool2d(heat.unsqueeze(1), size).squeeze(1)
    highest = small.amax(dim=(1, 2), keepdim=True).clamp(min=torch.finfo(small.dtype).tiny)
    return (small / highest * 255).round().to(torch.uint8)
