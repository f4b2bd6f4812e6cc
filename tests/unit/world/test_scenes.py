"""Scenes are reproducible, and everything that is said of a scene fits together."""

from pathlib import Path

import h5py
import numpy as np

from purelens.data.sources import open_source
from purelens.storage.provenance import Execution
from purelens.world.scenes import ATTRIBUTES, CLASSES, CONCEPTS, SIZE, draw_scene
from purelens.world.world_clip import Scenes, build_model, prompts, zero_shot_accuracy
from purelens.world.world_scenes import world_scenes


def test_a_scene_depends_on_seed_and_number_only() -> None:
    first = draw_scene(3, 17)
    draw_scene(0, 0)
    again = draw_scene(3, 17)
    assert first.pixels.tobytes() == again.pixels.tobytes()
    assert first.attributes == again.attributes
    assert draw_scene(4, 17).pixels.tobytes() != first.pixels.tobytes()


def test_what_is_said_of_a_scene_fits_together() -> None:
    for number in range(40):
        scene = draw_scene(1, number)
        words = {name: ATTRIBUTES[name][value] for name, value in scene.attributes.items()}
        assert CLASSES[scene.label] == f"{words['texture']} {words['shape']}"
        assert {CONCEPTS[i] for i in np.flatnonzero(scene.concepts)} == set(words.values())
        assert all(word in scene.caption for word in words.values())
        assert scene.pixels.shape == (SIZE, SIZE, 3)
        assert 0.05 < scene.mask.mean() < 0.6


def test_the_mask_is_where_the_object_is() -> None:
    for number in range(60):
        scene = draw_scene(2, number)
        words = {name: ATTRIBUTES[name][value] for name, value in scene.attributes.items()}
        if words["color"] == "green" and words["texture"] == "plain" and words["background"] == "night":
            inside = scene.pixels[scene.mask == 1].mean(axis=0)
            outside = scene.pixels[scene.mask == 0].mean(axis=0)
            assert inside[1] > 100 > outside[1]
            return
    raise AssertionError("no such scene among the first 60")


def test_every_value_of_every_attribute_occurs() -> None:
    concepts = np.stack([draw_scene(0, number).concepts for number in range(300)])
    assert concepts.sum(axis=0).min() > 15


def test_scenes_are_an_image_source(tmp_path: Path) -> None:
    world_scenes(str(tmp_path / "probe.h5"), "probe", 20, execution=Execution(threads=1))
    source = open_source(tmp_path / "probe.h5")
    assert source.n_images == 20
    assert source.classes == list(CLASSES)
    assert source.extras["caption"][0].startswith("a ")
    assert source.extras["concept"].shape == (20, len(CONCEPTS))
    world_scenes(str(tmp_path / "train.h5"), "train", 20, execution=Execution(threads=2))
    with h5py.File(tmp_path / "probe.h5") as probe, h5py.File(tmp_path / "train.h5") as train:
        assert not np.array_equal(probe["pixels"][...], train["pixels"][...])


def test_scenes_for_training_know_their_attributes(tmp_path: Path) -> None:
    world_scenes(str(tmp_path / "s.h5"), "test", 12, execution=Execution(threads=1))
    scenes = Scenes(str(tmp_path / "s.h5"))
    for number in range(12):
        expected = list(draw_scene(2, number).attributes.values())
        assert scenes.attributes[number].tolist() == expected
    accuracy = zero_shot_accuracy(build_model().eval(), scenes)
    assert set(accuracy) == set(ATTRIBUTES)
    assert [len(tokens) for tokens in prompts()] == [8, 6, 4, 4]
