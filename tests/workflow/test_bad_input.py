"""Mistakes of the user's: one clear line, before anything expensive, and nothing lost."""

import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from helpers import load_cifar_resnet
from support.elsewhere import open_elsewhere
from support.workplace import ROOT, Workplace


def set_key(study: dict[str, Any], key: str, value: Any) -> None:
    *path, last = key.split("/")
    for name in path:
        study = study[name]
    study[last] = value


MISTAKES = [
    ("refrences", 9, "unknown key 'refrences' (did you mean 'references'?)"),
    ("models/scene_cnn/layers", {"layer9": None}, "there is no layer 'layer9' (did you mean 'layer3'?)"),
    ("models/scene_cnn/layers", {"layer2": {"lower_layers": ["layer3"]}}, "layer 'layer3' does not lie below 'layer2'"),
    ("models/scene_cnn/layers", {"layer3": {"neurons": [0, 99]}}, "99 is not within 0-31"),
    ("models/scene_cnn/architecture", "torchvision:resnet5", "torchvision has no model 'resnet5'"),
    ("models/scene_cnn/architecture", "timm:vit_tiny_patch16_224", "fails on an image of 64x64 pixels"),
    ("models/scene_cnn/options", {"num_clases": 3}, "cannot be built: TypeError"),
    ("embedders/scene_clip/architecture", "ViT-B-33", "open_clip has no model 'ViT-B-33'"),
    (
        "lens/models",
        {"scene_clip": {"blocks": [2]}},
        "lens.models.scene_clip.blocks: neurons act through the attention of later",
    ),
    (
        "lens/models",
        {"scene_clp": {"blocks": [0]}},
        "lens.models: no embedder 'scene_clp' (did you mean 'scene_clip'?)",
    ),
    ("embedders/scene_clip/architecture", "RN50", "lens: RN50: images go through a ResNet"),
    ("references", 3, "5 clusters need more than 5 references"),
]


@pytest.mark.parametrize(
    ("key", "value", "message"), MISTAKES, ids=[f"{mistake[0]} {mistake[1]}" for mistake in MISTAKES]
)
def test_mistakes_are_told_before_the_first_job(
    workplace: Workplace, tiny: dict[str, Any], key: str, value: Any, message: str
) -> None:
    set_key(tiny, key, value)
    run = workplace.snakemake(tiny)
    assert run.code != 0
    one_line(run.text, message)
    assert not re.search(r"^Job \d+|localrule|^rule ", run.text, re.M)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        (
            "datasets/scenes/images",
            "no/such/folder",
            "datasets.scenes.images: there is no file or folder no/such/folder",
        ),
        ("models/scene_cnn/weights", "gone.pth", "models.scene_cnn.weights: there is no file or folder gone.pth"),
        ("lens/texts", "gone.txt", "lens.texts: there is no file or folder gone.txt"),
    ],
)
def test_missing_files_are_told_before_the_first_job(
    workplace: Workplace, tiny: dict[str, Any], key: str, value: Any, message: str
) -> None:
    set_key(tiny, key, value)
    run = workplace.snakemake(tiny)
    assert run.code != 0
    one_line(run.text, message)
    assert "Finished jobid" not in run.text


def own_images(folder: Path, n_images: int = 12) -> Path:
    rng = np.random.default_rng(0)
    for number in range(n_images):
        path = folder / f"it's class {number % 2} ü" / f'{number} "x".png'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(path)
    return folder


