"""The workflow on a real SLURM of one node: the results are those of a local run; a node that dies loses nothing."""

import importlib.util
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.edited import rot
from support.slurm_node import SlurmNode, can_run
from support.workplace import ROOT, Workplace, contents, environment, hidden, results_of

HAS_PLUGIN = importlib.util.find_spec("snakemake_executor_plugin_slurm") is not None
pytestmark = pytest.mark.skipif(
    not (can_run() and HAS_PLUGIN),
    reason="needs make slurm, root, slurm-wlm and munge, and no SLURM of this machine's own",
)

QUICK = ["--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "2"]
QUICK += ["--seconds-between-status-checks", "2", "--latency-wait", "5", "--slurm-keep-successful-logs"]


@pytest.fixture(scope="module")
def node() -> Iterator[SlurmNode]:
    with SlurmNode() as node:
        yield node


def command(workplace: Workplace, study: dict[str, Any], *arguments: str) -> list[str]:
    return workplace.command(study, *arguments, *QUICK, profile="slurm")


def run(workplace: Workplace, study: dict[str, Any], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["timeout", "-k", "5", "900", *command(workplace, study, *arguments)],
        cwd=workplace.folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )


def with_world(folder: Path, finished: Path) -> Workplace:
    """A workplace that has the embedded world already: its training is not what is tested."""
    (folder / "results").mkdir(parents=True)
    shutil.copytree(finished / "world", folder / "results/world")
    return Workplace(folder)


def test_a_cluster_gives_the_local_results(
    node: SlurmNode, finished: Path, tiny: dict[str, Any], tmp_path: Path
) -> None:
    workplace = with_world(tmp_path / "cluster", finished)
    done = run(workplace, {**tiny, "shards": {"relevances": 2}})
    assert done.returncode == 0, done.stdout + done.stderr
    assert results_of(workplace.folder / "results") == results_of(finished)
    assert hidden(workplace.folder / "results") == set()
    submitted = [
        line for line in (done.stdout + done.stderr).splitlines() if "has been submitted with SLURM jobid" in line
    ]
    # dataset, model, activations, 2 x relevances, gather, patches, embeddings, a group; image_embeddings, 2 x concepts,
    # assignments, network_dissection, a group, ablate; eleven of the lens; pages, explorer
    assert len(submitted) == 29
    assert "group_evaluate" in " ".join(str(path) for path in workplace.folder.rglob("slurm_logs/**/*.log"))


def test_gpu_rules_ask_for_a_gpu(node: SlurmNode) -> None:
    accounted = subprocess.run(
        ["scontrol", "show", "job", "--oneliner"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    with_gpu = [line for line in accounted if "gres/gpu=1" in line or "TresPerJob=gres:gpu" in line or "gpu:1" in line]
    assert len(with_gpu) >= 5
    assert len(with_gpu) < len(accounted)


def test_a_node_that_dies(node: SlurmNode, finished: Path, tiny: dict[str, Any], tmp_path: Path) -> None:
    workplace = with_world(tmp_path / "dying", finished)
    layer = workplace.folder / "results/scenes/scene_cnn/layer3"
    target = "results/scenes/scene_cnn/layer3/activations.h5"
    process = subprocess.Popen(
        command(workplace, tiny, target), cwd=workplace.folder, env=environment(),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    log = workplace.folder / "results/logs/activations/scenes/scene_cnn/layer3.log"
    while not log.exists():
        assert process.poll() is None
        time.sleep(0.2)
    node.kill_node()
    assert not (layer / "activations.h5").exists()
    node.start_node()
    text, _ = process.communicate(timeout=300)
    assert process.returncode == 0, text
    assert len(re.findall(r"Job 0 has been submitted|SLURM jobid", text)) >= 4, text  # one of three jobs more than once
    accounted, expected = results_of(layer), results_of(finished / "scenes/scene_cnn/layer3")
    assert accounted["activations.h5"] == expected["activations.h5"]
    assert hidden(workplace.folder / "results") == set()


def test_a_job_that_fails_for_good_leaves_the_old_artifact(
    node: SlurmNode, finished: Path, tiny: dict[str, Any], tmp_path: Path
) -> None:
    shutil.copytree(finished, tmp_path / "results")
    layer = tmp_path / "results/scenes/scene_cnn/layer3"
    old = results_of(layer)["virtual_neurons.h5"]
    rot(layer / "embeddings/scene_clip.h5")
    done = run(Workplace(tmp_path), {**tiny, "virtual_neurons": {"n_clusters": [2, 3]}}, "--retries", "0")
    assert done.returncode != 0
    assert contents(layer / "virtual_neurons.h5") == old


def test_the_profile_is_that_of_the_readme() -> None:
    assert "--workflow-profile profiles/slurm" in (ROOT / "README.md").read_text()
