"""The rule ``dataset``: decode every image once."""

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from purelens.config.base import is_there
from purelens.data.decoding import MISSING, BadImageError
from purelens.data.images import Geometry, decoded
from purelens.data.sources import Source, open_source
from purelens.errors import UserError
from purelens.progress import Progress
from purelens.storage.artifacts import Writer, create
from purelens.storage.provenance import DEFAULT_EXECUTION, Execution
from purelens.storage.reading import Artifact, read

logger = logging.getLogger("purelens")

SLAB = 32


def dataset(
    images: str,
    images_h5: str,
    size: int,
    resize: int | None = None,
    interpolation: str = "bilinear",
    min_side: int = 8,
    on_bad_image: str = "reject",
    execution: Execution = DEFAULT_EXECUTION,
) -> None:
    """Decode the images of a source into one artifact.

    Parameters
    ----------
    images
        Folder of class folders, ``.csv`` of paths and labels, or ``.h5`` file of images.
    images_h5
        The artifact.
    size, resize, interpolation, min_side
        See `purelens.data.images.Geometry`; ``resize`` None: equal to ``size``.
    on_bad_image
        ``reject``: list bad images in the artifact and go on; ``error``: stop at the first.
    execution
        Threads that decode, and the provenance record.

    Raises
    ------
    UserError
        If the source is unusable, an image is bad and ``on_bad_image`` is ``error``, or all images are bad.
    """
    source = open_source(images)
    source.check()
    geometry = Geometry(size, resize or size, interpolation, min_side)
    _check_room(images_h5, source.n_images * 3 * size**2)
    with create(images_h5, "dataset", execution.provenance) as out:
        _define(out, size)
        kept, rejected = _copy(out, source, geometry, execution.threads, on_bad_image == "error")
        if not len(kept):
            path, reason = rejected[len(source.others)]
            raise UserError(
                f"images: none of the {source.n_images} images of {images} is good; the first, {path}: {reason}"
            )
        _check_still_missing(source, rejected)
        _describe(out, source, kept, rejected)
        if source.has_masks:
            _write_masks(out, source, kept, replace(geometry, interpolation="nearest"))
        out.attribute("n_source_images", source.n_images)
    n_files = source.n_images + len(source.others)
    logger.info("%d files: %d images, %d rejected", n_files, len(kept), len(rejected))


def _check_still_missing(source: Source, rejected: list[tuple[str, str]]) -> None:
    """Refuse to list images as missing that were only away for a moment, as on a network file system."""
    if source.folder is None:
        return
    for path, reason in rejected:
        if reason == MISSING and is_there(source.folder / path):
            raise UserError(f"images: {path} was not there for a moment; run again")


def _check_room(path: str, n_bytes: int) -> None:
    """Refuse a disk that is too small before the first image is decoded."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(Path(path).parent).free
    if n_bytes > free:
        raise UserError(
            f"No space left on device for {path}: it needs {n_bytes / 2**20:.1f} MB, and {free / 2**20:.1f} MB are free"
        )


def _define(out: Writer, size: int) -> None:
    out.coordinate("image", 0, growing=True)
    out.coordinate("row", size)
    out.coordinate("column", size)
    out.coordinate("color", 3)
    out.variable("pixels", growing=True)


def _copy(
    out: Writer, source: Source, geometry: Geometry, threads: int, stop_at_bad: bool
) -> tuple[np.ndarray, list[tuple[str, str]]]:
    """Decode into ``pixels``; return the indices of good images and the rejected ones."""
    kept: list[int] = []
    rejected = [*source.others]
    slab: list[np.ndarray] = []

    def flush() -> None:
        if slab:
            out.grow("image", len(kept), "pixels")
            out["pixels"][len(kept) - len(slab) :] = np.stack(slab)
            slab.clear()

    with Progress(source.n_images, "decode", "images") as progress:
        for index, result in decoded(source, geometry, threads):
            progress.advance(1)
            if isinstance(result, BadImageError):
                if stop_at_bad:
                    raise UserError(f"images: {source.paths[index]}: {result} (on_bad_image: error)")
                logger.warning("rejected %s: %s", source.paths[index], result)
                rejected.append((source.paths[index], str(result)))
                continue
            kept.append(index)
            slab.append(result)
            if len(slab) == SLAB:
                flush()
    flush()
    return np.array(kept, dtype=np.int64), rejected


def _describe(out: Writer, source: Source, kept: np.ndarray, rejected: list[tuple[str, str]]) -> None:
    """Write what is known about the images besides their pixels."""
    out.coordinate("class", len(source.classes))
    out.coordinate("rejected", len(rejected))
    out.variable("label", data=source.labels[kept].astype("i4"))
    out.variable("source_index", data=kept)
    out.variable("path", data=[source.paths[index] for index in kept])
    out.variable("class_name", data=source.classes)
    out.variable("rejected_path", data=[path for path, _ in rejected])
    out.variable("rejected_reason", data=[reason for _, reason in rejected])
    if "concept" in source.extras:
        out.coordinate("concept_name", source.extras["concept"].shape[1])
        out.variable("concept", data=source.extras["concept"][kept])
        out.variable("concept_label", data=source.extras["concept_label"])
    if "caption" in source.extras:
        out.variable("caption", data=source.extras["caption"][kept])


def _write_masks(out: Writer, source: Source, kept: np.ndarray, geometry: Geometry) -> None:
    """Write the masks, resized and cropped as the images are."""
    masks = out.variable("mask")
    for start in range(0, len(kept), SLAB):
        read = source.masks(kept[start : start + SLAB])
        masks[start : start + SLAB] = np.stack([geometry.apply(Image.fromarray(mask)) for mask in read])


@dataclass(frozen=True)
class Images:
    """Read the images of a dataset artifact, a batch at a time."""

    file: Artifact

    def __len__(self) -> int:
        return len(self.file["pixels"])

    @property
    def size(self) -> int:
        """Side of an image in pixels."""
        return int(self.file["pixels"].shape[1])

    def batches(self, batch_size: int) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the first index and the pixels (b, size, size, 3) uint8 of one batch after another."""
        for start in range(0, len(self), batch_size):
            yield start, self.file["pixels"][start : start + batch_size]

    def take(self, indices: np.ndarray) -> np.ndarray:
        """Read the pixels (b, size, size, 3) uint8 of some images, in any order; repeats are allowed."""
        unique, inverse = np.unique(indices, return_inverse=True)
        pixels = self.file["pixels"]
        taken = np.empty((len(unique), *pixels.shape[1:]), dtype=pixels.dtype)
        for place, index in enumerate(unique):  # HDF5 takes fifty times as long for a list of images
            taken[place] = pixels[index]
        return taken[inverse]


@contextmanager
def open_images(path: str | Path) -> Iterator[Images]:
    """Open a dataset artifact to read its images."""
    with read(path, "dataset") as file:
        yield Images(file)
