"""A disk that becomes full while a stage writes: one error of the system, nothing half-written, the old file where it was."""

import ctypes
import errno
import multiprocessing
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from purelens.errors import UserError
from support.jobs import Job, jobs_of
from support.workplace import TINY, Workplace, contents

PAGE = 4096
EVERY = os.environ.get("PURELENS_ATTACKS") == "all"
SLOW = ("world_cnn", "world_clip", "projections", "world_scenes")


@pytest.fixture(scope="module")
def jobs(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Job]:
    """The jobs of the tiny study that make more than three pages of bytes."""
    folder = tmp_path_factory.mktemp("disks")
    shutil.copytree(finished, folder / "results")
    found = jobs_of(Workplace(folder), TINY, tmp_path_factory.mktemp("code") / "checkout")
    found = [job for job in found if size_of(job) > 3 * PAGE]
    return found if EVERY else [job for job in found if job.rule not in SLOW][::3]


def files_of(job: Job) -> list[Path]:
    return [job.folder / path.removesuffix(".provenance.json") for path in job.output.values()]


def size_of(job: Job) -> int:
    """Bytes of what a job makes, each file in whole pages."""
    files = [
        file for path in files_of(job) for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file()
    ]
    return sum(-(-file.stat().st_size // PAGE) * PAGE for file in files)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", folder], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("needs the right to mount")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def _try(job: Job) -> None:
    """Run a job in a process of its own, which ends with 3 if it told of the disk, and with 4 for any other reason."""
    try:
        job.run()
    except (UserError, OSError) as error:
        told = getattr(error, "errno", None) == errno.ENOSPC or re.search("No space left| MB", str(error))
        leave(3 if told else 4)
    except BaseException:
        leave(4)
    leave(0)


def leave(code: int) -> None:
    """End the process as C does, with what HDF5 does at the end: it crashes if it could not write."""
    ctypes.CDLL(None).exit(code)


def end_of(job: Job) -> int | None:
    process = multiprocessing.get_context("fork").Process(target=_try, args=(job,))
    process.start()
    process.join()
    return process.exitcode


def resize(disk: Path, size: str) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", disk], check=True)


def test_every_stage_on_a_disk_that_becomes_full(jobs: list[Job], disk: Path) -> None:
    assert len(jobs) > (15 if EVERY else 5)
    ends = {}
    for job in jobs:
        run = replace(job, output={name: f"{disk}/{job.rule}/{path}" for name, path in job.output.items()})
        resize(disk, "1g")
        assert end_of(run) == 0, job.rule
        whole = {path: contents(path) for path in files_of(run)}
        shutil.rmtree(disk / job.rule)
        resize(disk, f"{max(1, int(size_of(job) * 0.45) // PAGE) * PAGE}")
        ends[job.rule] = end_of(run)
        assert all(contents(path) == expected for path, expected in whole.items() if path.exists()), job.rule
        shutil.rmtree(disk / job.rule, ignore_errors=True)
    assert set(ends.values()) == {3}, ends
