"""The tiny study from start to end: what is there, what a second run does, and that results repeat."""

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import h5py
import pandas as pd
import pytest
import xarray
from PIL import Image

from purelens.storage.provenance import text
from support.workplace import Workplace, contents, hidden

LAYER = "scenes/scene_cnn/layer3"


def test_everything_is_there(finished: Path) -> None:
    made = sorted(
        path.relative_to(finished / LAYER).as_posix() for path in (finished / LAYER).rglob("*") if path.is_file()
    )
    judged = ("interpretability", "alignment", "monosemanticity", "selectivity")
    tables = [f"{name}{kind}.csv" for name in judged for kind in ("", "_summary")]
    stages = ["activations.h5", "relevances.h5", "patches.h5", "embeddings/scene_clip.h5", "virtual_neurons.h5"]
    explained = ["scores.csv", "scores_virtual.csv", "ablation.csv", "explanations.h5", "assignments.h5", "iou.h5"]
    assert set(tables + stages + explained) <= set(made)
    data = [name for name in made if name.endswith((".h5", ".csv"))]
    assert len(data) <= 25  # files for each layer, however many neurons
    figures = [name for name in made if name.endswith(".png")]
    assert len([name for name in figures if name.endswith("_sheet.png")]) == 2
    assert len([name for name in figures if name.endswith("_umap.png")]) == 2
    assert "figures/methods_scene_clip.png" in figures
    for name in figures:
        with Image.open(finished / LAYER / name) as image:
            assert min(image.size) > 200


def test_nothing_temporary_is_left(finished: Path) -> None:
    assert hidden(finished) == set()


def test_every_artifact_opens_in_xarray(finished: Path) -> None:
    artifacts = sorted(finished.rglob("*.h5"))
    assert len(artifacts) == 24
    for path in artifacts:
        with xarray.open_dataset(path, engine="h5netcdf") as dataset:
            assert dataset.attrs["fingerprint"]
            assert dataset.attrs["code"]
            for name, variable in dataset.data_vars.items():
                assert variable.attrs["description"], (path, name)
                assert not any(str(dim).startswith("phony") for dim in variable.dims), (path, name)


def test_lineage_is_recorded(finished: Path) -> None:
    with h5py.File(finished / "scenes/images.h5") as images, h5py.File(finished / LAYER / "activations.h5") as top:
        inputs = json.loads(top.attrs["inputs"])
        assert inputs["images_h5"] == text(images, "fingerprint")
        assert json.loads(top.attrs["params"])["layer"] == {"name": "layer3", "channels": "auto", "lower_channels": {}}


def test_accuracies_are_stored(finished: Path) -> None:
    clip = json.loads((finished / "world/scene_clip.json").read_text())["zero_shot"]
    assert set(clip) == {"shape", "color", "texture", "background", "mean"}
    assert 0 <= json.loads((finished / "world/scene_cnn.json").read_text())["accuracy"] <= 1
    card = json.loads((finished / "scenes/scene_cnn/model.json").read_text())
    assert card["top1_images"] == 120


def test_tables_have_all_methods(finished: Path) -> None:
    table = pd.read_csv(finished / LAYER / "interpretability.csv", keep_default_na=False)
    methods = {"pure:layer3.0", "pure:layer2", "activations", "embedder:scene_clip", "random", "none", "joint"}
    assert set(table.method) == methods
    assert len(table) == 32 * (6 * 4 + 1)


def test_a_second_run_does_nothing(workplace: Workplace, tiny: dict[str, Any], finished: Path) -> None:
    run = workplace.snakemake(tiny)
    assert run.code == 0
    assert "Nothing to be done" in run.text
    assert finished.is_dir()


REPORT = {"layer_figures", "pages", "explorer"}
SCORES = {"simulate", "ablate"}
LENS_TABLES = {"replacements", "segmentation", "lens_pages"}
JUDGED = {"interpretability", "monosemanticity", "selectivity"}
CLUSTERED = {"virtual_neurons", "neuron_figures", "assignments", "explain"} | JUDGED


