"""What each edit makes stale: the exact set of jobs, on the tiny world and a folder of one's own images."""

import copy
import os
import re
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from helpers import load_cifar_resnet
from support.stale import (
    AFTER_ACTIVATIONS,
    AFTER_CLUSTERS,
    AFTER_CONCEPTS,
    AFTER_EFFECTS,
    AFTER_EMBEDDINGS,
    AFTER_EXPLANATIONS,
    AFTER_NEURONS,
    AFTER_PATCHES,
    AFTER_RELEVANCES,
    AFTER_WORDS,
    ASSIGNMENTS,
    EMBEDDED_IMAGES,
    EVERYTHING,
    LENS,
    LENS_REPORT,
    LENS_TABLES,
    ONE_DATASET,
    ONE_MODEL,
    REPORT,
    SCORES,
    one,
)
from support.workplace import TINY, Workplace, copy_code, results_of


class Place:
    """A checkout of its own, with a study and its results in it."""

    def __init__(self, folder: Path) -> None:
        copy_code(folder)
        self.folder = folder
        self.workplace = Workplace(folder, folder)
        self.study = copy.deepcopy(TINY)
        self.study["models"]["scene_cnn"]["architecture"] = "workflow_scripts/purelens/world/cnn.py:scene_cnn"
        self.study["embedders"]["scene_clip"]["architecture"] = "workflow_scripts/purelens/world/scene_clip.json"
        self.study["explain"]["concepts"]["words"]["texts"] = "workflow_scripts/purelens/world/concepts.csv"
        self.study["lens"]["texts"] = "workflow_scripts/purelens/world/texts.txt"
        self.study["models"]["scene_cnn"]["datasets"] = ["scenes"]
        self.study["models"]["scene_cnn"]["layers"]["layer3"]["neurons"] = ["0-5"]
        self.study["datasets"]["photos"] = {"images": "photos", "size": 32}
        self.study["models"]["net"] = {
            "architecture": "configs/networks/cifar_resnet.py:cifar_resnet",
            "options": {"depth": 8},
            "weights": "net.pth",
            "datasets": ["photos"],
            "layers": {"layer3": {"neurons": ["0-3"]}},
        }
        rng = np.random.default_rng(0)
        for number in range(24):
            path = folder / "photos" / f"class{number % 2}" / f"{number:02d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(path)
        torch.save(load_cifar_resnet(seed=0, depth=8).state_dict(), folder / "net.pth")

    def planned(self, *arguments: str, **changes: Any) -> dict[str, int]:
        """Jobs that a run would start, after changes of the study."""
        run = self.workplace.snakemake(changed(self.study, changes), *arguments, "-n")
        assert run.code == 0, run.text
        return run.jobs


