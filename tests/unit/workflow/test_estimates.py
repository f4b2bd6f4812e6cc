"""Estimated sizes beside those of artifacts."""

from pathlib import Path
from typing import Any

import h5py
import pytest

from purelens.circuits.activations import activations
from purelens.circuits.patches import patches
from purelens.circuits.relevances import relevances
from purelens.circuits.tables import Circuits
from purelens.networks.subnetwork import LayerView
from purelens.workflow.estimates import Sizes, artifact_bytes, measured_seconds, memory_mb, minutes


def test_sizes_of_artifacts_are_near_the_truth(small: dict[str, Any], tmp_path: Path) -> None:
    sizes = Sizes(images=40, side=32, neurons=64, selected=64, references=20, lower_neurons=96)
    inputs = {**small, "layer": LayerView("layer3")}
    activations(**inputs, n_references=20, activations_h5=f"{tmp_path}/activations.h5")
    inputs["activations_h5"] = f"{tmp_path}/activations.h5"
    relevances(**inputs, circuits=Circuits(["layer2", "layer3.0"]), relevances_h5=f"{tmp_path}/relevances.h5")
    patches(**inputs, patches_h5=f"{tmp_path}/patches.h5")
    for rule in ("activations", "relevances", "patches"):
        overhead = 16_000  # of the file's structure
        size = (tmp_path / f"{rule}.h5").stat().st_size
        estimate = artifact_bytes(rule, sizes)
        assert estimate is not None
        assert abs(size - estimate) < 0.15 * estimate + overhead, rule
    with h5py.File(small["images_h5"]) as file:
        assert abs(file["pixels"].nbytes - artifact_bytes("dataset", sizes)) < 0.1 * file["pixels"].nbytes


def test_a_layer_of_the_published_study_fits_where_it_should() -> None:
    sizes = Sizes(images=50_000, neurons=2048, selected=2048, references=100, lower_neurons=1024)
    assert artifact_bytes("relevances", sizes) == pytest.approx(0.84e9, rel=0.02)
    assert 1000 < memory_mb("patches", sizes) < 8000
    assert memory_mb("layer_figures", sizes) < memory_mb("patches", sizes)
    assert minutes("layer_figures", sizes) == 10
    assert minutes("patches", sizes) > 1000 > minutes("patches", Sizes(selected=64, references=50, shards=2))
    assert artifact_bytes("alignment", sizes) is None


def test_a_benchmark_of_an_earlier_run(tmp_path: Path) -> None:
    (tmp_path / "b.tsv").write_text("s\th:m:s\tmax_rss\n12.5\t0:00:12\t300\n")
    assert measured_seconds(tmp_path / "b.tsv") == 12.5
    for content in ("", "s\n", "x\ty\n1\t2\n", "s\nNA\n"):
        (tmp_path / "b.tsv").write_text(content)
        assert measured_seconds(tmp_path / "b.tsv") is None
    assert measured_seconds(tmp_path / "none.tsv") is None
