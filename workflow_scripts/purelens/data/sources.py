"""List the images of a source, not yet decoded: a folder of class folders, a CSV of paths and labels, or an HDF5 file."""

import csv
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np
from PIL import Image

from purelens.config.base import is_there
from purelens.data.decoding import EXTENSIONS, BadImageError, decode
from purelens.data.tables import check_names, read_rows
from purelens.errors import UserError, listed
from purelens.storage.hdf5 import UNREADABLE, find_dataset, open_hdf5, system_error
from purelens.storage.reading import DAMAGED, checked_content, is_artifact, rebuild

EXTRAS = ("concept", "concept_label", "caption")
KNOWN = ("label", "class_name", "path", "mask", *EXTRAS)
MOST_IMAGES, MOST_PIXEL_BYTES, MOST_ARRAY_BYTES = 10**8, 2**30, 2**32
MASKS_AT_A_TIME = 64
MOST_NAMES = 1_000_000
"""An HDF5 source with more classes or concepts is taken for a file that claims what it does not hold."""


@dataclass(frozen=True)
class Source:
    """A list of images, not yet decoded, and what is known about each.

    Attributes
    ----------
    n_images
        N.
    labels
        (N,) class of each image; -1 where it is unknown.
    classes
        Names of the classes.
    paths
        N paths, relative to ``folder``.
    folder
        Where image files lie; None for a stack.
    stack, stack_name
        HDF5 file of images, and its dataset (N, H, W, 3).
    has_masks
        Whether it has a mask for each image.
    extras
        ``concept``, ``concept_label`` and ``caption``, where the source has them.
    others
        Files of the source that are no images: path and reason.
    """

    n_images: int
    labels: np.ndarray
    classes: list[str]
    paths: list[str]
    folder: Path | None = None
    stack: Path | None = None
    stack_name: str = ""
    has_masks: bool = False
    extras: dict[str, np.ndarray] = field(default_factory=dict)
    others: list[tuple[str, str]] = field(default_factory=list)

    def load(self, index: int) -> Image.Image:
        """Decode one image as upright RGB.

        Raises
        ------
        BadImageError
            If it cannot be decoded.
        """
        if self.stack is not None:
            try:
                with open_hdf5(self.stack) as file:
                    return Image.fromarray(file[self.stack_name][index])
            except UNREADABLE as error:
                if system_error(error) is not None:
                    raise
                raise BadImageError(f"it cannot be read from the file ({' '.join(str(error).split())[:200]})") from None
        assert self.folder is not None
        return decode(self.folder / self.paths[index])

    def check(self) -> None:
        """Read the masks of a source, and one that is an artifact from end to end.

        Raises
        ------
        UserError
            If it is not as it was written, or masks are more than 0 and 1, or 0 and 255.
        """
        if self.stack is not None and is_artifact(self.stack) and checked_content(self.stack) == DAMAGED:
            raise UserError(f"images: {self.stack} is damaged, or was edited; {rebuild(self.stack)}")
        if self.stack is not None and self.has_masks:
            values = _values_of(self.stack, self.n_images)
            if not values <= {0, 1} and not values <= {0, 255}:
                raise UserError(
                    f"images: {self.stack}: mask must be of 0 and 1, or 0 and 255; it has {listed(sorted(values))}"
                )

    def masks(self, indices: np.ndarray) -> np.ndarray:
        """Read the masks (b, H, W) uint8 of images, by ascending index: 1 on the object.

        Raises
        ------
        UserError
            If they cannot be read.
        """
        assert self.stack is not None
        return (_read_masks(self.stack, indices) != 0).astype("u1")


def open_source(images: str | Path) -> Source:
    """List the images of a source, without decoding them.

    Parameters
    ----------
    images
        A folder of class folders, a ``.csv`` or an ``.h5`` file.

    Raises
    ------
    UserError
        If it holds nothing usable; the message names the file, folder or column.
    """
    path = Path(images)
    if not is_there(path):
        raise UserError(f"images: {path} does not exist")
    if path.is_dir():
        return _folder_source(path)
    if path.suffix.lower() == ".csv":
        return _csv_source(path)
    if path.suffix.lower() in (".h5", ".hdf5"):
        return _stack_source(path)
    raise UserError(f"images: {path} is neither a folder, a .csv nor an .h5 file")


def _folder_source(folder: Path) -> Source:
    """List a folder of class folders, in the order of torchvision's ``ImageFolder``."""
    classes = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if not classes:
        raise UserError(f"images: {folder} has no class folders; expected {folder}/<class>/<image>.jpg")
    paths: list[str] = []
    labels: list[int] = []
    others = [(path, "not in a class folder") for path in _outside(folder, classes)]
    for label, name in enumerate(classes):
        files = [file.relative_to(folder).as_posix() for file in _files_within(folder / name)]
        images = [file for file in files if Path(file).suffix.lower() in EXTENSIONS]
        if not images:
            raise UserError(f"images: class folder {folder / name} has no images ({listed(EXTENSIONS, 20)})")
        paths += images
        labels += [label] * len(images)
        others += [
            (file, "not the name of an image file") for file in files if Path(file).suffix.lower() not in EXTENSIONS
        ]
    return Source(len(paths), np.array(labels), classes, paths, folder=folder, others=others)


