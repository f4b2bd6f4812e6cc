"""What rules ask of a study: paths of artifacts and shards, files that are inputs, and sizes."""

from pathlib import Path
from typing import Any

import pytest

from purelens.reruns.digests import Digests
from purelens.workflow.explain_study import ExplainStudy
from purelens.workflow.lens_study import LensStudy
from purelens.workflow.study import NOTHING, Study, one_of, open_study
from support.workplace import TINY


class Wildcards(dict[str, str]):
    """Wildcards as Snakemake gives them to functions."""

    __getattr__ = dict.__getitem__


LAYER = Wildcards(dataset="scenes", model="scene_cnn", layer="layer3")
CLIP = Wildcards(dataset="scenes", embedder="scene_clip")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where nothing is, and what was looked up is kept."""
    return tmp_path_factory.mktemp("run")


@pytest.fixture(autouse=True)
def _elsewhere(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


def changed(**sections: Any) -> Study:
    return open_study({**TINY, **sections}, Digests())


def test_stages_of_one_job_make_the_artifact() -> None:
    study = changed()
    assert study.job_path("activations") == study.path("activations")
    assert study.log_name("activations/{dataset}") == "activations/{dataset}"
    assert study.shard_of("activations")(LAYER) == "1/1"
    assert study.sharded_stages() == NOTHING


def test_stages_of_several_jobs_make_shards() -> None:
    study = changed(shards={"activations": 3, "embeddings": 2})
    assert study.job_path("activations") == "results/{dataset}/{model}/{layer}/shards/activations.{shard}-of-3.h5"
    assert study.job_path("patches") == study.path("patches")
    assert study.log_name("activations/{dataset}") == "activations/{dataset}.{shard}-of-3"
    assert study.shard_of("activations")(Wildcards(shard="2")) == "2/3"
    assert study.sharded_stages() == "activations|embeddings/[^/]+"
    w = Wildcards(folder="scenes/scene_cnn/layer3", stage="embeddings/scene_clip")
    assert study.shards_of(w) == [
        f"results/scenes/scene_cnn/layer3/embeddings/shards/scene_clip.{n}-of-2.h5" for n in (1, 2)
    ]


def test_files_are_inputs_and_names_are_not(tmp_path: Path) -> None:
    weights = tmp_path / "w.pth"
    weights.write_text("w")
    world = "results/world/scene_cnn.safetensors"
    assert changed().files(str(weights), str(tmp_path), "published", None, "", world) == [str(weights), world]


def test_paths_beside_a_page_do_not_depend_on_the_results() -> None:
    for results in ("results", "/somewhere/else"):
        assert changed(results=results).path_from("explorer", "bench_ratios") == "../bench/ratios.csv"


def test_sizes_of_layers_and_clips() -> None:
    study = changed(shards={"relevances": 2})
    layer = study.sizes("relevances", LAYER)
    assert (layer.images, layer.neurons, layer.references, layer.shards) == (120, 32, 12, 2)
    clip = study.sizes("effects", {**CLIP, "block": "1"})
    assert (clip.neurons, clip.references, clip.heads > 0) == (384, 20, True)
    assert study.sizes("explorer", {}).images == 120


def test_names_that_are_patterns() -> None:
    assert one_of(["a.b", "c"]) == r"a\.b|c"
    assert one_of([]) == NOTHING


def test_concept_sets() -> None:
    concepts = {**TINY["explain"]["concepts"], "both": {"source": "all", "embedder": "scene_clip"}}
    explain = ExplainStudy(changed(explain={**TINY["explain"], "concepts": concepts, "ground_truth": "words"}))
    assert explain.explainers == ["truth", "words"]
    assert explain.ground_truth(LAYER) == "results/scenes/concepts/words.h5"
    of_all, of_labels = (Wildcards(dataset="scenes", concepts=name) for name in ("both", "truth"))
    assert explain.others(of_all) == explain.explaining(LAYER)
    assert explain.others(of_labels) == explain.embedded_images(of_labels) == []
    assert explain.embedder(of_labels) is None
    assert explain.assignments(LAYER) == ["results/scenes/scene_cnn/layer3/assignments.h5"]
    none = ExplainStudy(changed(explain={}))
    assert none.artifact("scores")(LAYER) == none.iou(LAYER) == []


def test_attacks(tmp_path: Path) -> None:
    assert LensStudy(changed()).attack_kinds == ["attacks", "attack_prompts"]
    (tmp_path / "model_index.json").write_text("{}")
    lens = LensStudy(changed(lens={**TINY["lens"], "pipeline": str(tmp_path)}))
    assert lens.attack_kinds == ["attacks", "attack_prompts", "attack_images"]
    assert len(lens.attack_tables(CLIP)) == 3
    before = lens.attack_watch(CLIP)["pipeline"]
    (tmp_path / "model_index.json").write_text("{ }")
    assert LensStudy(lens.study).attack_watch(CLIP)["pipeline"] != before
    assert "avoid" not in lens.attack_settings({"avoid"})["to_star"]
    assert lens.of_blocks("effects")(CLIP) == ["results/scenes/lens/scene_clip/1/effects.h5"]


@pytest.mark.parametrize("results", ["results", "other"])
def test_the_world_is_where_the_results_are(results: str) -> None:
    assert changed(results=results).files("results/world/probe.h5") == (
        ["results/world/probe.h5"] if results == "results" else []
    )