def changed(study: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """A study with some of its leaves replaced; the keys are paths."""
    study = copy.deepcopy(study)
    for key, value in changes.items():
        section = study
        *path, last = key.split("/")
        for name in path:
            section = section.setdefault(name, {})
        section[last] = value
    return study


@pytest.fixture(scope="module")
def place(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = Place(tmp_path_factory.mktemp("checkout") / "a")
    shutil.copytree(finished / "world", place.folder / "results/world")
    run = place.workplace.snakemake(place.study)
    assert run.code == 0, run.text
    return place


def edit(file: str, old: str, new: str) -> Callable[[Path], None]:
    """An edit of a file of the library in a checkout."""

    def apply(code: Path) -> None:
        path = code / "workflow_scripts" / "purelens" / file
        text = path.read_text()
        assert re.search(old, text, re.M), f"{old} is not in {file}"
        path.write_text(re.sub(old, new, text, count=1, flags=re.M))

    return apply


DECISIONS = {"polysemanticity": 2, **SCORES, **REPORT}

CODE_EDITS = {
    "a comment": (edit("numerics/clustering.py", r"\A", "# a comment\n"), {}),
    "a constant that nothing uses": (edit("numerics/clustering.py", r"^import numpy", "LEAST = 3\nimport numpy"), {}),
    "a docstring": (edit("circuits/relevances.py", r'"""Attribute each neuron', '"""Say of each neuron'), {}),
    "formatting": (edit("circuits/topk.py", r"\(self\.value\.shape\[1\]\)", "(  self.value.shape[1]  )"), {}),
    "words of an error": (edit("errors.py", "did you mean", "do you mean"), {}),
    "the look of progress": (edit("progress.py", "SECONDS_BETWEEN_LINES = 15.0", "SECONDS_BETWEEN_LINES = 5.0"), {}),
    "clustering": (
        edit("circuits/splitting.py", "np.nan$", "np.inf"),
        AFTER_CLUSTERS,
    ),
    "k-means": (
        edit("numerics/moves.py", "MAX_SWEEPS = 100", "MAX_SWEEPS = 99"),
        {**AFTER_CLUSTERS, **AFTER_EFFECTS},
    ),
    "the test of neurons": (edit("numerics/unimodal.py", "LEAST_P_VALUE = 1e-6", "LEAST_P_VALUE = 1e-7"), DECISIONS),
    "the split in two": (
        edit("numerics/ridge_split.py", "PENALTY = 20.0", "PENALTY = 19.0"),
        {"polysemanticity": 2, **AFTER_CLUSTERS},
    ),
    "a plot": (edit("figures/neuron_figures.py", "COLUMNS = 10", "COLUMNS = 8"), {"neuron_figures": 2}),
    "the style of plots": (
        edit("figures/style.py", "DPI = 150", "DPI = 151"),
        {"neuron_figures": 2, "layer_figures": 2},
    ),
    "names of methods in plots": (edit("figures/style.py", "LONG_NAME = ", "LONG_NAME = 1 + "), {"layer_figures": 2}),
    "a metric": (
        edit("circuits/alignment.py", r"dtype=bool\), k=1", "dtype=bool), k=2"),
        {"alignment": 2, "layer_figures": 2, **REPORT},
    ),
    "what is replaced beside a circuit": (
        edit("circuits/selectivity.py", "NEAREST = 5", "NEAREST = 6"),
        {"selectivity": 2, **REPORT},
    ),
    "the look of the explorer": (edit("../report/explorer.css", "scrollbar-gutter: stable;", ""), {"explorer": 1}),
    "the data of the explorer": (edit("report/neurons.py", "SLAB_NEURONS = 16", "SLAB_NEURONS = 8"), REPORT),
    "the LRP rule": (
        edit("networks/lrp.py", "STABILIZER = 1e-6", "STABILIZER = 1e-7"),
        {"patches": 2, **AFTER_PATCHES},
    ),
    "attribution": (
        edit("circuits/attribution.py", "L1_FLOOR = 1e-10", "L1_FLOOR = 1e-9"),
        {"relevances": 2, **AFTER_RELEVANCES},
    ),
    "the world's network": (
        edit("world/cnn.py", r"SceneCNN\(num_classes\)", "SceneCNN(num_classes + 0)"),
        {"world_cnn": 1, **ONE_MODEL},
    ),
    "how explanations are selected": (
        edit("explanations/selection.py", "CONDITION = 1e-10", "CONDITION = 1e-9"),
        AFTER_CONCEPTS,
    ),
    "a score": (
        edit("explanations/scores.py", "TOP = 0.05", "TOP = 0.06"),
        {"simulate": 2, **REPORT},
    ),
    "the closed form": (
        edit("lens/closed_form.py", "COEFFICIENT = 100.0", "COEFFICIENT = 10.0"),
        {"effects": 1, **AFTER_EFFECTS},
    ),
    "the pursuit": (
        edit("lens/pursuit.py", "MIN_PIVOT = 1e-8", "MIN_PIVOT = 1e-9"),
        {"words": 1, **AFTER_WORDS},
    ),
    "artifacts": (edit("storage/artifacts.py", r"CHUNK_BYTES = 2\*\*18", "CHUNK_BYTES = 2**17"), EVERYTHING),
}

KEY_EDITS: dict[str, tuple[dict[str, Any], dict[str, int]]] = {
    "k": ({"virtual_neurons/n_clusters": [2, 3]}, AFTER_CLUSTERS),
    "false discovery rate": ({"virtual_neurons/false_discovery_rate": 0.05}, DECISIONS),
    "circuits alone": (
        {"virtual_neurons/joint": False},
        {name: n for name, n in {"relevances": 2, **AFTER_RELEVANCES}.items() if name != "polysemanticity"},
    ),
    "planted neurons": (
        {"planted": {"layers": ["scene_cnn/layer3"]}},
        {"planted": 1, "planted_scores": 1, "planted_figure": 1, **one(REPORT)},
    ),
    "dictionaries": (
        {"dictionaries": {"layers": ["scene_cnn/layer3"], "latents": 8, "active": 2}},
        {"dictionaries": 1, **one({**AFTER_CLUSTERS, "alignment": 2})},
    ),
    "neurons whose circuits are switched off": (
        {"evaluation/selectivity_neurons": 3},
        {"selectivity": 2, **REPORT},
    ),
    "what ranks the references": ({"reference_criterion": "mean"}, {"activations": 2, **AFTER_ACTIVATIONS}),
    "shortcuts kept": ({"relevances/skip_channels": "keep"}, {"relevances": 2, **AFTER_RELEVANCES}),
    "number of references": ({"references": 11}, {"activations": 2, **AFTER_ACTIVATIONS}),
    "storage": (
        {"storage": "single"},
        {**EMBEDDED_IMAGES, "effects": 1, **AFTER_EFFECTS, "activations": 2, **AFTER_ACTIVATIONS},
    ),
    "length of explanations": ({"explain/length": 5}, AFTER_CONCEPTS),
    "another ground truth": ({"explain/ground_truth": "words"}, AFTER_EXPLANATIONS),
    "scale of texts": ({"explain/concepts/words/scale": 30}, {"concepts": 2, **AFTER_CONCEPTS}),
    "neurons whose virtual neurons are explained": ({"explain/virtual_neurons": 1}, ASSIGNMENTS),
    "without explanations": (
        {"explain/concepts": {}, "explain/ground_truth": None, "explain/network_dissection": False},
        REPORT,
    ),
    "words of a direction": ({"lens/words": 3}, {"words": 1, **AFTER_WORDS}),
    "another pool": (
        {"lens/texts": "workflow_scripts/purelens/world/concepts.csv"},
        {"texts": 1, "words": 1, **AFTER_WORDS},
    ),
    "sentences of the classes": (
        {"lens/class_templates": ["{}"]},
        {"classes": 1, "heatmaps": 1, **LENS_TABLES},
    ),
    "images of a direction": ({"lens/top_images": 15}, AFTER_EFFECTS),
    "neurons of the segmentation": ({"lens/segmentation/neurons": 10}, {"segmentation": 1, "heatmaps": 1, **LENS_REPORT}),
    "another block": (
        {"lens/models/scene_clip/blocks": [0, 1]},
        {name: n for name, n in LENS.items() if name not in ("texts", "classes")},
    ),
    "blur": ({"patches/blur": 7}, {"patches": 2, **AFTER_PATCHES}),
    "normalization of relevances": ({"relevances/normalize": "none"}, {"relevances": 2, **AFTER_RELEVANCES}),
    "bootstrap": (
        {"evaluation/bootstrap": 201},
        {"interpretability": 2, "alignment": 2, **SCORES, "layer_figures": 2, "simulate": 2, "ablate": 2}
        | {**LENS_TABLES, **REPORT},
    ),
    "sizes in the explorer": ({"report/image_size": 100}, {**REPORT, **LENS_REPORT}),
    "seed of everything": ({"seed": 1}, {**EVERYTHING, "dataset": 1}),
    "an embedder added": (
        {"embedders/another": {"source": "network", "architecture": "torchvision:squeezenet1_1", "weights": "random"}
         | {"layer": "features.3", "size": 32}},
        {"embeddings": 2, "image_embeddings": 2, **AFTER_EMBEDDINGS, "layer_figures": 4},  # two more, and the old ones anew
    ),
    "a layer added": (
        {"models/net/layers": {"layer3": {"neurons": ["0-3"]}, "layer2": {"neurons": [1]}}},
        {name: n for name, n in ONE_MODEL.items() if name != "model"},
    ),
    "a model added": (
        {"models/second": {"architecture": "torchvision:squeezenet1_1", "weights": "random", "datasets": ["photos"]}
         | {"layers": {"features.3": {"neurons": [0], "lower_layers": ["features.2"]}}}},
        ONE_MODEL,
    ),
    "a neuron subset changed": (
        {"models/net/layers/layer3/neurons": ["0-4"]},
        one(AFTER_NEURONS),
    ),
    "a lower layer": ({"models/net/layers/layer3/lower_layers": ["layer2"]}, {}),
    "batch size, device, threads": ({"batch_size": 4, "device": "cpu", "threads": 2}, {}),
    "shards": ({"shards": {"activations": 3, "relevances": 2, "effects": 2}}, {}),
    "size of images": ({"datasets/photos/size": 24}, ONE_DATASET),
}  # fmt: skip


@pytest.fixture(scope="module")
def plans(place: Place, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, int]]:
    """What a run would do after each edit, each planned with a study and a copy of the code of its own."""
    folder = tmp_path_factory.mktemp("edits")

    def plan(number: int, name: str) -> dict[str, int]:
        code = folder / str(number)
        copy_code(code)
        if name in CODE_EDITS:
            CODE_EDITS[name][0](code)
        changes = KEY_EDITS[name][0] if name in KEY_EDITS else {}
        run = Workplace(place.folder, code, f"study{number}.yaml").snakemake(changed(place.study, changes), "-n")
        assert run.code == 0, run.text
        return run.jobs

    names = [*CODE_EDITS, *KEY_EDITS]
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(names, pool.map(plan, range(len(names)), names), strict=True))


