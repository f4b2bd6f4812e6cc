"""Images and sources of images."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from purelens.data.dataset import dataset
from purelens.storage.reading import strings


def gradient(height: int = 24, width: int = 36) -> np.ndarray:
    """Draw an image whose pixels all differ from their neighbors."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows * 9 % 256, columns * 7 % 256, (rows + columns) * 3 % 256], axis=2).astype(np.uint8)


def build(images: Path, tmp_path: Path, **options: object) -> dict[str, Any]:
    """Decode a source; returns the variables of its artifact."""
    path = tmp_path / "images.h5"
    dataset(str(images), str(path), **{"size": 16, **options})  # type: ignore[arg-type]
    with h5py.File(path) as file:
        return {
            name: strings(file[name]) if file[name].dtype.kind in "SO" else file[name][...]
            for name in file
            if isinstance(file[name], h5py.Dataset) and file[name].shape
        }
