"""Measure how time and memory grow with images and neurons: each size in a process of its own, with its own peak memory."""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from purelens.bench.runs import run_activations, run_patches, run_relevances
from purelens.bench.setting import Setting, prepare
from purelens.config.bench import BenchStudy
from purelens.errors import UserError
from purelens.workflow.malloc import keep_freed_memory

FACTORS = (1, 2, 4)
REFERENCES = 8
IMAGES_OF_PAIRS = 32
SHOTS = 2


@dataclass(frozen=True)
class Growth:
    """Time and memory of a stage at a size: fewest seconds, without the start of the process, and peak memory in bytes."""

    study: str
    stage: str
    factor: int
    images: int
    pairs: int
    seconds: float
    peak_bytes: int


def measure_growth(study: BenchStudy, name: str, folder: Path, seed: int) -> list[Growth]:
    """Run the stages at 1, 2 and 4 times the images or neurons of a study.

    Parameters
    ----------
    study, name
        The study, and its name for the record.
    folder
        Where the artifacts go.
    seed
        Of random images and weights.

    Returns
    -------
    list
        Seconds and peak memory of each stage at each size.
    """
    records = []
    n_images = FACTORS[-1] * study.images_counted
    setting = prepare(study, folder / "images", n_images, 1, REFERENCES, seed)
    for factor in FACTORS:
        records.append(_measured(setting, name, "activations", factor, factor * study.images_counted, 0))
    n_neurons = FACTORS[-1] * study.neurons
    whole = prepare(study, folder / "neurons", IMAGES_OF_PAIRS, n_neurons, REFERENCES, seed)
    for factor in FACTORS:
        setting = Setting(study, whole.folder, whole.neurons[: factor * study.neurons])
        n_pairs = int((setting.pairs().reference_id >= 0).sum())
        for stage in ("relevances", "patches"):
            records.append(_measured(setting, name, stage, factor, IMAGES_OF_PAIRS, n_pairs))
    return records


def _measured(setting: Setting, name: str, stage: str, factor: int, n_images: int, n_pairs: int) -> Growth:
    """Run a stage in a process of its own."""
    request = {"study": setting.study.model_dump(), "folder": str(setting.folder), "neurons": setting.neurons}
    request["shard"] = f"1/{FACTORS[-1] // factor}"
    command = [sys.executable, "-m", "purelens.bench.growth", stage]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, input=json.dumps(request), capture_output=True, text=True, env=environment)
    if done.returncode:
        raise UserError(f"bench: {stage} failed at {factor} times the size: {done.stderr.strip().splitlines()[-1:]}")
    seconds, peak = json.loads(done.stdout.splitlines()[-1])
    return Growth(name, stage, factor, n_images, n_pairs, seconds, peak)


def as_rows(records: Sequence[Growth]) -> list[dict[str, float | str]]:
    """Turn records into rows of a table."""
    return [asdict(record) for record in records]


def _run(stage: str) -> None:
    """Run in the process of one size: read the request, and print seconds and peak memory."""
    request = json.loads(sys.stdin.read())
    setting = Setting(BenchStudy(**request["study"]), Path(request["folder"]), request["neurons"])
    path = setting.folder / f"grown_{stage}.h5"
    keep_freed_memory()
    setting.network()  # imports are not measured
    stages = {
        "activations": lambda: run_activations(setting, path, REFERENCES, shard=request["shard"]),
        "relevances": lambda: run_relevances(setting, path),
        "patches": lambda: run_patches(setting, path),
    }
    seconds = min(_timed(stages[stage]) for _ in range(SHOTS))
    print(json.dumps([seconds, _peak_bytes()]))


def _timed(function: Callable[[], object]) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def _peak_bytes() -> int:
    """Return the peak memory of this process; ``getrusage`` would count the process that started it too."""
    status = Path("/proc/self/status")
    if status.exists():
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    _run(sys.argv[1])