def _outside(folder: Path, classes: Sequence[str]) -> Iterator[str]:
    """List the files of a folder that lie in no class folder: beside them, or in hidden ones."""
    for entry in sorted(folder.iterdir()):
        if entry.name not in classes:
            files = _files_within(entry) if entry.is_dir() else [entry]
            yield from (file.relative_to(folder).as_posix() for file in files)


def _files_within(folder: Path) -> Iterator[Path]:
    """List the files of a folder in the order of ``ImageFolder``: links are followed, hidden files count."""
    listed_folders: list[tuple[str, list[str]]] = []
    for root, inside, names in os.walk(str(folder), onerror=_raised, followlinks=True):
        above = {os.path.realpath(str(parent)) for parent in (root, *Path(root).parents)}
        for path in (os.path.join(root, name) for name in inside):
            if os.path.realpath(path) in above:
                raise UserError(f"images: {path} is a link to a folder that it lies in")
        listed_folders.append((root, names))
    for root, names in sorted(listed_folders):
        yield from (Path(root) / name for name in sorted(names))


def _raised(error: OSError) -> None:
    """Stop where a folder cannot be listed: its images would be missing without a word."""
    raise UserError(f"images: the system does not list {error.filename}: {error.strerror}; run again when it does")


def _csv_source(path: Path) -> Source:
    """List a table with a column ``path`` (relative to the table) and, if known, ``label`` and ``caption``."""
    try:
        lines = read_rows(path, ["path"], ["label", "caption"])
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"images: cannot read {path} as a CSV table: {error}") from None
    rows = [row for _, row in lines]
    if not rows:
        raise UserError(f"images: {path} lists no images")
    empty = [line for line, row in lines if not row["path"]]
    if empty:
        raise UserError(f"images: {path} has no path in line {listed(empty)}")
    classes, labels = _labels([row.get("label", "") for row in rows])
    captions = {"caption": np.array([row["caption"] for row in rows])} if "caption" in rows[0] else {}
    return Source(len(rows), labels, classes, [row["path"] for row in rows], folder=path.parent, extras=captions)


