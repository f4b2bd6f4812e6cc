"""Decode the images of a source: upright RGB, resized and cropped."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from PIL import Image

from purelens.data.decoding import BadImageError
from purelens.data.sources import Source

READ_AHEAD = 64
RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}


@dataclass(frozen=True)
class Geometry:
    """The resizing and center crop that turn an image into the square that models see.

    Attributes
    ----------
    size
        Side of the center crop, in pixels.
    resize
        Short side before the crop, in pixels.
    interpolation
        ``bilinear``, ``bicubic`` or ``nearest``.
    min_side
        Shortest side that is accepted, in pixels.
    """

    size: int
    resize: int
    interpolation: str
    min_side: int

    def apply(self, image: Image.Image) -> np.ndarray:
        """Resize the short side and crop the center: an RGB image to (size, size, 3) uint8.

        The numbers are those of torchvision's ``Resize`` and ``CenterCrop`` on a PIL image.

        Raises
        ------
        BadImageError
            If a side is shorter than ``min_side``.
        """
        width, height = image.size
        if min(width, height) < self.min_side:
            raise BadImageError(f"{width}x{height} pixels, a side is shorter than {self.min_side}")
        short = min(width, height)
        if short != self.resize:
            shape = (int(self.resize * width / short), int(self.resize * height / short))
            if shape[0] * shape[1] > (Image.MAX_IMAGE_PIXELS or 0):
                raise BadImageError(f"{width}x{height} pixels are a strip too long to be resized")
            image = image.resize(shape, RESAMPLING[self.interpolation])
        left = round((image.width - self.size) / 2)
        top = round((image.height - self.size) / 2)
        return np.asarray(image.crop((left, top, left + self.size, top + self.size)))

    def apply_all(self, pixels: np.ndarray) -> np.ndarray:
        """Resize and crop a batch of images: (b, H, W, 3) to (b, size, size, 3) uint8."""
        return np.stack([self.apply(Image.fromarray(image)) for image in pixels])


def decoded(source: Source, geometry: Geometry, threads: int) -> Iterator[tuple[int, np.ndarray | BadImageError]]:
    """Decode every image of a source once, in order, on several threads.

    Parameters
    ----------
    source
        The images.
    geometry
        How they are resized and cropped.
    threads
        Images decoded at the same time.

    Yields
    ------
    index : int
        Index in the source.
    pixels : numpy.ndarray or BadImageError
        (size, size, 3) uint8, or why there are none.
    """

    def work(index: int) -> np.ndarray | BadImageError:
        try:
            return geometry.apply(source.load(index))
        except BadImageError as error:
            return error

    with ThreadPoolExecutor(max_workers=max(1, threads)) as pool:
        # a fixed number of images are read ahead, so that memory does not grow with their number
        waiting: deque[Future[np.ndarray | BadImageError]] = deque()
        for index in range(source.n_images + READ_AHEAD):
            if index < source.n_images:
                waiting.append(pool.submit(work, index))
            if index >= READ_AHEAD and waiting:
                yield index - READ_AHEAD, waiting.popleft().result()
