"""Faults: kill -9, full disks, read-only folders, two runs at once, damaged artifacts. Nothing is lost or half-written."""

import hashlib
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from purelens.reruns.verify import verify
from support.edited import edited, rot
from support.stages import LAYER, complete_artifacts, kill, wait_for_job, without_results
from support.workplace import Workplace, hidden, results_of

RERUNS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "patches": ({"patches": {"blur": 7}}, ["patches.h5"]),
    "neuron_figures": ({"figures": {"neurons": 2, "references": 6}}, ["figures/neurons/*.png"]),
    "layer_figures": ({"evaluation": {"bootstrap": 200, "confidence": 0.9}}, ["figures/methods_*.png"]),
}
"""A change of the study that makes a stage's files anew."""


@pytest.mark.parametrize(
    ("stage", "part"), [("patches", ".patches.h5.part"), ("neuron_figures", "figures/.neurons.part")]
)
def test_a_rerun_that_is_killed_leaves_the_old_artifact(
    finished: Path, tiny: dict[str, Any], tmp_path: Path, stage: str, part: str
) -> None:
    shutil.copytree(finished, tmp_path / "results")
    workplace, old = Workplace(tmp_path), results_of(tmp_path / "results")
    change, patterns = RERUNS[stage]
    process = workplace.start({**tiny, **change})
    while not (tmp_path / LAYER / part).exists():  # what the job works on until it is whole
        assert process.poll() is None
        time.sleep(0.01)
    kill(process)
    new = results_of(tmp_path / "results")
    names = [str(path.relative_to(finished)) for pattern in patterns for path in finished.rglob(pattern)]
    assert {name: new[name] for name in names} == {name: old[name] for name in names}
    assert names
    assert workplace.snakemake(tiny, "--unlock").code == 0
    assert workplace.snakemake(tiny, "-n").jobs == {}  # the study of the old artifact still finds it fresh


def test_a_rerun_that_fails_leaves_the_old_artifact(finished: Path, tiny: dict[str, Any], tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "results")
    workplace, old = Workplace(tmp_path), results_of(tmp_path / "results")
    source = tmp_path / LAYER / "embeddings/scene_clip.h5"
    rot(source)
    run = workplace.snakemake({**tiny, "virtual_neurons": {"n_clusters": [2, 3]}})
    assert run.code != 0
    assert "it is damaged" in run.text
    name = "scenes/scene_cnn/layer3/virtual_neurons.h5"
    assert results_of(tmp_path / "results")[name] == old[name]


class Reader(threading.Thread):
    """Reads files over and over and keeps the digests of what it found; None where a file was not there."""

    def __init__(self, paths: list[Path]) -> None:
        super().__init__(daemon=True)
        self.digests: dict[Path, Counter[str | None]] = {path: Counter() for path in paths}
        self.stopped = threading.Event()

    def run(self) -> None:
        while not self.stopped.wait(0.002):
            for path, seen in self.digests.items():
                seen[digest(path)] += 1


def digest(path: Path) -> str | None:
    with suppress(FileNotFoundError):
        return hashlib.sha256(path.read_bytes()).hexdigest()
    return None


@pytest.mark.parametrize("stage", RERUNS)
def test_a_reader_sees_the_old_file_or_the_new_one(
    finished: Path, tiny: dict[str, Any], tmp_path: Path, stage: str
) -> None:
    shutil.copytree(finished, tmp_path / "results")
    change, patterns = RERUNS[stage]
    paths = [path for pattern in patterns for path in sorted((tmp_path / LAYER).glob(pattern))]
    old = {path: digest(path) for path in paths}
    reader = Reader(paths)
    reader.start()
    run = Workplace(tmp_path).snakemake({**tiny, **change})
    reader.stopped.set()
    reader.join()
    assert run.code == 0, run.text
    assert any(digest(path) != old[path] for path in paths)
    for path, seen in reader.digests.items():
        assert seen.keys() <= {old[path], digest(path)}, (path, seen)
        assert seen.total() > 100


def test_a_stage_told_to_stop_says_so_and_is_done_again(finished: Path, tiny: dict[str, Any], tmp_path: Path) -> None:
    """SIGTERM is what a cluster sends when the time of a job is up."""
    workplace = without_results(tmp_path / "stopped", finished)
    process = workplace.start(tiny, f"{LAYER}/activations.h5")
    assert wait_for_job(workplace, process, "activations")
    script = _script_of(process.pid, "activations.py")
    os.kill(script, signal.SIGTERM)
    output, error = process.communicate(timeout=120)
    assert process.returncode != 0
    assert len(re.findall(r"^purelens: activations: told to stop \(SIGTERM\)$", output + error, re.M)) == 1
    assert "Traceback" not in output + error
    run = workplace.snakemake(tiny, f"{LAYER}/activations.h5")
    assert run.code == 0, run.text
    complete_artifacts(workplace.folder / "results", results_of(finished))