@pytest.mark.parametrize("name", CODE_EDITS)
def test_edits_of_the_code(plans: dict[str, dict[str, int]], name: str) -> None:
    assert plans[name] == CODE_EDITS[name][1]


@pytest.mark.parametrize("name", KEY_EDITS)
def test_edits_of_the_study(plans: dict[str, dict[str, int]], name: str) -> None:
    assert plans[name] == KEY_EDITS[name][1]


def test_weights(place: Place) -> None:
    weights = place.folder / "net.pth"
    before = weights.read_bytes()
    weights.write_bytes(before)
    os.utime(weights)
    assert place.planned() == {}
    torch.save(load_cifar_resnet(seed=1, depth=8).state_dict(), weights)
    assert place.planned() == ONE_MODEL
    weights.write_bytes(before)
    assert place.planned() == {}


def test_images(place: Place) -> None:
    image = place.folder / "photos" / "class0" / "00.png"
    before = image.read_bytes()
    os.utime(image)
    assert place.planned() == {}
    Image.new("RGB", (32, 32), "red").save(image)
    assert place.planned() == ONE_DATASET
    image.unlink()
    assert place.planned() == ONE_DATASET
    image.write_bytes(before)
    assert place.planned() == {}
    new = image.with_name("99.png")
    Image.new("RGB", (32, 32), "red").save(new)
    assert place.planned() == ONE_DATASET
    new.unlink()
    assert place.planned() == {}