def _labels(names: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """Number the classes of a table: names that are numbers in their order, and no class below 0; others as text."""
    values = {name: _number(name) for name in set(names) - {""}}
    numbers = {name: value for name, value in values.items() if value is not None}
    if len(numbers) == len(values):
        classes = sorted((name for name in numbers if numbers[name] >= 0), key=lambda name: (numbers[name], name))
    else:
        classes = sorted(values)
    places = {name: place for place, name in enumerate(classes)}
    return classes, np.array([places.get(name, -1) for name in names])


def _number(name: str) -> float | None:
    try:
        value = float(name)
    except ValueError:
        return None
    return value if np.isfinite(value) else None


def _stack_source(path: Path) -> Source:
    """List an HDF5 file with ``pixels`` or ``images`` (N, H, W, 3) uint8 and, if known, ``label`` and more."""
    try:
        with open_hdf5(path) as file:
            name = next((name for name in ("pixels", "images") if find_dataset(file, name) is not None), None)
            if name is None:
                raise UserError(f"images: {path} has no dataset 'pixels' or 'images'; it has {listed(file)}")
            shape, dtype = file[name].shape, file[name].dtype
            if len(shape) != 4 or shape[3] != 3 or dtype != np.uint8 or shape[0] == 0:
                raise UserError(f"images: {path}: {name} must be (N, H, W, 3) uint8, not {shape} {dtype}")
            mask = find_dataset(file, "mask")
            if "schema" not in file.attrs:
                check_names(list(file), [name, *KNOWN], "dataset")
            _check_sizes(path, name, shape)
            _check_mask(path, mask, shape)
            _check_rows(path, file, shape[0])
            known = {key: find_dataset(file, key) for key in ("label", "class_name", "path", *EXTRAS)}
            arrays = {key: _texts(dataset) for key, dataset in known.items() if dataset is not None}
    except UNREADABLE as error:
        raise UserError(f"images: cannot read {path} as HDF5: {' '.join(str(error).split())}") from None
    n_images = shape[0]
    _check_arrays(path, arrays)
    labels = arrays.get("label", np.full(n_images, -1))
    if len(labels) and int(labels.max()) > MOST_NAMES:
        raise UserError(f"images: {path}: label goes up to {labels.max()}, beyond {MOST_NAMES} classes")
    labels = labels.astype(int)
    classes = [str(c) for c in arrays.get("class_name", np.arange(labels.max(initial=-1) + 1))]
    if labels.max(initial=-1) >= len(classes) or labels.min(initial=0) < -1:
        raise UserError(f"images: {path}: label goes beyond the {len(classes)} names in class_name")
    paths = [str(p) for p in arrays.get("path", [f"{path.name}[{i}]" for i in range(n_images)])]
    extras = {key: arrays[key] for key in EXTRAS if key in arrays}
    has_masks = mask is not None
    return Source(n_images, labels, classes, paths, stack=path, stack_name=name, has_masks=has_masks, extras=extras)


def _check_sizes(path: Path, name: str, shape: tuple[int, ...]) -> None:
    """Refuse numbers and sizes of images that no file holds, before memory is taken for them."""
    if shape[0] > MOST_IMAGES or int(np.prod(shape[1:], dtype=np.float64)) > MOST_PIXEL_BYTES:
        most = f"{MOST_IMAGES} images or {MOST_PIXEL_BYTES} bytes of one"
        raise UserError(f"images: {path}: {name} claims {shape}, more than {most}")


def _check_mask(path: Path, mask: h5py.Dataset | None, shape: tuple[int, ...]) -> None:
    """Check that the masks of an HDF5 source are of the shape of its images."""
    if mask is not None and (mask.shape != shape[:3] or mask.dtype.kind not in "bui"):
        raise UserError(f"images: {path}: mask must be {shape[:3]} of 0 and 1, not {mask.shape} {mask.dtype}")


def _values_of(path: Path, n_images: int) -> set[int]:
    """Collect the values of the masks of an HDF5 source."""
    values: set[int] = set()
    for start in range(0, n_images, MASKS_AT_A_TIME):
        values |= set(np.unique(_read_masks(path, np.s_[start : start + MASKS_AT_A_TIME])).tolist())
    return values


def _read_masks(path: Path, rows: np.ndarray | slice) -> np.ndarray:
    """Read masks (b, H, W) of an HDF5 source, as they are."""
    try:
        with open_hdf5(path) as file:
            return file["mask"][rows]
    except UNREADABLE as error:
        if system_error(error) is not None:
            raise
        raise UserError(f"images: the masks of {path} cannot be read: {' '.join(str(error).split())}") from None


def _check_rows(path: Path, file: h5py.File, n_images: int) -> None:
    """Check the lengths of the arrays of an HDF5 source, before any of them is read."""
    arrays = {key: find_dataset(file, key) for key in ("label", "path", "class_name", *EXTRAS)}
    shapes = {key: array.shape for key, array in arrays.items() if array is not None and array.shape}
    names = {key: shapes.pop(key)[0] for key in ("class_name", "concept_label") if key in shapes}
    for key, shape in shapes.items():
        if shape[0] != n_images:
            raise UserError(f"images: {path}: {key} has {shape[0]} rows for {n_images} images")
    for key, n in (names | {key: int(np.prod(shape[1:])) for key, shape in shapes.items()}).items():
        if n > MOST_NAMES:
            raise UserError(f"images: {path}: {key} claims {n} classes or concepts, more than {MOST_NAMES}")
    for key, array in arrays.items():
        if array is not None and array.dtype.itemsize * array.size > MOST_ARRAY_BYTES:
            raise UserError(f"images: {path}: {key} claims {array.dtype.itemsize * array.size / 2**30:.0f} GB")


def _check_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Check the types and dimensions of what an HDF5 source knows about its images."""
    dimensions = {"label": 1, "class_name": 1, "path": 1, "concept": 2, "concept_label": 1, "caption": 1}
    for key, values in arrays.items():
        if values.ndim != dimensions[key]:
            raise UserError(f"images: {path}: {key} must have {dimensions[key]} dimensions, not {values.ndim}")
    if "label" in arrays and arrays["label"].dtype.kind not in "iu":
        raise UserError(f"images: {path}: label must be whole numbers, with the names in class_name")
    if "concept" in arrays and len(arrays.get("concept_label", ())) != arrays["concept"].shape[1]:
        raise UserError(f"images: {path}: concept_label must name the {arrays['concept'].shape[1]} columns of concept")
    if "concept" in arrays:
        strange = arrays["concept"][~np.isin(arrays["concept"], (0, 1))]
        if strange.size:
            raise UserError(f"images: {path}: concept must be of 0 and 1; it has {strange.ravel()[0]}")
        arrays["concept"] = (arrays["concept"] != 0).astype("u1")


def _texts(dataset: h5py.Dataset) -> np.ndarray:
    """Read an array; text as str."""
    values = dataset[...]
    if values.dtype.kind in "SO":
        return np.array([v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v) for v in values])
    return values