@pytest.fixture
def own(tiny: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    """A study of one's own images and network."""
    tiny["results"] = f"{tmp_path}/own results"
    tiny["references"] = 6
    tiny["datasets"] = {"photos": {"images": str(own_images(tmp_path / "my photos")), "size": 32}}
    tiny["models"] = {
        "net": {
            "architecture": f"{ROOT}/configs/networks/cifar_resnet.py:cifar_resnet",
            "options": {"depth": 8},
            "weights": "random",
            "layers": {"layer3": {"neurons": ["0-3"]}},
        }
    }
    np.save(tmp_path / "e.npy", np.random.default_rng(0).normal(size=(12, 4)))
    tiny["embedders"] = {"imported": {"source": "file", "weights": f"{tmp_path}/e.npy"}}
    tiny["explain"] = {"concepts": {"truth": {"source": "labels"}}}
    del tiny["lens"]
    return tiny


def one_line(text: str, message: str) -> None:
    """The message is in one line of its own, and no traceback is shown."""
    lines = [line for line in text.splitlines() if message in line and line.startswith("purelens: ")]
    assert len(lines) == 1, text
    assert "Traceback" not in text
    assert 'File "' not in text


def test_own_images_and_network_with_strange_names(workplace: Workplace, own: dict[str, Any]) -> None:
    run = workplace.snakemake(own)
    assert run.code == 0, run.text
    layer = Path(own["results"]) / "photos/net/layer3"
    assert (layer / "interpretability_summary.csv").is_file()
    assert len(list((layer / "figures/neurons").glob("*.png"))) == 4


def test_bad_images_stop_the_run_if_asked(workplace: Workplace, own: dict[str, Any]) -> None:
    images = Path(own["datasets"]["photos"]["images"])
    (images / "it's class 0 ü" / "00 broken.png").write_text("no image")
    own["datasets"]["photos"]["on_bad_image"] = "error"
    run = workplace.snakemake(own, f"{own['results']}/photos/images.h5")
    assert run.code != 0
    one_line(run.text, "00 broken.png: not an image (on_bad_image: error)")


def test_an_empty_class_folder(workplace: Workplace, own: dict[str, Any]) -> None:
    (Path(own["datasets"]["photos"]["images"]) / "void").mkdir()
    run = workplace.snakemake(own)
    assert run.code != 0
    one_line(run.text, "void has no images")
    assert "Finished jobid" not in run.text


def test_fewer_images_than_references(workplace: Workplace, own: dict[str, Any]) -> None:
    own["references"] = 50
    run = workplace.snakemake(own)
    assert run.code != 0
    one_line(run.text, "has 12 images, fewer than the 50 references of a neuron")
    assert "Finished jobid" not in run.text


def test_fewer_good_images_than_references(workplace: Workplace, own: dict[str, Any]) -> None:
    images = Path(own["datasets"]["photos"]["images"])
    for number in range(5):
        (images / "it's class 0 ü" / f"{number} broken.png").write_text("no image")
    own["references"] = 15
    run = workplace.snakemake(own, f"{own['results']}/photos/net/layer3/activations.h5")
    assert run.code != 0
    one_line(run.text, "15 requested, but")


def test_weights_of_another_network(workplace: Workplace, own: dict[str, Any], tmp_path: Path) -> None:
    torch.save({"conv1.weight": torch.zeros(16, 3, 3, 3), "extra": torch.zeros(1)}, tmp_path / "w.pth")
    own["models"]["net"]["weights"] = f"{tmp_path}/w.pth"
    run = workplace.snakemake(own, "-n")
    assert run.code != 0
    one_line(run.text, "are not of architecture")
    assert "unexpected: extra" in run.text
    torch.save(load_cifar_resnet(seed=0, depth=8).state_dict(), tmp_path / "w.pth")
    assert workplace.snakemake(own, "-n").code == 0
    own["models"]["net"]["options"] = {"depth": 14}
    run = workplace.snakemake(own, "-n")
    assert run.code != 0
    one_line(run.text, "are not of architecture")


def test_a_pickle_is_refused(workplace: Workplace, own: dict[str, Any], tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "w.pth")
    own["models"]["net"]["weights"] = f"{tmp_path}/w.pth"
    run = workplace.snakemake(own, "-n")
    assert run.code != 0
    one_line(run.text, "is a pickle with more than tensors in it")


def test_a_profile_without_the_settings_of_reruns(
    finished: Path, workplace: Workplace, tiny: dict[str, Any], tmp_path: Path
) -> None:
    """Snakemake's own triggers would rerun what is fresh, and a failed job would take the old artifact with it."""
    (tmp_path / "config.yaml").write_text("cores: 2\n")
    run = workplace.snakemake(tiny, "-n", profile=str(tmp_path))
    assert run.code != 0
    settings = "rerun-triggers: [mtime], keep-incomplete: true, ignore-incomplete: true"
    one_line(run.text, f"add to your profile, as in profiles/default/config.yaml: {settings}")
    (tmp_path / "config.yaml").write_text("cores: 2\nrerun-triggers: [mtime]\n" + settings[25:].replace(", ", "\n"))
    assert workplace.snakemake(tiny, "-n", profile=str(tmp_path)).jobs == {}


def test_inputs_dated_in_the_future(finished: Path, tiny: dict[str, Any], tmp_path: Path) -> None:
    """Snakemake would fail the job when it is done; where no job has to run the date does not count."""
    shutil.copytree(finished, tmp_path / "results")
    workplace, weights = Workplace(tmp_path), tmp_path / "results/world/scene_cnn.safetensors"
    os.utime(weights, (4e9, 4e9))
    assert workplace.snakemake(tiny, "-n").jobs == {}
    run = workplace.snakemake({**tiny, "seed": 1}, "results/scenes/scene_cnn/model.safetensors", "-n")
    assert run.code != 0
    one_line(run.text, "scene_cnn.safetensors is dated in the future; check the clock, and touch the file")


def test_an_artifact_that_is_open_in_another_program(finished: Path, tiny: dict[str, Any], tmp_path: Path) -> None:
    """It is not damaged: nothing is planned anew, and nothing is to be rebuilt."""
    shutil.copytree(finished, tmp_path / "results")
    workplace = Workplace(tmp_path)
    with open_elsewhere(tmp_path / "results/scenes/scene_cnn/layer3/activations.h5", "r+"):
        one_line(
            workplace.snakemake(tiny, "-n").text,
            "activations.h5 is open for writing in another program; close it there",
        )
    assert workplace.snakemake(tiny, "-n").jobs == {}


def test_old_keys_name_the_new_ones(workplace: Workplace, tiny: dict[str, Any]) -> None:
    tiny["explain"]["simulator"] = "truth"
    one_line(workplace.snakemake(tiny).text, "key 'explain.simulator' is now called 'ground_truth'")
