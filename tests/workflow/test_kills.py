"""Stages and runs that are killed: the same command goes on, and nothing is lost or half-written."""

import os
import random
import re
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from purelens.reruns.verify import verify
from support.stages import STAGES, complete_artifacts, kill, wait_for_job, without_results
from support.workplace import Workplace, hidden, results_of

KILLS = int(os.environ.get("PURELENS_KILLS", "5"))
EVERY = os.environ.get("PURELENS_ATTACKS") == "all"
PARENTS = ["activations", "relevances", "patches", "embeddings", "virtual_neurons"] * 2 if EVERY else ["activations"]
PAIRS = 10 if EVERY else 1
ENDINGS = (signal.SIGKILL, signal.SIGHUP, signal.SIGQUIT)


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
    expected, rng = results_of(finished), random.Random(1)
    workplace = without_results(tmp_path / "parent", finished)
    killed: list[str] = []
    for number, stage in enumerate(PARENTS):
        (workplace.folder / STAGES[stage]).unlink(missing_ok=True)
        process = workplace.start(tiny, STAGES[stage])
        if wait_for_job(workplace, process, stage):
            time.sleep(rng.uniform(0, 0.5 * seconds_of(stage, finished)))
        if process.poll() is None:
            killed.append(stage)
        process.send_signal(ENDINGS[number % len(ENDINGS)])
        process.communicate()
        assert workplace.snakemake(tiny, "--unlock").code == 0
        run = workplace.snakemake(tiny, STAGES[stage])
        assert run.code == 0, run.text
        assert "is being written by another job" not in run.text
        complete_artifacts(workplace.folder / "results", expected)
    assert 2 * len(killed) >= len(PARENTS), killed


def test_two_runs_through_two_names_of_one_folder(finished: Path, tiny: dict[str, Any], tmp_path: Path) -> None:
    """Snakemake's lock does not see it: each run has a folder of its own. The first or the second may be killed."""
    expected, rng = results_of(finished), random.Random(2)
    for number in range(PAIRS):
        folder = tmp_path / str(number)
        folder.mkdir()
        workplace, other = without_results(folder / "one", finished), Workplace(folder / "two")
        other.folder.mkdir()
        (other.folder / "results").symlink_to(workplace.folder / "results")
        runs = [workplace.start(tiny, STAGES["relevances"])]
        assert wait_for_job(workplace, runs[0], "dataset")
        time.sleep(rng.uniform(0, 2))
        runs.append(other.start(tiny, STAGES["relevances"]))
        if number % 3:
            time.sleep(rng.uniform(0, 8))
            with suppress(ProcessLookupError):
                os.killpg(runs[number % 3 - 1].pid, signal.SIGKILL)
        for run in runs:
            text = "".join(run.communicate(timeout=200))
            assert "Traceback" not in text
            assert run.returncode in (0, -signal.SIGKILL) or "is being written by another job" in text, text
        complete_artifacts(workplace.folder / "results", expected)
        if number % 3:
            assert workplace.snakemake(tiny, "--unlock").code == 0
        last = workplace.snakemake(tiny, STAGES["relevances"])
        assert last.code == 0, last.text
        complete_artifacts(workplace.folder / "results", expected)
        assert verify(workplace.folder / "results")[1] == []
        assert hidden(workplace.folder / "results") == set()
