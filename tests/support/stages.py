"""The stages of the tiny study, and runs of them that are disturbed."""

import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from support.workplace import Workplace, results_of

LAYER = "results/scenes/scene_cnn/layer3"
LENS = "results/scenes/lens/scene_clip"
BLOCK = f"{LENS}/1"
STAGES = {
    "dataset": "results/scenes/images.h5",
    "model": "results/scenes/scene_cnn/model.safetensors",
    "activations": f"{LAYER}/activations.h5",
    "relevances": f"{LAYER}/relevances.h5",
    "patches": f"{LAYER}/patches.h5",
    "embeddings": f"{LAYER}/embeddings/scene_clip.h5",
    "virtual_neurons": f"{LAYER}/virtual_neurons.h5",
    "polysemanticity": f"{LAYER}/polysemanticity.h5",
    "interpretability": f"{LAYER}/interpretability.csv",
    "alignment": f"{LAYER}/alignment.csv",
    "monosemanticity": f"{LAYER}/monosemanticity.csv",
    "selectivity": f"{LAYER}/selectivity.csv",
    "projections": f"{LAYER}/projections.h5",
    "image_embeddings": "results/scenes/image_embeddings/scene_clip.h5",
    "concepts": "results/scenes/concepts/words.h5",
    "assignments": f"{LAYER}/assignments.h5",
    "network_dissection": f"{LAYER}/iou.h5",
    "explain": f"{LAYER}/explanations.h5",
    "simulate": f"{LAYER}/scores.csv",
    "ablate": f"{LAYER}/ablation.csv",
    "effects": f"{BLOCK}/effects.h5",
    "directions": f"{BLOCK}/directions.h5",
    "texts": f"{LENS}/texts.h5",
    "classes": f"{LENS}/classes.h5",
    "words": f"{BLOCK}/words.h5",
    "replacements": f"{BLOCK}/replacements.csv",
    "discovery": f"{LENS}/discovery.h5",
    "segmentation": f"{LENS}/segmentation.csv",
    "attacks": f"{LENS}/attacks.csv",
    "heatmaps": f"{LENS}/heatmaps.h5",
    "lens_pages": "results/report/lens/scenes/scene_clip.provenance.json",
    "pages": "results/report/layers/scenes/scene_cnn/layer3.provenance.json",
    "explorer": "results/report/index.html",
    "neuron_figures": f"{LAYER}/figures/neurons.provenance.json",
    "layer_figures": f"{LAYER}/figures/methods_scene_clip.png",
}
"""What each stage makes."""


def without_results(folder: Path, finished: Path) -> Workplace:
    """A workplace with the embedded world and nothing else."""
    folder.mkdir(exist_ok=True)
    shutil.copytree(finished / "world", folder / "results/world", dirs_exist_ok=True)
    return Workplace(folder)


def complete_artifacts(results: Path, expected: dict[str, dict[str, str]]) -> int:
    """Every file that can be seen is whole: the bytes of its data are those of an undisturbed run."""
    datas = results_of(results)
    for name, data in datas.items():
        assert data == expected[name], name
    return len(datas)


def kill(process: subprocess.Popen[str]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def wait_for_job(workplace: Workplace, process: subprocess.Popen[str], stage: str) -> bool:
    """Wait until a job of a stage runs; False if the run ends first."""
    logs, begun = workplace.folder / "results/logs" / stage, time.time()
    while process.poll() is None:
        if any(log.stat().st_mtime >= begun for log in logs.rglob("*.log")):
            return True
        time.sleep(0.02)
    return False
