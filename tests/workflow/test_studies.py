"""The ready studies can be planned from a checkout, and the workflow is clean in Snakemake's eyes."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import yaml

from purelens.networks.architectures import build_architecture
from purelens.networks.checkpoints import write_weights

N_IMAGES = 200

ROOT = Path(__file__).parents[2]


def snakemake(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "snakemake", *arguments]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False, env={**os.environ}
    )


def write_stub(path: Path, architectures: dict[str, dict[str, Any]]) -> None:
    """Write the least that a plan asks of a file or folder: images are counted, headers are read, weights are loaded."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for weights, model in architectures.items():
        if path.as_posix().endswith(weights):
            write_weights(path, build_architecture(model["architecture"], model.get("options", {})).state_dict())
            return
    images = [path.parent / "stub" / f"{number}.png" for number in range(N_IMAGES)]
    if path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            file["pixels"] = np.zeros((N_IMAGES, 8, 8, 3), "u1")
    elif path.suffix == ".csv":
        path.write_text("path\n" + "\n".join(f"stub/{image.name}" for image in images))
    elif path.suffix:
        path.write_text("one\ntwo\nthree\n")
        return
    else:
        images = [path / "one" / image.name for image in images]
    for image in images if path.suffix != ".h5" else []:
        image.parent.mkdir(parents=True, exist_ok=True)
        image.touch()


@pytest.mark.parametrize("study", sorted(path.name for path in (ROOT / "configs").glob("*.yaml")))
def test_ready_studies_can_be_planned(study: str, tmp_path: Path) -> None:
    for name in ("configs", "workflow_scripts"):
        (tmp_path / name).symlink_to(ROOT / name)
    plan = [
        "--cores",
        "2",
        "--resources",
        "gpu=1",
        "--configfile",
        f"configs/{study}",
        "--directory",
        str(tmp_path),
        "-n",
        "--forceall",
    ]
    models = yaml.safe_load((ROOT / "configs" / study).read_text())["models"].values()
    architectures = {model["weights"]: model for model in models if "/" in model["weights"]}
    missing = []
    for _ in range(9):  # what is missing is told, one file at a time
        run = snakemake(*plan)
        told = re.search(r"there is no file or folder (\S+)", run.stdout + run.stderr)
        if told is None:
            break
        missing.append(told[1])
        write_stub(tmp_path / told[1], architectures)
    assert run.returncode == 0, run.stdout + run.stderr
    assert missing
    assert "scene_cnn" not in run.stdout + run.stderr


def test_lint_finds_nothing() -> None:
    run = snakemake("--lint")
    assert run.returncode == 0, run.stdout + run.stderr


def test_a_study_without_models_is_not_mixed_with_the_embedded_one(tmp_path: Path) -> None:
    study = tmp_path / "study.yaml"
    study.write_text("datasets: {photos: {images: photos}}\nembedders: {e: {source: file, weights: e.npy}}\n")
    run = snakemake("-n", "--configfile", str(study))
    assert run.returncode == 1
    assert "purelens: config: missing key 'models'" in run.stdout + run.stderr
    assert "scene_cnn" not in run.stdout + run.stderr
