"""Studies that are valid, and one line for each mistake in those that are not."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from helpers import ROOT
from purelens.config.base import Section, subsection
from purelens.config.study import Config, load_config
from purelens.errors import UserError

STUDIES = sorted((ROOT / "configs").glob("*.yaml")) + [ROOT / "config.yaml"]


@pytest.fixture
def study() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "config.yaml").read_text())


def change(study: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(study)
    *path, last = key.split("/")
    section = changed
    for name in path:
        section = section.setdefault(name, {})
    section[last] = value
    return changed


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.name)
def test_ready_studies_are_valid(path: Path) -> None:
    config = load_config(path)
    assert config.models or config.lens.models


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("refrences", 10, ["unknown key 'refrences'", "did you mean 'references'?"]),
        ("patches/treshold", 0.1, ["patches.treshold", "did you mean 'threshold'?"]),
        ("models/scene_cnn/layers/layer3/lower_layer", [], ["layer3.lower_layer", "'lower_layers'"]),
        ("models/scene_cnn/wieghts", "x", ["models.scene_cnn.wieghts", "'weights'"]),
        ("datasets/scenes/sizes", 3, ["datasets.scenes.sizes", "'size'"]),
        ("datasets", {}, ["datasets"]),
        ("references", "many", ["references", "'many'"]),
        ("references", 5, ["virtual_neurons.n_clusters", "5 clusters"]),
        ("patches/blur", 4, ["patches", "odd"]),
        ("patches/crop_rule", "publishd", ["patches.crop_rule", "'published'"]),
        ("datasets/scenes/resize", 32, ["resize (32) must be at least size (64)"]),
        ("models/scene_cnn/datasets", ["scene"], ["no dataset 'scene'", "did you mean 'scenes'?"]),
        ("figures/n_clusters", 7, ["figures.n_clusters", "2, 3, 4, 5"]),
        ("embedders/scene_clip/source", "openclip", ["embedders.scene_clip.source", "'open_clip'"]),
        ("embedders/other", {"source": "file"}, ["embedders.other", "weights"]),
        ("embedders/other", {"source": "network", "architecture": "timm:x"}, ["layer and size"]),
        ("models/scene_cnn/weights", "publshed", ["'publshed' is neither 'published' nor 'random' nor a file"]),
        ("models/scene_cnn/weights", "published", ["nothing is published for"]),
        ("models/scene_cnn/std", [0, 1, 1], ["must be above zero"]),
        ("models/scene_cnn/std", [58.395, 57.12, 57.375], ["models.scene_cnn.std", "divide those", "by 255"]),
        ("models/scene_cnn/mean", [123.675, 116.28, 103.53], ["models.scene_cnn.mean", "divide those", "by 255"]),
        ("models/scene_cnn/layers", {3: {}}, ["models.scene_cnn.layers.3", "3 is a text here", "put it in quotes"]),
        ("models/scene_cnn/layers", {"block1/Conv": {}}, ["layer 'block1/Conv' cannot be a folder", "'/'", "rename"]),
        ("models/scene_cnn/layers/layer3/lower_layers", ["a?"], ["layer 'a?' cannot be a folder", "'?'"]),
        (
            "models/images.h5",
            {"architecture": "timm:x", "layers": {"y": None}},
            ["'images.h5' cannot be a name", ".h5"],
        ),
        ("models/" + "x" * 300, {"architecture": "timm:x", "layers": {"y": None}}, ["cannot be a name", "at most 150"]),
        ("datasets/Scenes", {"images": "x.csv", "size": 32}, ["'scenes' and 'Scenes' are one folder"]),
        ("models/scene_cnn/layers", {"x" * 300: {}}, ["1 to 150 bytes"]),
        ("models/scene_cnn/layers", {4.1: {}}, ["4.1 is a text here", "put it in quotes"]),
        ("models/scene_cnn/layers", {True: {}}, ["true is a text here", "put it in quotes"]),
        ("models/scene_cnn/layers/layer3/lower_layers", [1], ["1 is a text here", "put it in quotes"]),
        ("embedders/scene_clip/mean", [0.5, 0.5, 0.5], ["mean does nothing with source 'open_clip'", "output"]),
        ("embedders/scene_clip/options", {"a": 1}, ["options does nothing with source 'open_clip'"]),
        ("models/scene_cnn/layers/layer3/lower_layers", ["a", "a"], ["the same value twice"]),
        ("models/scene_cnn/layers/layer3/lower_layers", "stages", ["layer3.lower_layers: Input should be 'stage'"]),
        ("models/scene_cnn/layers/layer3/lower_layers", [], ["layer3.lower_layers", "at least 1"]),
        (
            "planted/layers",
            ["scene_cnn/layer9"],
            ["no layer 'scene_cnn/layer9' under models", "did you mean 'scene_cnn/layer3'?"],
        ),
        ("planted/layers", "layer3", ["planted.layers: no layer 'layer3'"]),
        ("planted/pairs", 0, ["planted.pairs"]),
        ("dictionaries/layers", "cnn", ["dictionaries.layers: no layer 'cnn'"]),
        ("dictionaries/active", 65, ["dictionaries.active: 65 of 64 latents"]),
        ("evaluation/selectivity_neurons", -1, ["evaluation.selectivity_neurons"]),
        ("reference_criterion", "largest", ["reference_criterion", "'preactivation'"]),
        ("virtual_neurons/false_discovery_rate", 0, ["virtual_neurons.false_discovery_rate"]),
        ("virtual_neurons", {"n_clusters": [2, 2]}, ["the same value twice"]),
        ("device", "gpu", ["device"]),
        ("embedders/other", {"source": "open_clip", "architecture": "RN50"}, ["needs weights"]),
        ("references", 5000, ["world.probe_scenes is 2000"]),
        ("models/a b", {"architecture": "timm:x", "layers": {"y": None}}, ["'a b' cannot be a name"]),
        ("lens/models", {"clip": {"blocks": [0]}}, ["lens.models", "no embedder 'clip'"]),
        ("lens/models/scene_clip/block", [0], ["lens.models.scene_clip.block", "'blocks'"]),
        ("lens/models/scene_clip/datasets", ["scene"], ["no dataset 'scene'", "did you mean 'scenes'?"]),
        ("explain", {"network_dissection": True}, ["explain", "need a concept set"]),
        ("explain/concepts/truth/scale", 2.0, ["explain.concepts.truth", "'labels' takes no scale"]),
        ("explain/concepts/truth/template", "a {}", ["explain.concepts.truth", "template does nothing"]),
        (
            "explain/concepts/words",
            {"source": "texts", "texts": "t.txt", "embedder": "scene_clip", "superclasses": "s", "scale": 1, "bias": 0},
            ["explain.concepts.words", "superclasses do nothing"],
        ),
        ("lens/texts", None, ["lens", "models need texts"]),
        ("lens/class_templates", ["a thing"], ["'a thing' must contain {}"]),
        ("lens/top_images", 5, ["n_directions: 5 directions need more images than 5 (top_images)"]),
        ("lens/scaling", "axis", ["lens.scaling", "'released'"]),
        ("lens/attacks/a", {"source_class": "x", "target_class": "x"}, ["lens.attacks.a", "both 'x'"]),
        (
            "lens/attacks/a",
            {"source_class": "x", "target_class": "y", "avoids": []},
            ["lens.attacks.a.avoids", "'avoid'"],
        ),
        (
            "bench/studies/r",
            {"architecture": "timm:x", "layer": "a", "lower_layer": "b", "imges": "x"},
            ["bench.studies.r.imges", "did you mean 'images'?"],
        ),
        ("lens/segmentation/neuron", 5, ["lens.segmentation.neuron", "'neurons'"]),
        ("models/world", {"architecture": "timm:x", "layers": {"y": None}}, ["'world' cannot be a name"]),
    ],
)
def test_mistakes_are_told_in_a_line(study: dict[str, Any], key: str, value: Any, words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        load_config(change(study, key, value))
    message = str(caught.value)
    assert all(word in message for word in words), message
    assert "\n" not in message


@pytest.mark.parametrize("key", ["datasets", "models", "embedders"])
def test_missing_keys_are_named(study: dict[str, Any], key: str) -> None:
    del study[key]
    with pytest.raises(UserError, match=f"missing key '{key}'"):
        load_config(study)


def test_missing_key_inside_a_section(study: dict[str, Any]) -> None:
    del study["datasets"]["scenes"]["images"]
    with pytest.raises(UserError, match=r"missing key 'datasets\.scenes\.images': folder of class folders"):
        load_config(study)


OLD_KEYS = {
    "explain/simulator": "ground_truth",
    "explain/elsewhere": "imported",
    "explain/concepts/words/least_probability": "min_probability",
    "lens/significant": "significant_fraction",
    "lens/split_below": "min_explained_variance",
    "lens/n_parts": "n_directions",
    "lens/attacks/a/shown": "source_class",
    "lens/attacks/a/taken_for": "target_class",
    "figures/neighbours": "neighbors",
}


@pytest.mark.parametrize("key", OLD_KEYS)
def test_an_old_key_names_the_new_one_in_one_line(study: dict[str, Any], key: str) -> None:
    """Also where the new key has no default."""
    attack = {"source_class": "a", "target_class": "b"}
    values: dict[str, Any] = change(study, "lens/attacks/a", attack)
    *sections, old = key.split("/")
    inner = values
    for name in sections:
        inner = inner.setdefault(name, {})
    inner.pop(OLD_KEYS[key], None)
    inner[old] = 0
    with pytest.raises(UserError) as caught:
        load_config(values)
    assert str(caught.value) == f"config: key '{key.replace('/', '.')}' is now called '{OLD_KEYS[key]}'"


def test_all_old_keys_are_tried() -> None:
    sections: list[type[Section]] = [Config]
    for section in sections:
        for field in section.model_fields.values():
            inner, _ = subsection(field.annotation)
            if inner is not None:
                sections.append(inner)
    renamed = [(old, new) for section in sections for old, new in section.renamed.items()]
    assert sorted(renamed) == sorted((key.split("/")[-1], new) for key, new in OLD_KEYS.items())


def test_all_mistakes_are_told_at_once(study: dict[str, Any]) -> None:
    study = change(change(study, "refrences", 3), "sede", 1)
    with pytest.raises(UserError) as caught:
        load_config(study)
    assert len(str(caught.value).splitlines()) == 2


def test_files_that_are_no_configuration(tmp_path: Path) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text("a: [1, 2")
    with pytest.raises(UserError, match="is not YAML"):
        load_config(broken)
    broken.write_text("just text")
    with pytest.raises(UserError, match="expected keys and values"):
        load_config(broken)
    with pytest.raises(UserError, match="cannot read"):
        load_config(tmp_path / "none.yaml")


@pytest.mark.parametrize("value", ["0-3", 3])
def test_one_neuron_or_range_needs_no_list(study: dict[str, Any], value: int | str) -> None:
    loaded = load_config(change(study, "models/scene_cnn/layers/layer3/neurons", value))
    assert loaded.models["scene_cnn"].layers["layer3"].neurons == [value]


def test_the_home_folder_is_not_a_folder_of_that_name(study: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    config = load_config(change(change(study, "results", "~/x"), "datasets/scenes/images", "~/photos"))
    assert (config.results, config.datasets["scenes"].images) == ("/home/me/x", "/home/me/photos")


def test_a_study_of_nothing(study: dict[str, Any]) -> None:
    study.pop("planted")
    study.pop("dictionaries")
    assert load_config({**study, "models": {}}).lens.models
    with pytest.raises(UserError, match="there is nothing to study; give models, or lens.models"):
        load_config({**study, "models": {}, "lens": {}})
