"""Run the real workflow on a tiny world."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]

TINY: dict[str, Any] = {
    "results": "results",
    "references": 12,
    "threads": 1,
    "world": {"train_scenes": 256, "probe_scenes": 120, "test_scenes": 60, "cnn_epochs": 1, "clip_epochs": 1},
    "datasets": {"scenes": {"images": "results/world/probe.h5", "size": 64}},
    "models": {
        "scene_cnn": {
            "architecture": f"{ROOT}/workflow_scripts/purelens/world/cnn.py:scene_cnn",
            "weights": "results/world/scene_cnn.safetensors",
            "mean": [0.5, 0.5, 0.5],
            "std": [0.5, 0.5, 0.5],
            "layers": {"layer3": {"lower_layers": ["layer3.0", "layer2"]}},
        }
    },
    "embedders": {
        "scene_clip": {
            "source": "open_clip",
            "architecture": f"{ROOT}/workflow_scripts/purelens/world/scene_clip.json",
            "weights": "results/world/scene_clip.safetensors",
        }
    },
    "figures": {"neurons": 2, "references": 8},
    "evaluation": {"bootstrap": 200},
}


@dataclass(frozen=True)
class Run:
    """What a run of Snakemake printed, and how it ended."""

    code: int
    text: str


@dataclass(frozen=True)
class Workplace:
    """A folder in which the workflow of this checkout is run."""

    folder: Path

    def snakemake(self, study: dict[str, Any], *arguments: str, timeout: int = 500) -> Run:
        """Run Snakemake with a study, as a user does."""
        (self.folder / "study.yaml").write_text(yaml.safe_dump(study, allow_unicode=True))
        command = [sys.executable, "-m", "snakemake", *arguments]
        command += ["--snakefile", f"{ROOT}/Snakefile", "--directory", f"{self.folder}"]
        command += ["--workflow-profile", f"{ROOT}/profiles/default", "--configfile", f"{self.folder}/study.yaml"]
        command += ["--cores", "2", "--resources", "gpu=1"]
        environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}
        done = subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=timeout, check=False
        )
        return Run(done.returncode, done.stdout + done.stderr)
