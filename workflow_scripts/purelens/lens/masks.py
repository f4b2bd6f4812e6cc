"""Read images with masks of their objects."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Protocol

import h5py
import numpy as np
from PIL import Image

from purelens.data.dataset import open_images
from purelens.data.images import Geometry
from purelens.errors import UserError
from purelens.storage.hdf5 import UNREADABLE, find_dataset, open_hdf5
from purelens.storage.reading import Artifact


class Segmented(Protocol):
    """Images with masks of their objects."""

    def __len__(self) -> int: ...

    def pair(self, index: int) -> tuple[Image.Image, np.ndarray]:
        """Read an image, and its mask (H, W) uint8, 1 on the object."""
        ...


class DatasetMasks:
    """The images of a dataset artifact with masks."""

    def __init__(self, file: Artifact) -> None:
        self._pixels, self._masks = file["pixels"], file["mask"]

    def __len__(self) -> int:
        return len(self._pixels)

    def pair(self, index: int) -> tuple[Image.Image, np.ndarray]:
        """Read an image and its mask."""
        return Image.fromarray(self._pixels[index]), (self._masks[index] > 0).astype(np.uint8)


class MatlabMasks:
    """ImageNet-Segmentation (Guillaumin, Kuettel and Ferrari 2014): a MATLAB file of version 7.3, which is HDF5."""

    def __init__(self, file: h5py.File) -> None:
        self._file, self._images, self._masks = file, file["value/img"], file["value/gt"]

    def __len__(self) -> int:
        return self._images.size

    def pair(self, index: int) -> tuple[Image.Image, np.ndarray]:
        """Read an image and its mask. MATLAB counts along columns first, so both are transposed."""
        try:
            pixels = self._file[self._images[...].ravel()[index]][...]
            mask = self._file[self._masks[...].ravel()[index]][...]
            if mask.dtype == h5py.ref_dtype:  # a cell within the cell
                mask = self._file[mask.ravel()[0]][...]
        except (*UNREADABLE, TypeError, IndexError, AttributeError) as error:
            reason = " ".join(str(error).split())
            raise UserError(f"lens.segmentation.file: pair {index} cannot be read ({reason})") from None
        if pixels.ndim != 3 or pixels.shape[0] != 3 or pixels.dtype != np.uint8 or mask.shape != pixels.shape[1:]:
            raise UserError(
                f"lens.segmentation.file: pair {index} is {pixels.shape} {pixels.dtype} with a mask {mask.shape}, "
                "not (3, W, H) uint8 and (W, H)"
            )
        return Image.fromarray(np.ascontiguousarray(pixels.transpose(2, 1, 0))), (mask.T > 0).astype(np.uint8)


@contextmanager
def open_masks(images_h5: str, file: str | None) -> Iterator[Segmented | None]:
    """Open the images to segment.

    Parameters
    ----------
    images_h5
        Artifact of the rule ``dataset``.
    file
        Images and masks in ImageNet-Segmentation's format; None: those of the dataset.

    Yields
    ------
    Segmented or None
        None if the dataset has no masks.

    Raises
    ------
    UserError
        If the file is something else.
    """
    with ExitStack() as stack:
        if file is None:
            images = stack.enter_context(open_images(images_h5))
            yield DatasetMasks(images.file) if "mask" in images.file else None
            return
        try:
            opened = stack.enter_context(open_hdf5(file))
            masks = MatlabMasks(opened)
            if any(find_dataset(opened, f"value/{name}") is None for name in ("img", "gt")):
                raise KeyError("value/img and value/gt are no lists")
        except UNREADABLE as error:
            reason = " ".join(str(error).split())
            raise UserError(
                f"lens.segmentation.file: {file} is not in ImageNet-Segmentation's format ({reason})"
            ) from None
        yield masks


def fitted(pair: tuple[Image.Image, np.ndarray], geometry: Geometry) -> tuple[np.ndarray, np.ndarray]:
    """Resize and crop an image and its mask alike: (S, S, 3) and (S, S)."""
    image, mask = pair
    return geometry.apply(image), replace(geometry, interpolation="nearest").apply(Image.fromarray(mask))


def fitted_batch(scenes: Segmented, indices: Sequence[int], geometry: Geometry) -> tuple[np.ndarray, np.ndarray]:
    """Read some images and masks through one geometry.

    Parameters
    ----------
    scenes
        The images with masks.
    indices
        b numbers of images.
    geometry
        Resizing and crop.

    Returns
    -------
    pixels : numpy.ndarray
        (b, S, S, 3) uint8.
    masks : numpy.ndarray
        (b, S, S) uint8.
    """
    pairs = [fitted(scenes.pair(index), geometry) for index in indices]
    return np.stack([image for image, _ in pairs]), np.stack([mask for _, mask in pairs])
