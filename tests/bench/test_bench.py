"""The benchmark: its bookkeeping, and that all implementations of a stage give the same."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from helpers import ROOT
from purelens.bench import clustering, definitions, growth, sizes, stages
from purelens.bench.clustering import compare_clustering
from purelens.bench.comparison import IMPLEMENTATIONS, Comparison, ratios, run_comparison
from purelens.bench.comparisons import comparisons
from purelens.bench.explanations import compare_ranking, compare_selection, make_up, write
from purelens.bench.setting import ReferenceResult, Setting, prepare
from purelens.config.bench import BenchStudy
from purelens.figures.bench_figures import bench_figures

SMALL = BenchStudy(
    architecture="torchvision:resnet18", size=64, layer="layer4", lower_layer="layer3", device="cpu", references=4,
    neurons=3, circuit_images=4, patch_neurons=2, clustered_neurons=2, figure_images=7,
    images_counted=10, decoded_images=12, layers=["layer3", "layer4"],
)  # fmt: skip


@pytest.fixture(scope="module")
def setting(tmp_path_factory: pytest.TempPathFactory) -> Setting:
    """A small random network on drawn images."""
    return prepare(SMALL, tmp_path_factory.mktemp("bench"), 10, 3, 4, seed=0)


def test_implementations_alternate() -> None:
    calls: list[str] = []

    def called(name: str, result: float) -> float:
        calls.append(name)
        return result

    implementations: dict[str, Callable[[], float]] = {
        "definition": lambda: called("d", 1.0),
        "purelens": lambda: called("p", 1.25),
        "floor": lambda: called("f", 0.0),
    }
    comparison = Comparison(
        "stage", implementations, lambda result, expected: result - expected, "difference", size={"images": 3}
    )
    records = run_comparison(comparison, "study", 5)
    assert "".join(calls) == "dpf" * 5
    assert [record["implementation"] for record in records] == ["definition", "purelens", "floor"]
    assert [record["parity"] for record in records] == [None, 0.25, None]
    for record in records:
        assert 0 <= record["min_s"] <= record["median_s"]
        assert record["repeats"] == 5
        assert {"study", "stage", "parity_metric", "size"} <= record.keys()


def test_ratios() -> None:
    seconds = {"definition": 8.0, "published": 6.0, "purelens": 2.0, "floor": 1.6}
    records = [
        {"study": "s", "stage": "a", "implementation": name, "median_s": value} for name, value in seconds.items()
    ]
    records.append({"study": "s", "stage": "b", "implementation": "purelens", "median_s": 1.0})
    whole, alone = ratios(records)
    assert whole["published_over_purelens"] == 3.0
    assert whole["purelens_over_floor"] == 1.25
    assert alone["published_over_purelens"] is None


@pytest.mark.parametrize(
    ("make", "worst"),
    [
        (lambda setting: stages.compare_activations(setting, 4), 1e-3),  # the published program merges BatchNorms first
        (stages.compare_relevances, 1e-4),
        (stages.compare_end_to_end, 1e-4),
        (lambda setting: stages.compare_decoding(SMALL, setting.folder / "decoding", 2, 0), 0),
    ],
    ids=["activations", "relevances", "end_to_end", "decoding"],
)
def test_all_ways_give_the_same(setting: Setting, make: Callable[[Setting], Comparison], worst: float) -> None:
    records = run_comparison(make(setting), "small", 1)
    measured = {record["implementation"]: record["parity"] for record in records}
    assert set(measured) <= set(IMPLEMENTATIONS)
    assert measured["purelens"] is not None
    assert max(value for value in measured.values() if value is not None) <= worst


def test_all_ways_give_the_same_boxes(setting: Setting) -> None:
    records = run_comparison(stages.compare_patches(setting), "small", 1)
    shares = {record["implementation"]: record["parity"] for record in records}
    assert shares["purelens"] == shares["published"] == 1


def test_all_ways_give_the_same_clusters(tmp_path: Path) -> None:
    records = run_comparison(compare_clustering(tmp_path, 1, seed=0), "small", 1)
    assert all(record["parity"] < 2e-3 for record in records if record["implementation"] != "definition")


def test_wrong_references_are_far_apart(setting: Setting) -> None:
    (measured, *_) = definitions.references(setting, 4, ["layer3"])
    assert stages._references_difference([measured], [measured]) == 0
    swapped = ReferenceResult(measured.ids[:, ::-1], measured.values, measured.largest, measured.mean)
    assert stages._references_difference([swapped], [measured]) > 0.01
    assert measured.mean is not None
    blurred = ReferenceResult(measured.ids, measured.values, measured.largest, measured.mean * 1.1)
    assert stages._references_difference([blurred], [measured]) > 0.01


def test_other_clusters_or_distances_are_far_apart(tmp_path: Path) -> None:
    made = clustering.make_up(tmp_path, 2, 0)
    by_definition = clustering.by_definition(made)
    assert clustering._difference(by_definition, by_definition) == 0
    further = clustering.Evaluation(by_definition.inertia, 1.1 * by_definition.distances, by_definition.correlation)
    assert clustering._difference(further, by_definition) == pytest.approx(0.1)
    worse = by_definition.inertia.copy()
    worse[0, 0, 0] *= 1.2
    assert clustering._difference(
        clustering.Evaluation(worse, by_definition.distances, by_definition.correlation), by_definition
    ) == pytest.approx(0.2)


def test_sizes_are_those_of_the_tables(tmp_path: Path) -> None:
    measured = {row["artifact"]: row for row in sizes.measure_sizes(SMALL, "small", tmp_path, seed=0)}
    assert measured["relevances"]["full_bytes"] == pytest.approx(512 * 100 * (256 * 2 + 4), rel=0.01)
    assert measured["activations"]["full_bytes"] == pytest.approx(50_000 * 512 * 4 + 512 * 100 * 12, rel=0.01)
    assert measured["embeddings"]["full_bytes"] == 2 * 512 * 100 * 768 * 2
    with h5py.File(tmp_path / "relevances.h5") as file:
        assert file["relevance/layer3"].dtype == np.float16
    written = [row for row in measured.values() if row["artifact"] != "embeddings"]
    assert all(0 < row["bytes"] < row["data"] + 20_000 for row in written)  # whatever the size
    assert sum(row["full_bytes"] for row in measured.values()) < 1e9


def test_memory_does_not_grow_with_images_or_pairs(tmp_path: Path) -> None:
    """Four times the images are 45 MB more of pixels; four times the pairs 40 MB more of heatmaps."""
    study = BenchStudy(
        architecture="torchvision:squeezenet1_1", layer="features.12", lower_layer="features.9", batch_size=4,
        device="cpu", images_counted=100, neurons=8,
    )  # fmt: skip
    measured = growth.measure_growth(study, "small", tmp_path, seed=0)
    assert len(measured) == 9
    for stage in ("activations", "relevances", "patches"):
        once, _, fourfold = (record for record in measured if record.stage == stage)
        assert 4 * max(once.images * (stage == "activations"), once.pairs) == max(
            fourfold.images * (stage == "activations"), fourfold.pairs
        )
        assert once.peak_bytes > 1e8
        assert fourfold.peak_bytes <= 1.1 * once.peak_bytes, stage


def test_the_rule_writes_what_the_figures_draw(tmp_path: Path) -> None:
    folder = tmp_path / "bench"
    paths = (f"{folder}/bench.json", f"{folder}/ratios.csv", f"{folder}/growth.csv", f"{folder}/sizes.csv")
    study = SMALL.model_copy(update={"stages": ["activations"]})
    comparisons(*paths, {"small": study.model_dump()}, repeats=1, threads=1)
    records = json.loads(Path(paths[0]).read_text())
    assert [record["implementation"] for record in records if record["stage"] == "activations"] == [*IMPLEMENTATIONS]
    grown = [
        {"study": "small", "stage": "activations", "factor": n, "images": 10 * n, "pairs": 0, "seconds": n, "peak_bytes": 1}
        for n in (1, 2, 4)
    ]  # fmt: skip
    pd.DataFrame(grown).to_csv(paths[2], index=False)
    bench_figures(paths[1], paths[2], str(tmp_path / "figures"))
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {"stages_small.png", "growth_small.png"}


def test_explanations_are_the_same_in_every_way() -> None:
    selection = run_comparison(compare_selection(8, seed=1), "small", 1)
    shares = {record["implementation"]: record["parity"] for record in selection}
    assert shares["purelens"] == 1
    assert shares["published"] == 1
    assert {record["implementation"]: record["multiplied_by"] for record in selection} == {
        "definition": 1, "published": 4, "purelens": 1,
    }  # fmt: skip
    ranking = run_comparison(compare_ranking(8, seed=1), "small", 1)
    measured = {record["implementation"]: record["parity"] for record in ranking}
    assert measured["purelens"] < 1e-6
    assert measured["published"] > 1e-3  # it does a fiftieth of its passes


EXPLAIN = """
import sys
sys.path.insert(0, {library!r})
from pathlib import Path
from purelens.bench import explanations as bench
from purelens.bench.growth import _peak_bytes
folder = Path({folder!r})
bench.explain_all(str(folder / "activations.h5"), str(folder / "concepts.h5"), str(folder / "explanations.h5"))
print(_peak_bytes())
"""


def test_memory_of_explanations_does_not_grow_with_neurons(tmp_path: Path) -> None:
    peaks = []
    for n_neurons in (256, 1024):
        folder = tmp_path / str(n_neurons)
        write(make_up(n_neurons, 0, n_images=8000, n_concepts=100), folder)
        code = EXPLAIN.format(library=str(ROOT / "workflow_scripts"), folder=str(folder))
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout.split()[-1]))
    assert peaks[0] > 1e8
    assert peaks[1] <= 1.1 * peaks[0]
