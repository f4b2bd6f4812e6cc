"""Stages and runs that are killed: the same command goes on, and nothing is lost or half-written."""

import os
import random
import re
import signal
import time
from pathlib import Path
from typing import Any

from purelens.reruns.verify import verify
from support.stages import STAGES, complete_artifacts, kill, wait_for_job, without_results
from support.workplace import hidden, results_of

KILLS = int(os.environ.get("PURELENS_KILLS", "5"))


def seconds_of(stage: str, finished: Path) -> float:
    """How long a stage worked in the undisturbed run, on this machine."""
    logs = [
        log.read_text()
        for log in [*(finished / "logs" / stage).rglob("*.log"), finished / f"logs/{stage}.log"]
        if log.exists()
    ]
    return max(float(seconds) for log in logs for seconds in re.findall(r": done in ([\d.]+) s", log))


def test_kill_9_at_random_moments(finished: Path, tiny: dict[str, Any], tmp_path: Path) -> None:
    """Each stage is killed, with Snakemake; then the same command goes on."""
    expected, rng = results_of(finished), random.Random(0)
    workplace = without_results(tmp_path / "killed", finished)
    results = workplace.folder / "results"
    names = [*STAGES]
    stages = [names[number * len(names) // min(KILLS, len(names)) % len(names)] for number in range(KILLS)]
    killed: list[str] = []
    for stage in sorted(stages, key=names.index):
        target = STAGES[stage]
        if (workplace.folder / target).exists():  # it ended before it could be killed the last time
            (workplace.folder / target).unlink()
        process = workplace.start(tiny, target)
        if wait_for_job(workplace, process, stage):
            time.sleep(rng.uniform(0, 0.7 * seconds_of(stage, finished)))
        if process.poll() is None:
            killed.append(stage)
        kill(process)
        complete_artifacts(results, expected)
        assert workplace.snakemake(tiny, "--unlock").code == 0
    run = workplace.snakemake(tiny)
    assert run.code == 0, run.text
    assert results_of(results) == expected
    assert hidden(results) == set()
    assert verify(results)[1] == []
    assert 2 * len(killed) >= KILLS, killed


def test_a_job_ends_with_its_run(finished: Path, tiny: dict[str, Any], tmp_path: Path) -> None:
    """Snakemake alone is killed: its job does not work on, and the same command goes on at once."""
    workplace = without_results(tmp_path / "parent", finished)
    process = workplace.start(tiny, STAGES["relevances"])
    assert wait_for_job(workplace, process, "activations")
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert workplace.snakemake(tiny, "--unlock").code == 0
    run = workplace.snakemake(tiny, STAGES["relevances"])
    assert run.code == 0, run.text
    assert "is being written by another job" not in run.text
