"""Run the real workflow on a tiny world."""

import hashlib
import json
import os
import queue
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from helpers import data_of

ROOT = Path(__file__).parents[2]
CODE = ("Snakefile", "rules", "workflow_scripts", "profiles", "envs", "configs", "config.yaml")

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
    "explain": {
        "concepts": {
            "truth": {"source": "labels"},
            "words": {
                "source": "texts",
                "texts": f"{ROOT}/workflow_scripts/purelens/world/concepts.csv",
                "embedder": "scene_clip",
                "scale": 20,
                "bias": -0.1,
            },
        },
        "network_dissection": True,
        "virtual_neurons": 2,
        "ablation_neurons": 2,
    },
    "lens": {
        "models": {"scene_clip": {"blocks": [1], "datasets": ["scenes"]}},
        "texts": f"{ROOT}/workflow_scripts/purelens/world/texts.txt",
        "class_templates": ["a {}"],
        "words": 4,
        "top_images": 20,
        "attacks": {"to_star": {"source_class": "plain circle", "target_class": "plain star"}},
    },
    "figures": {"neurons": 2, "references": 8},
    "evaluation": {"bootstrap": 200},
}


def environment() -> dict[str, str]:
    """Environment of a run."""
    return {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}


@dataclass(frozen=True)
class Run:
    """What a run of Snakemake printed, and how it ended."""

    code: int
    text: str

    @property
    def jobs(self) -> dict[str, int]:
        """Number of jobs of each rule, from the table of a dry run."""
        if "Job stats:" not in self.text:
            assert "Nothing to be done" in self.text, self.text
            return {}
        table = self.text.split("Job stats:")[-1].split("\n\n")[0].splitlines()[3:]
        rows = [re.split(r"\s+", line.strip()) for line in table]
        return {row[0]: int(row[1]) for row in rows if row[0] not in ("all", "total")}


@dataclass(frozen=True)
class Workplace:
    """A folder in which the workflow is run: that of this checkout, or of another."""

    folder: Path
    code: Path = field(default=ROOT)
    study_file: str = "study.yaml"

    def command(self, study: dict[str, Any], *arguments: str, profile: str = "default") -> list[str]:
        """The command line of a run with a study."""
        (self.folder / self.study_file).write_text(yaml.safe_dump(study, allow_unicode=True))
        command = [sys.executable, "-m", "snakemake", *arguments]
        command += ["--snakefile", f"{self.code}/Snakefile", "--directory", f"{self.folder}"]
        command += ["--workflow-profile", f"{self.code / 'profiles' / profile}"]
        return [*command, "--configfile", f"{self.folder}/{self.study_file}"]

    def start(self, study: dict[str, Any], *arguments: str) -> subprocess.Popen[str]:
        """Start Snakemake and do not wait for it; it has its own process group."""
        command = [*self.command(study, *arguments), "--cores", "2", "--resources", "gpu=1"]
        pipe = subprocess.PIPE
        return subprocess.Popen(
            command, cwd=self.folder, env=environment(), stdout=pipe, stderr=pipe, text=True, start_new_session=True
        )

    def snakemake(self, study: dict[str, Any], *arguments: str, profile: str = "default") -> Run:
        """Run Snakemake with a study, as a user does; the profile is one of the checkout's, or any folder."""
        command = [*self.command(study, *arguments, profile=profile), "--cores", "2", "--resources", "gpu=1"]
        with tempfile.NamedTemporaryFile("r") as output:
            zygote = _zygotes.get(block=True)
            try:
                request = {"arguments": command[3:], "folder": f"{self.folder}", "output": output.name}
                print(json.dumps(request), file=zygote.stdin, flush=True)
                answer = zygote.stdout.readline() if zygote.stdout else ""
            finally:
                _zygotes.put(zygote)
            return Run(int(answer), output.read())


def _start_zygote() -> subprocess.Popen[str]:
    command = [sys.executable, str(Path(__file__).with_name("zygote.py"))]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment())


class Zygotes(queue.LifoQueue[subprocess.Popen[str]]):
    """Processes that run Snakemake: started when more are needed at the same time than there are."""

    def get(self, block: bool = True, timeout: float | None = None) -> subprocess.Popen[str]:
        """Take one that is free, or a new one."""
        try:
            return super().get(block=False)
        except queue.Empty:
            return _start_zygote()


_zygotes = Zygotes()


def copy_code(folder: Path) -> None:
    """Copy what a checkout needs to run."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in CODE:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)


def contents(path: Path) -> dict[str, str]:
    """Digests of all data of a file, or of all files in a folder; of bytes pytest could not show a difference."""
    if path.is_dir():
        data = {str(p.relative_to(path)): p.read_bytes() for p in sorted(path.rglob("[!.]*")) if p.is_file()}
    elif path.suffix != ".h5":
        data = {"": path.read_bytes()}
    else:
        data = data_of(path)
    return {name: hashlib.sha256(value).hexdigest() for name, value in data.items()}


def results_of(results: Path) -> dict[str, dict[str, str]]:
    """Digests of all data below a results folder."""
    kinds = (".h5", ".csv", ".png", ".safetensors", ".js", ".jpg")
    files = sorted(path for path in results.rglob("*") if path.suffix in kinds)
    files = [path for path in files if not any(part.startswith(".") for part in path.relative_to(results).parts)]
    return {path.relative_to(results).as_posix(): contents(path) for path in files}


def hidden(results: Path) -> set[str]:
    """Names of hidden files."""
    return {path.name for path in results.rglob(".*")}
