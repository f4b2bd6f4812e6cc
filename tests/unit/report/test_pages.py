"""A dead neuron has a page."""

from pathlib import Path

from purelens.report.data import read_data
from support.pages import DEAD, MadeUpLayer


def test_a_dead_neuron_has_a_page_without_pictures(layer: tuple[MadeUpLayer, Path]) -> None:
    _, folder = layer
    data = read_data(folder / f"neurons/{DEAD}.js")
    assert data["images"] == data["shown"] == []
    assert not (folder / f"neurons/{DEAD}.jpg").exists()
    line = read_data(folder / "layer.js")["lines"][DEAD]
    assert line == {"n": 0, "classes": [], "concepts": [], "words": []}
    assert any("1 dead neurons" in text for text in read_data(folder / "layer.js")["facts"]["warnings"])
