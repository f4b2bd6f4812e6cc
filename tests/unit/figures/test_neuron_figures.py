"""Figures of neurons are drawn, also of dead ones and of many virtual neurons."""

from pathlib import Path
from typing import Any

import pytest

from purelens.circuits.virtual_neurons import virtual_neurons
from purelens.figures.neuron_figures import neuron_figures
from support.layers import DEAD, RARE


@pytest.mark.parametrize("neurons", [3, [0, DEAD, RARE]])
def test_figures_are_drawn(study: dict[str, Any], tmp_path: Path, neurons: int | list[int]) -> None:
    folder = tmp_path / "figures"
    paths = (study["images_h5"], study["patches"], study["virtual_neurons"], study["projections"])
    neuron_figures(*paths, str(folder), str(tmp_path / "g.html"), "title", neurons)
    drawn = sorted(path.name for path in folder.iterdir())
    assert f"neuron_{DEAD:05d}_umap.png" not in drawn
    assert len(drawn) == 2 * (3 if neurons == 3 else 2)
    assert all(path.stat().st_size > 5000 for path in folder.iterdir())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["figures", "g.html"]


def test_a_neuron_that_is_not_in_the_layer_is_not_drawn(
    study: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    paths = (study["images_h5"], study["patches"], study["virtual_neurons"], study["projections"])
    neuron_figures(*paths, str(tmp_path / "f"), str(tmp_path / "g.html"), "title", [1, 9])
    assert len(list((tmp_path / "f").iterdir())) == 2
    assert "not drawn: 9" in caplog.text


def test_more_clusters_than_colors(study: dict[str, Any], tmp_path: Path) -> None:
    out = str(tmp_path / "v.h5")
    virtual_neurons(study["relevances"], study["activations"], [study["embeddings"]], out, ["net"], [2, 11])
    paths = (study["images_h5"], study["patches"], out, study["projections"])
    neuron_figures(*paths, str(tmp_path / "f"), str(tmp_path / "g.html"), "title", [0], n_clusters=11, n_references=12)
    assert len(list((tmp_path / "f").iterdir())) == 2
