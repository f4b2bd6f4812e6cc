"""Segmentation beside a pass through the definition."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import torch

from purelens.bench.reference import lens as definition
from purelens.lens.classes import read_classes
from purelens.lens.segmentation import segmentation
from purelens.lens.segmentation_scores import COUNTS, counts
from purelens.lens.segmenter import rescaled
from purelens.networks.embedders import build_clip
from purelens.networks.imports import open_clip
from purelens.numerics.bootstrap import Intervals
from purelens.storage.tables import read_table
from support.edited import edited
from support.lens import BLOCK, N_IMAGES, SIZE, draw_images


def test_segmentation_looks_where_the_neurons_are_active(
    made: dict[str, Any], clip: dict[str, Any], tmp_path: Path
) -> None:
    table, scores = tmp_path / "s.csv", tmp_path / "summary.csv"
    inputs = (made["images"], [made["directions"]], made["classes"])
    segmentation(*inputs, str(table), str(scores), clip, [BLOCK], 5, Intervals(bootstrap=20))
    table_rows = pd.read_csv(table)
    assert len(table_rows) == 3 * N_IMAGES
    assert (table_rows.labeled == SIZE**2).all()
    torch.manual_seed(0)
    visual = build_clip(clip["architecture"], "random").visual.eval()
    cfg = open_clip().get_model_preprocess_cfg(visual)
    with h5py.File(made["images"]) as file, h5py.File(made["directions"]) as directed:
        mean, std = (torch.tensor(cfg[key])[:, None, None] for key in ("mean", "std"))
        image = (torch.from_numpy(file["pixels"][4]).permute(2, 0, 1) / 255 - mean) / std
        mask, direction = file["mask"][4], directed["direction"][...]
    _, of_classes = read_classes(made["classes"])
    with torch.inference_mode():
        trace = definition.Trace(visual, image)
    place = np.argmax(of_classes @ trace.embedding.numpy())
    hidden = trace.hidden[BLOCK][1:].numpy()
    most = np.argsort(-np.abs(direction @ of_classes[place]), kind="stable")[:5]
    nearest = np.argsort(-(direction @ (of_classes[place] - of_classes.mean(axis=0))), kind="stable")[:5]
    standard = (hidden - hidden.mean(axis=0)) / hidden.std(axis=0)
    pushing = [neuron for neuron in nearest if direction[neuron] @ (of_classes[place] - of_classes.mean(axis=0)) > 0]
    for method, heat in (
        ("towards", standard[:, pushing].clip(min=0).mean(axis=1)),
        ("published", hidden[:, most].mean(axis=1)),
    ):
        grid = torch.from_numpy(heat.reshape(1, 1, 4, 4)).float()
        large = torch.nn.functional.interpolate(grid, size=(SIZE, SIZE), mode="bilinear")
        expected = counts(rescaled(large[0].numpy()), mask[None])
        row = table_rows[(table_rows.method == method) & (table_rows.image == 4)].iloc[0]
        assert {name: int(row[name]) for name in COUNTS} == {name: int(values[0]) for name, values in expected.items()}
    assert set(pd.read_csv(scores).method) == {"towards", "published", "center"}


def test_images_without_masks_are_not_segmented(made: dict[str, Any], clip: dict[str, Any], tmp_path: Path) -> None:
    path = draw_images(tmp_path / "images.h5")
    with edited(path) as file:
        del file["mask"], file["checksum/mask"]
    paths = (str(tmp_path / "s.csv"), str(tmp_path / "summary.csv"))
    segmentation(path, [made["directions"]], made["classes"], *paths, clip, [BLOCK], 5, Intervals())
    assert [len(read_table(name)) for name in paths] == [0, 0]
