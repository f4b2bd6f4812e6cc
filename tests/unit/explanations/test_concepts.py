"""Concepts of labels, and the filter of concepts."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from purelens.data.dataset import dataset
from purelens.errors import UserError
from purelens.explanations.concepts import passes_filter
from purelens.storage.reading import strings
from support.explanations import CONCEPTS, run_labels


def test_concepts_of_labels(labeled: Path, tmp_path: Path) -> None:
    run_labels(labeled, tmp_path)
    with h5py.File(tmp_path / "labels.h5") as file:
        names = strings(file["concept_label"])
        assert names == ["null", "None", *CONCEPTS]
        kept = dict(zip(names, file["kept"][...].astype(bool).tolist(), strict=True))
        assert (kept["red"], kept["nan"], kept["null"], kept["never"], kept["everywhere"]) == (
            True,
            True,
            True,
            False,
            False,
        )
        assert np.bincount(file["split"][...]).tolist() == [280, 40, 80]


def test_images_without_labels_say_so(tmp_path: Path, image_folder: Path) -> None:
    with h5py.File(tmp_path / "source.h5", "w") as file:
        file["pixels"] = np.zeros((5, 8, 8, 3), dtype=np.uint8)
    dataset(str(tmp_path / "source.h5"), str(tmp_path / "images.h5"), 8)
    with pytest.raises(UserError, match="neither labels nor concepts"):
        run_labels(tmp_path, tmp_path)


def test_the_filter_keeps_what_is_surely_there_and_not_everywhere() -> None:
    values = np.zeros((50, 5))
    values[:5, 0] = 1  # on five images
    values[:4, 1] = 0.6  # not sure enough
    values[:, 2] = 1  # everywhere
    values[:5, 3] = 0.5
    assert passes_filter(values).tolist() == [True, False, False, True, False]
