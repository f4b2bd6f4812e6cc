"""A dead neuron has a page."""

from pathlib import Path

import numpy as np

from purelens.report.data import read_data
from support.pages import DEAD, MadeUpLayer, write_images


def test_a_dead_neuron_has_a_page_without_pictures(layer: tuple[MadeUpLayer, Path]) -> None:
    _, folder = layer
    data = read_data(folder / f"neurons/{DEAD}.js")
    assert data["images"] == data["shown"] == []
    assert not (folder / f"neurons/{DEAD}.jpg").exists()
    line = read_data(folder / "layer.js")["lines"][DEAD]
    assert line == {"n": 0, "classes": [], "concepts": [], "words": []}
    assert any("1 dead neurons" in text for text in read_data(folder / "layer.js")["facts"]["warnings"])


def test_a_neuron_that_was_not_tested_has_no_split_whose_number_was_chosen(tmp_path: Path) -> None:
    pixels = np.zeros((40, 16, 16, 3), dtype="u1")
    write_images(tmp_path / "images.h5", pixels, ["cat", "dog"], [f"{i}.png" for i in range(40)], [])
    made = MadeUpLayer(tmp_path / "layer", tmp_path / "images.h5", "layer2", "layer1", n_neurons=2, decided=True)
    made.write(40, 16)  # ten references are too few
    folder = Path(made.pages(tmp_path / "report", "photos", "net", patch_size=8, image_size=16))
    assert "chosen" not in read_data(folder / "neurons/0.js")["clusterings"]["joint"]
    layer = read_data(folder / "layer.js")
    assert layer["table"]["p_value"] == [None, None]
    assert len(layer["lines"][0]["virtual_neurons"]) == 2