@pytest.mark.parametrize(
    ("key", "value", "rules"),
    [
        ("virtual_neurons", {"n_clusters": [2, 3]}, CLUSTERED | SCORES | REPORT),
        ("figures", {"neurons": 3, "references": 8}, {"neuron_figures"}),
        (
            "evaluation",
            {"bootstrap": 201},
            {"alignment"} | JUDGED | SCORES | LENS_TABLES | REPORT,
        ),
    ],
)
def test_a_changed_key_reruns_what_uses_it(
    workplace: Workplace, tiny: dict[str, Any], finished: Path, key: str, value: dict[str, Any], rules: set[str]
) -> None:
    assert finished.is_dir()
    run = workplace.snakemake({**tiny, key: value}, "-n")
    assert set(run.jobs) == rules, run.text


@pytest.mark.parametrize("name", ["virtual_neurons.h5", "relevances.h5", "patches.h5", "interpretability_summary.csv"])
def test_a_deleted_artifact_comes_back_the_same(
    workplace: Workplace, tiny: dict[str, Any], finished: Path, name: str
) -> None:
    path = finished / LAYER / name
    before = contents(path)
    path.unlink()
    run = workplace.snakemake(tiny, str(path.relative_to(workplace.folder)))
    assert run.code == 0, run.text
    assert contents(path) == before


@pytest.mark.parametrize("suffix", ["html", "zip"])
def test_snakemakes_own_report(
    workplace: Workplace, tiny: dict[str, Any], finished: Path, tmp_path: Path, suffix: str
) -> None:
    assert (finished / "report/excerpt.html").stat().st_size < 1_500_000
    path = tmp_path / f"report.{suffix}"
    run = workplace.snakemake(tiny, "--report", str(path))
    assert run.code == 0, run.text
    assert "Report created" in run.text
    assert path.stat().st_size < 25 * 2**20
    if suffix == "zip":
        with zipfile.ZipFile(path) as packed:
            names = [Path(name).name for name in packed.namelist()]
        assert {"excerpt.html", "neurons.html", "methods_scene_clip.png", "alignment_summary.csv"} <= set(names)


def test_planted_neurons_and_dictionaries_are_branches(tiny: dict[str, Any], finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "results")
    study = {**tiny, "planted": {"layers": "scene_cnn/layer3", "pairs": 3, "triples": 2, "controls": 2}}
    workplace = Workplace(tmp_path)
    planted = {"planted": 1, "planted_scores": 1, "planted_figure": 1}
    assert workplace.snakemake(study, "-n").jobs == {**planted, "pages": 1, "explorer": 1}
    study["dictionaries"] = {"layers": "all", "latents": 12, "active": 3}
    names = ("figures/planted.png", "monosemanticity_summary.csv")
    run = workplace.snakemake(study, *(f"results/{LAYER}/{name}" for name in names))
    assert run.code == 0, run.text
    table = pd.read_csv(tmp_path / "results" / LAYER / "planted.csv")
    dictionaries = {"dictionary:nmf", "dictionary:sae"}
    assert {"joint", "activations", "random", "supervised ceiling"} | dictionaries <= set(table["method"])
    scores = pd.read_csv(tmp_path / "results" / LAYER / "monosemanticity_summary.csv")
    assert dictionaries | {"nmf", "sae", "neuron"} <= set(scores["method"])
    with Image.open(tmp_path / "results" / LAYER / "figures/planted.png") as image:
        assert min(image.size) > 200


def test_nothing_judges_where_there_is_no_embedding_model(tiny: dict[str, Any], finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "results")
    study = {**tiny, "embedders": {}, "lens": {}, "explain": {}, "dictionaries": {"layers": "all", "latents": 8}}
    study["evaluation"] = {**tiny["evaluation"], "selectivity_neurons": 0}
    run = Workplace(tmp_path).snakemake(study)
    assert run.code == 0, run.text
    assert "embedders: none embeds patches, so nothing judges the virtual neurons" in run.text
    with h5py.File(tmp_path / "results" / LAYER / "virtual_neurons.h5") as file:
        assert [name.decode() for name in file["method"][...]] == [
            "pure:layer2", "pure:layer3.0", "joint", "activations", "dictionary:nmf", "dictionary:sae", "random",
        ]  # fmt: skip
