"""Pictures of patches are cut where the boxes are."""

from pathlib import Path

import h5py
import numpy as np
from PIL import Image

from purelens.report.data import read_data
from purelens.report.pictures import strip
from support.pages import MadeUpLayer


def test_pictures_are_those_of_the_boxes(layer: tuple[MadeUpLayer, Path]) -> None:
    made, folder = layer
    data = read_data(folder / "neurons/1.js")
    with h5py.File(made.images_h5) as images, h5py.File(made.path("patches")) as patches:
        ids = [data["images"][item["index"]] for item in data["shown"]]
        pixels = np.stack([images["pixels"][i] for i in ids])
        boxes = np.stack([patches["box"][1, item["index"]] for item in data["shown"]])
    expected = strip(pixels, boxes, 16)
    top, left, bottom, right = boxes[2]
    alone = Image.fromarray(pixels[2][top:bottom, left:right]).resize((16, 16), Image.Resampling.BICUBIC)
    assert np.array_equal(np.asarray(expected)[:, 32:48], np.asarray(alone))
    with Image.open(folder / "neurons/1.jpg") as stored:  # a JPEG keeps the colors of noise badly
        gray = np.stack([np.asarray(picture.convert("L"), dtype=float).ravel() for picture in (stored, expected)])
    assert np.corrcoef(gray)[0, 1] > 0.9
    assert {path.name for path in (folder / "images").iterdir()} >= {f"{i}.jpg" for i in ids}
