"""The ready studies can be planned from a checkout, and the workflow is clean in Snakemake's eyes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def snakemake(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "snakemake", *arguments]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False, env={**os.environ}
    )


@pytest.mark.parametrize("study", sorted(path.name for path in (ROOT / "configs").glob("*.yaml")))
def test_ready_studies_can_be_planned(study: str) -> None:
    run = snakemake("--cores", "2", "--resources", "gpu=1", "--configfile", f"configs/{study}", "-n", "--forceall")
    assert run.returncode == 0, run.stdout + run.stderr
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
