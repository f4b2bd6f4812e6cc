"""Jobs that are killed, and jobs that are started twice: whatever happens, the same job makes the same bytes afterwards."""

import json
import multiprocessing
import os
import random
import shutil
import signal
import time
from collections import Counter
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from purelens.errors import UserError
from purelens.storage import resumable
from purelens.storage.files import LOCK, unfinished_path
from purelens.storage.locks import writing
from purelens.storage.provenance import recorded_path
from support.jobs import Job, jobs_of
from support.workplace import TINY, Workplace

EVERY = os.environ.get("PURELENS_ATTACKS") == "all"
PAIRS = 30 if EVERY else 10
QUICK = (
    "dataset",
    "activations",
    "relevances",
    "patches",
    "virtual_neurons",
    "alignment",
    "directions",
    "words",
    "pages",
    "explain",
)
TWICE = ("activations", "relevances", "patches", "effects", "pages", "neuron_figures")
EXCEPT = ("world_scenes", "world_cnn", "world_clip", "explorer", "plan")
"""What takes long, or tells how long others took."""


@pytest.fixture(scope="module")
def jobs(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Job]:
    """Every job of the tiny study, in a copy of its results."""
    folder = tmp_path_factory.mktemp("kills")
    shutil.copytree(finished, folder / "results")
    found = jobs_of(Workplace(folder), TINY, tmp_path_factory.mktemp("code") / "checkout")
    return [job for job in found if job.rule not in EXCEPT and (EVERY or job.rule in (*QUICK, *TWICE))]


def _work(job: Job) -> None:
    resumable.SECONDS_BETWEEN_CHECKPOINTS = 0.02
    with writing(recorded_path(job.folder / path) for path in job.output.values()):
        job.run()


def _try(job: Job, answer: Any) -> None:
    try:
        _work(job)
        answer.put("made")
    except UserError as error:
        answer.put("told" if "is being written by another job" in str(error) else str(error))


fork = multiprocessing.get_context("fork")


def start(job: Job) -> BaseProcess:
    process = fork.Process(target=_work, args=(job,))
    process.start()
    return process


def seconds_of(job: Job) -> float:
    """How long a job takes that is left alone."""
    began = time.perf_counter()
    start(job).join()
    return time.perf_counter() - began


def leftovers(job: Job) -> list[str]:
    folders = {(job.folder / path).parent for path in job.output.values()}
    return [path.name for folder in folders for path in folder.glob(".*")]


def test_jobs_that_are_killed_at_random_moments(jobs: list[Job], tmp_path: Path) -> None:
    rng, killed = random.Random(0), Counter[str]()
    for job in [job for job in jobs if EVERY or job.rule in QUICK]:
        run = job.elsewhere(tmp_path / job.rule)
        seconds = seconds_of(run)
        clean = run.made()
        for _ in range(2 if EVERY else 1):
            shutil.rmtree(tmp_path / job.rule)
            for _ in range(2):  # what is resumed is killed too
                process = start(run)
                time.sleep(rng.uniform(0.1, 0.8) * seconds)
                killed[job.rule] += process.is_alive()
                process.kill()
                process.join()
            last = start(run)
            last.join()
            assert last.exitcode == 0, job.rule
            assert run.made() == clean, job.rule
            assert set(leftovers(run)) == set(), job.rule
        shutil.rmtree(tmp_path / job.rule)
    print(json.dumps(killed))
    assert killed.total() >= (60 if EVERY else 10), killed


def test_jobs_that_are_started_twice(jobs: list[Job], tmp_path: Path) -> None:
    """Through two names of one folder, as two checkouts or a link give it; one of the two may be killed."""
    rng, outcomes = random.Random(1), Counter[str]()
    chosen = [
        job
        for job in jobs
        if job.rule in ("activations", "relevances", "patches", "effects", "pages", "neuron_figures")
    ]
    for number in range(PAIRS):
        job = chosen[number % len(chosen)]
        folder, link = tmp_path / f"{number}", tmp_path / f"link{number}"
        folder.mkdir()
        link.symlink_to(folder)
        first, second = job.elsewhere(folder), job.elsewhere(link)
        answer = fork.Queue()
        one, other = (fork.Process(target=_try, args=(run, answer)) for run in (first, second))
        one.start()
        time.sleep(rng.uniform(0, 0.2))
        other.start()
        if number % 2:
            wait_until_locked(first)
            os.kill(one.pid or 0, signal.SIGKILL)
        for process in (one, other):
            process.join()
        while not answer.empty():
            outcomes[answer.get()] += 1
        last = start(second)
        last.join()
        assert first.made() == job.made(), job.rule
        assert leftovers(first) == []
    assert set(outcomes) <= {"made", "told"}, outcomes
    assert outcomes["told"] >= PAIRS // 3, outcomes


def wait_until_locked(job: Job) -> None:
    """Wait until a job has begun."""
    paths = [recorded_path(job.folder / path) for path in job.output.values()]
    for _ in range(500):
        if all(unfinished_path(path, LOCK).exists() for path in paths):
            return
        time.sleep(0.01)