def _script_of(parent: int, name: str) -> int:
    """Process id of the job's script, once it handles signals."""
    for _ in range(500):
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and _is_script(entry, name):
                return int(entry.name)
        time.sleep(0.01)
    raise AssertionError(f"{name} does not run below {parent}")


def _is_script(entry: Path, name: str) -> bool:
    try:
        command = (entry / "cmdline").read_text()
        caught = int(re.search(r"SigCgt:\s*(\w+)", (entry / "status").read_text())[1], 16)  # type: ignore[index]
    except (OSError, TypeError):
        return False
    return command.rstrip("\0").endswith(name) and bool(caught >> (signal.SIGTERM - 1) & 1)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one megabyte, where the artifacts of the dataset go."""
    folder = tmp_path / "results/scenes"
    folder.mkdir(parents=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", folder], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("needs the right to mount")
    (folder / "other").touch()  # Snakemake removes folders that are empty
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def mounts(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", folder], check=True)


def test_a_full_disk(finished: Path, tiny: dict[str, Any], tmp_path: Path, small_disk: Path) -> None:
    workplace = without_results(tmp_path, finished)
    run = workplace.snakemake(tiny, "results/scenes/images.h5")
    assert run.code != 0
    assert len(re.findall(r"^purelens: dataset: .*No space left on device", run.text, re.M)) == 1, run.text
    assert "Traceback" not in run.text
    assert not (small_disk / "images.h5").exists()
    mounts(small_disk, "size=2m")
    run = workplace.snakemake(tiny, f"{LAYER}/patches.h5")
    assert run.code != 0  # full in the middle of a later stage
    assert len(re.findall(r"^purelens: \w+: .*No space left on device", run.text, re.M)) == 1, run.text
    assert "Traceback" not in run.text
    complete_artifacts(small_disk, results_of(finished / "scenes"))
    mounts(small_disk, "size=50m")
    run = workplace.snakemake(tiny, f"{LAYER}/patches.h5")
    assert run.code == 0, run.text
    complete_artifacts(small_disk, results_of(finished / "scenes"))
    assert hidden(small_disk) == set()


def test_a_results_folder_that_cannot_be_written_to(
    finished: Path, tiny: dict[str, Any], tmp_path: Path, small_disk: Path
) -> None:
    tiny["results"] = f"{small_disk}/results"
    tiny["datasets"]["scenes"]["images"] = f"{finished}/world/probe.h5"
    tiny["models"]["scene_cnn"]["weights"] = f"{finished}/world/scene_cnn.safetensors"
    tiny["embedders"]["scene_clip"]["weights"] = f"{finished}/world/scene_clip.safetensors"
    (small_disk / "results").mkdir()
    mounts(small_disk, "ro")
    run = Workplace(tmp_path).snakemake(tiny)
    assert run.code != 0
    lines = [line for line in run.text.splitlines() if line.startswith("purelens: ")]
    assert len(lines) == 1, run.text
    assert f"results: the folder {small_disk}/results cannot be written to" in lines[0]
    assert "Traceback" not in run.text


def test_two_runs_at_once(finished: Path, tiny: dict[str, Any], tmp_path: Path) -> None:
    workplace = without_results(tmp_path / "two", finished)
    process = workplace.start(tiny, f"{LAYER}/relevances.h5")
    assert wait_for_job(workplace, process, "dataset")
    second = workplace.snakemake(tiny, f"{LAYER}/relevances.h5")
    assert second.code != 0
    assert "cannot be locked" in second.text
    assert workplace.snakemake(tiny, "-n").code == 0  # looking is allowed
    output, error = process.communicate(timeout=200)
    assert process.returncode == 0, output + error
    complete_artifacts(workplace.folder / "results", results_of(finished))


def test_a_forced_job_that_makes_the_same_bytes_is_the_only_one(
    finished: Path, tiny: dict[str, Any], tmp_path: Path
) -> None:
    shutil.copytree(finished, tmp_path / "results")
    workplace, folder = Workplace(tmp_path), tmp_path / LAYER
    before = {path: path.stat().st_ino for path in folder.glob("*.*")}
    run = workplace.snakemake(tiny, "--forcerun", f"{LAYER}/relevances.h5")
    assert run.code == 0, run.text
    remade = {path.name for path, inode in before.items() if path.stat().st_ino != inode}
    assert remade == {"relevances.h5"}
    assert "nothing to do" in (tmp_path / "results/logs/virtual_neurons/scenes/scene_cnn/layer3.log").read_text()
    assert workplace.snakemake(tiny, "-n").jobs == {}


def test_a_result_of_a_mended_artifact_is_stale(finished: Path, tiny: dict[str, Any], tmp_path: Path) -> None:
    """What was made from another content of the same recipe is made again."""
    shutil.copytree(finished, tmp_path / "results")
    workplace, path = Workplace(tmp_path), tmp_path / LAYER / "activations.h5"
    right = path.read_bytes()
    with edited(path) as file:
        file["max"][0, 0] += 1
    assert "assignments" in workplace.snakemake(tiny, "-n").jobs
    path.write_bytes(right)
    assert workplace.snakemake(tiny, "-n").jobs == {}


DAMAGES = {
    "truncated": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "a text file": lambda data: b"not an artifact",
}


@pytest.fixture
def damaged(finished: Path, tmp_path: Path) -> tuple[Workplace, Path]:
    """A copy of the finished results, and an artifact of it that is to be damaged."""
    shutil.copytree(finished, tmp_path / "results")
    return Workplace(tmp_path), tmp_path / LAYER / "embeddings/scene_clip.h5"


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_artifacts_are_found_and_made_anew(
    damaged: tuple[Workplace, Path], tiny: dict[str, Any], damage: str
) -> None:
    workplace, path = damaged
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    _, problems = verify(workplace.folder / "results")
    assert [problem.path for problem in problems] == [path], problems
    after = {"virtual_neurons", "interpretability", "alignment", "neuron_figures", "layer_figures", "pages", "explorer"}
    words = {"assignments", "explain", "simulate", "ablate", "monosemanticity", "selectivity"}
    assert set(workplace.snakemake(tiny, "-n").jobs) == {"embeddings", *after, *words}


def test_a_flipped_byte_is_refused_by_the_stage_that_reads_it(
    damaged: tuple[Workplace, Path], finished: Path, tiny: dict[str, Any]
) -> None:
    """A plan cannot see it; verify does, and the stage, which says how to mend it."""
    workplace, path = damaged
    rot(path)
    _, problems = verify(workplace.folder / "results")
    assert [problem.path for problem in problems] == [path], problems
    run = workplace.snakemake(tiny, f"{LAYER}/virtual_neurons.h5", "--force")
    assert run.code != 0
    (line,) = [line for line in run.text.splitlines() if line.startswith("purelens: ")]
    assert "scene_clip.h5 cannot be read, it is damaged" in line
    assert workplace.snakemake(tiny, *re.findall(r"--force (\S+)", line), "--force").code == 0
    run = workplace.snakemake(tiny)
    assert run.code == 0, run.text
    assert results_of(workplace.folder / "results") == results_of(finished)
    assert verify(workplace.folder / "results")[1] == []


def test_what_was_made_from_another_artifact_is_found(finished: Path, tiny: dict[str, Any], tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "results")
    workplace = Workplace(tmp_path)
    assert workplace.snakemake({**tiny, "references": 11}, f"{LAYER}/activations.h5").code == 0
    _, problems = verify(tmp_path / "results")
    assert {problem.path.name for problem in problems} >= {"relevances.h5", "patches.h5"}
    assert all("is not the file from which it was made" in problem.what for problem in problems)


def test_images_deleted_after_they_were_decoded(finished: Path, tiny: dict[str, Any], tmp_path: Path) -> None:
    workplace = without_results(tmp_path / "deleted", finished)
    for number in range(16):
        path = workplace.folder / "photos" / str(number % 2) / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.effect_noise((64, 64), 50 + number).save(path)
    tiny["datasets"], tiny["lens"] = {"photos": {"images": "photos", "size": 64}}, {}
    tiny["models"]["scene_cnn"]["layers"]["layer3"]["neurons"] = [0, 1]
    process = workplace.start(tiny, "results/photos/scene_cnn/layer3/patches.h5")
    while not (workplace.folder / "results/photos/images.h5").exists():
        assert process.poll() is None
        time.sleep(0.05)
    shutil.rmtree(workplace.folder / "photos/0")
    output, error = process.communicate(timeout=200)
    assert process.returncode == 0, output + error
