"""Words in the explorer are those of the artifacts."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from purelens.report.data import read_data
from purelens.report.words import main_words
from support.pages import MadeUpLayer, write_images


def test_cards_name_what_a_neuron_is_active_for() -> None:
    rows = [
        {"method": "le:a", "virtual_neuron": None, "correlation": 0.9, "words": [["dog", 2.0], ["cat", -1.0]]},
        {"method": "le:b", "virtual_neuron": None, "correlation": 0.5, "words": [["bird", 1.0]]},
    ]
    assert main_words(rows) == ["dog"]


def test_words_are_those_of_the_artifact(tmp_path: Path) -> None:
    pixels = np.zeros((40, 32, 32, 3), dtype="u1")
    write_images(tmp_path / "images.h5", pixels, ["cat", "dog"], [f"{i}.png" for i in range(40)], [])
    made = MadeUpLayer(tmp_path / "layer", tmp_path / "images.h5", "layer2", "layer1", words=("null", "nan", "a"))
    made.write(40, 32)
    folder = Path(made.pages(tmp_path / "report", "photos", "net", n_references=6, patch_size=16, image_size=24))
    with h5py.File(made.path("explanations")) as file:
        names = [["null", "nan", "a"][i] for i in file["concept_number"][0, 0]]
        weights = file["weight"][0, 0]
    (first, *_), layer = read_data(folder / "neurons/0.js")["words"], read_data(folder / "layer.js")
    assert first["method"] == "le:mine"
    assert first["virtual_neuron"] is None
    assert [name for name, _ in first["words"]] == names == layer["lines"][0]["words"]
    assert [weight for _, weight in first["words"]] == pytest.approx(weights, rel=1e-3)
    le, dissect = layer["facts"]["words"]
    assert le["correlation"] == {"mean": 0.5, "low": 0.4, "high": 0.6, "n": 6}
    assert le["ablation"] == {"mean": 0.2, "low": None, "high": None, "n": 1}
    assert "ablation" not in dissect
    assert layer["facts"]["virtual_words"][0]["children_correlation"] == 0.7