def test_a_fresh_checkout_with_the_results_copied_over(place: Place, tmp_path: Path) -> None:
    copy_code(tmp_path / "clone")
    for name in ("photos", "results"):
        shutil.copytree(place.folder / name, tmp_path / "clone" / name, copy_function=shutil.copyfile)
    shutil.copyfile(place.folder / "net.pth", tmp_path / "clone" / "net.pth")
    clone = Workplace(tmp_path / "clone", tmp_path / "clone")
    run = clone.snakemake(place.study, "-n")
    assert run.jobs == {}, run.text
    assert clone.snakemake(changed(place.study, {"patches/blur": 7}), "-n").jobs == {"patches": 2, **AFTER_PATCHES}


def test_single_rules(place: Place) -> None:
    assert place.planned("--forcerun", "relevances") == {"relevances": 2, **AFTER_RELEVANCES}
    assert place.planned("--forcerun", "relevances", "--until", "relevances") == {"relevances": 2}
    layer = "results/photos/net/layer3"
    assert place.planned(f"{layer}/patches.h5", "--force") == {"patches": 1}
    assert place.planned(f"{layer}/patches.h5") == {}
    assert place.planned("--until", "activations", references=11) == {"activations": 2}


def test_a_pipeline_that_draws_is_watched(place: Place) -> None:
    (place.folder / "pipeline").mkdir(exist_ok=True)
    (place.folder / "pipeline" / "model_index.json").write_text("{}")
    assert place.planned(**{"lens/pipeline": "pipeline"}) == {"attack_images": 1, **LENS_REPORT}


def test_reasons_name_the_key(place: Place) -> None:
    run = place.workplace.snakemake(changed(place.study, {"patches/blur": 7}), "-n")
    assert "results/photos/net/layer3/patches.h5/blur" in run.text


def test_a_plan_says_what_a_run_would_do(place: Place) -> None:
    run = place.workplace.snakemake(changed(place.study, {"patches/blur": 7}), "plan")
    assert run.code == 0, run.text
    lines = {line.split()[0]: line.split() for line in run.text.splitlines() if line.strip()}
    assert lines["patches"][1:3] == ["2", "blur"]
    assert lines["all"][1] == str(2 + sum(AFTER_PATCHES.values()))
    assert lines["patches"][-1] == "s"
    assert "activations" not in lines
    nothing = place.workplace.snakemake(place.study, "plan")
    assert "Nothing to be done: everything is up to date." in nothing.text


def test_a_foreign_artifact_of_the_same_name_is_made_anew(place: Place) -> None:
    path = place.folder / "results/photos/net/layer3/virtual_neurons.h5"
    before = path.read_bytes()
    path.write_bytes((place.folder / "results/scenes/scene_cnn/layer3/virtual_neurons.h5").read_bytes())
    try:
        assert place.planned() == one(AFTER_CLUSTERS)
    finally:
        path.write_bytes(before)
    assert place.planned() == {}


def test_a_changed_key_is_run_and_taken_back(place: Place) -> None:
    before = results_of(place.folder / "results")
    target = "results/photos/net/layer3/interpretability_summary.csv"
    study = changed(place.study, {"virtual_neurons/n_clusters": [2, 3]})
    assert place.workplace.snakemake(study, target).code == 0
    assert place.workplace.snakemake(study, target, "-n").jobs == {}
    assert place.planned(target) == {"virtual_neurons": 1, "interpretability": 1}
    assert results_of(place.folder / "results") != before
    assert place.workplace.snakemake(place.study, target).code == 0
    assert place.planned() == {}
    assert results_of(place.folder / "results") == before
