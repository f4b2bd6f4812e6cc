"""Make the pictures of the explorer: the patches of a neuron in one strip, and whole images."""

from pathlib import Path

import numpy as np
from PIL import Image

QUALITY = 76


def strip(pixels: np.ndarray, boxes: np.ndarray, size: int) -> Image.Image:
    """Lay the patches of a neuron side by side.

    Parameters
    ----------
    pixels
        (n, H, W, 3) uint8 images.
    boxes
        (n, 4) top, left, bottom, right of each patch, ends excluded.
    size
        Side of a patch in the strip, in pixels.

    Returns
    -------
    PIL.Image.Image
        A row of squares.
    """
    picture = Image.new("RGB", (size * len(boxes), size))
    for number, (image, box) in enumerate(zip(pixels, boxes, strict=True)):
        picture.paste(cut(image, box, size), (size * number, 0))
    return picture


def cut(image: np.ndarray, box: np.ndarray, size: int) -> Image.Image:
    """Cut a patch out of an image.

    Parameters
    ----------
    image
        (H, W, 3) uint8.
    box
        (4,) top, left, bottom, right, ends excluded.
    size
        Side that the patch is brought to, in pixels.

    Returns
    -------
    PIL.Image.Image
        The box, resized to a square.
    """
    top, left, bottom, right = box.tolist()
    patch = Image.fromarray(np.ascontiguousarray(image[top:bottom, left:right]))
    return patch.resize((size, size), Image.Resampling.BICUBIC)


def shrunk(pixels: np.ndarray, size: int) -> Image.Image:
    """Shrink an image (H, W, 3) to at most a side, in pixels."""
    picture = Image.fromarray(pixels)
    size = min(size, picture.width)
    return picture if picture.width == size else picture.resize((size, size), Image.Resampling.BICUBIC)


def save_picture(picture: Image.Image, path: Path) -> None:
    """Write a picture as JPEG."""
    picture.save(path, "JPEG", quality=QUALITY)
