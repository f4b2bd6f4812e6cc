"""Read files of embeddings that another program computed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open

from purelens.config.inputs import EMBEDDING_FILES
from purelens.data.dataset import Images
from purelens.errors import UserError, listed
from purelens.storage.hdf5 import find_dataset, open_hdf5

POINTER = b"version https://git-lfs"
"""What Git LFS leaves in the place of a file that was not downloaded."""

MOST_EXPANSION = 100
"""Times the bytes of a file that its array may have: embeddings hardly compress, and a larger one is a trap."""


def read_embeddings(path: str) -> np.ndarray:
    """Read embeddings that another program computed, one row per image of the source, in its order.

    Parameters
    ----------
    path
        A ``.npy``, ``.safetensors`` or ``.h5`` file with one array (N, D), called ``embedding`` if there are several.

    Returns
    -------
    numpy.ndarray
        (N, D) float32.

    Raises
    ------
    UserError
        If there is no such array, or a number in it is NaN or infinite.
    """
    check_embeddings(path)
    values = _readable(path, lambda: _array(path, whole=True))
    with np.errstate(over="ignore"):
        values = values.astype("f4")  # first: a number of 64 bits may be infinite in 32
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])
        raise UserError(f"embedder: {path} is NaN or infinite in row {row}")
    return values


def check_embeddings(path: str) -> None:
    """Check from the header of a file that it holds embeddings.

    Raises
    ------
    UserError
        If it is missing, damaged, or holds something else.
    """
    if not Path(path).is_file():
        raise UserError(f"embedder: there is no file {path}")
    with Path(path).open("rb") as file:
        start = file.read(len(POINTER))
    if not start:
        raise UserError(f"embedder: {path} is empty")
    if start == POINTER:
        raise UserError(f"embedder: {path} is a pointer of Git LFS, not the file; run: git lfs pull")
    shape, kind = _readable(path, lambda: _array(path, whole=False))
    if len(shape) != 2 or not kind.startswith(("float", "bfloat")):
        raise UserError(f"embedder: {path} must hold floats (images, components), not {tuple(shape)} {kind}")
    if 2 * shape[0] * shape[1] > MOST_EXPANSION * Path(path).stat().st_size:
        raise UserError(f"embedder: {path} claims {tuple(shape)} numbers, more than its bytes can hold")


def _readable(path: str, read: Callable[[], Any]) -> Any:
    """Read a file; whatever its bytes lead to is one line."""
    try:
        return read()
    except UserError:
        raise
    except Exception as error:  # the readers of three formats raise anything on damaged headers
        raise UserError(
            f"embedder: cannot read {path}: {' '.join(str(error).split()) or type(error).__name__}"
        ) from None


def _array(path: str, whole: bool) -> Any:
    """Read the array of a file, or its shape and type."""
    suffix = Path(path).suffix.lower()
    if suffix == ".npy":
        values = np.load(path, mmap_mode="r", allow_pickle=False)
        return np.array(values) if whole else (values.shape, values.dtype.name)
    if suffix == ".safetensors":
        # numpy has no bfloat16; headers are read while jobs are planned, where importing torch would take seconds
        with safe_open(path, framework="pt" if whole else "np") as file:
            tensor = file.get_slice(_name_of_array(file.keys()))
            if whole:
                return tensor[:].float().numpy()
            kind = tensor.get_dtype()
            return tensor.get_shape(), {"BF16": "bfloat16"}.get(kind, kind.replace("F", "float"))
    if suffix in (".h5", ".hdf5"):
        with open_hdf5(path) as file:
            arrays = {name: find_dataset(file, name) for name in file}
            dataset = arrays[_name_of_array(name for name, array in arrays.items() if array is not None)]
            assert dataset is not None
            return dataset[...] if whole else (dataset.shape, dataset.dtype.name)
    raise ValueError(f"expected {listed(EMBEDDING_FILES)}")


def _name_of_array(names: Any) -> str:
    known = list(names)
    if len(known) != 1 and "embedding" not in known:
        raise ValueError(f"no array 'embedding' among {listed(known)}")
    return known[0] if len(known) == 1 else "embedding"


def read_embeddings_of(images: Images, path: str) -> np.ndarray:
    """Read embeddings that another program computed, of the images of a dataset artifact.

    Parameters
    ----------
    images
        The images.
    path
        A file with a row for each image of their source, rejected images included (see `read_embeddings`).

    Returns
    -------
    numpy.ndarray
        (N, D) float32.

    Raises
    ------
    UserError
        If the file has another number of rows.
    """
    values = read_embeddings(path)
    n_source = int(images.file.attribute("n_source_images"))
    if len(values) != n_source:
        raise UserError(f"embedder: {path} has {len(values)} rows, but the images' source lists {n_source} images")
    return values[images.file["source_index"][...]]
