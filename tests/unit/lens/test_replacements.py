"""Zero-shot accuracy with effects replaced, beside whole tables of effects."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from purelens.bench.reference import lens as definition
from purelens.lens.classes import classes, read_classes
from purelens.lens.heatmaps import heatmaps
from purelens.lens.replacements import REPLACEMENTS, replacements
from purelens.lens.segmentation import segmentation
from purelens.numerics.bootstrap import Intervals
from purelens.storage.tables import read_table
from support.lens import BLOCK, N_IMAGES, draw_images, effects_of, fitting_images


def test_replacements_are_those_of_whole_tables(made: dict[str, Any], tmp_path: Path) -> None:
    paths = [made[name] for name in ("images", "effects", "directions", "classes", "words")]
    images, effects_h5, directions_h5, classes_h5, words_h5 = paths
    table_csv, intervals = f"{tmp_path}/r.csv", Intervals(bootstrap=50)
    replacements(images, effects_h5, directions_h5, classes_h5, words_h5, table_csv, intervals)
    table = read_table(f"{tmp_path}/r.csv").set_index("replacement")
    assert list(table.index) == list(REPLACEMENTS)
    test = np.setdiff1d(np.arange(N_IMAGES), fitting_images())
    with (
        h5py.File(made["directions"]) as directions,
        h5py.File(made["words"]) as described,
        h5py.File(made["effects"]) as file,
    ):
        centered = effects_of(made["effects"])[test] - directions["mean"][...]
        large = (np.linalg.norm(centered, axis=2) >= directions["threshold"][...])[..., None]
        rebuilt = described["reconstruction"][...]
        z = file["embedding"][...][test].astype(np.float64)
        unit = rebuilt / np.linalg.norm(rebuilt, axis=1, keepdims=True)

        def along(axis: np.ndarray) -> np.ndarray:
            return np.einsum("in,nd->id", np.einsum("ind,nd->in", centered, axis), axis)

        embeddings = {
            "none": z,
            "all": z - centered.sum(axis=1),
            "large": z - (centered * large).sum(axis=1),
            "small": z - (centered * ~large).sum(axis=1),
            "direction": z - centered.sum(axis=1) + along(directions["direction"][...]),
            "words": z - centered.sum(axis=1) + along(unit),
            "words_released": z - centered.sum(axis=1) + along(rebuilt),
        }
    classifier = torch.from_numpy(read_classes(made["classes"])[1]).double()
    for name, embedding in embeddings.items():
        expected = definition.zero_shot(torch.from_numpy(embedding), classifier, torch.from_numpy(test % 3))
        assert table.accuracy[name] == pytest.approx(100 * expected), name
        assert table.change[name] == pytest.approx(table.accuracy[name] - table.accuracy["none"])


def test_images_without_classes_have_no_accuracy(made: dict[str, Any], tmp_path: Path) -> None:
    images = draw_images(tmp_path / "images.h5", label=np.full(N_IMAGES, -1, dtype="i4"))
    replacements(
        images, made["effects"], made["directions"], made["classes"], made["words"], f"{tmp_path}/r.csv", Intervals()
    )
    assert len(read_table(f"{tmp_path}/r.csv")) == 0


def test_images_without_any_class(clip: dict[str, Any], made: dict[str, Any], tmp_path: Path) -> None:
    images = draw_images(tmp_path / "images.h5", label=np.full(N_IMAGES, -1, dtype="i4"), class_name=[])
    classes(images, f"{tmp_path}/classes.h5", clip)
    paths = (str(tmp_path / "s.csv"), str(tmp_path / "summary.csv"))
    segmentation(images, [made["directions"]], f"{tmp_path}/classes.h5", *paths, clip, [BLOCK], 5, Intervals())
    heatmaps(images, [made["directions"]], f"{tmp_path}/classes.h5", f"{tmp_path}/h.h5", clip, [BLOCK], 5)
    with h5py.File(f"{tmp_path}/h.h5") as file:
        assert (file["class"][...] == -1).all()
    inputs = (images, made["effects"], made["directions"], f"{tmp_path}/classes.h5", made["words"])
    replacements(*inputs, f"{tmp_path}/r.csv", Intervals())
    assert [len(read_table(path)) for path in (*paths, f"{tmp_path}/r.csv")] == [0, 0, 0]
