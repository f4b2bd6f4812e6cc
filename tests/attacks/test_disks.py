"""A disk that becomes full while a stage writes: one error of the system, nothing half-written, the old file where it was."""

import errno
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
from collections import Counter
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
    return [job for job in found if size_of(job) > 3 * PAGE and (EVERY or job.rule not in SLOW)]


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
    """Run a job in a process of its own; it ends with 0 if it noticed nothing, 3 if it told of the disk, 4 with anything else."""
    try:
        job.run()
    except (UserError, OSError) as error:
        told = getattr(error, "errno", None) == errno.ENOSPC or re.search("No space left| MB", str(error))
        os._exit(3 if told else 4)
    except BaseException:
        os._exit(4)
    os._exit(0)


def test_every_stage_on_a_disk_that_becomes_full(jobs: list[Job], disk: Path) -> None:
    """HDF5 itself may end the process when it cannot write; also then nothing half-written can be seen."""
    assert len(jobs) > 15
    ends = Counter[str]()
    for job in jobs:
        run = replace(job, output={name: f"{disk}/{job.rule}/{path}" for name, path in job.output.items()})
        pages = max(1, int(size_of(job) * 0.45) // PAGE)
        subprocess.run(["mount", "-o", f"remount,size={pages * PAGE}", disk], check=True)
        process = multiprocessing.get_context("fork").Process(target=_try, args=(run,))
        process.start()
        process.join()
        assert process.exitcode == 3 or process.exitcode == -signal.SIGSEGV, (job.rule, process.exitcode)
        ends["told" if process.exitcode == 3 else "ended by HDF5"] += 1
        whole = {path: contents(original) for path, original in zip(files_of(run), files_of(job), strict=True)}
        assert all(contents(path) == expected for path, expected in whole.items() if path.exists()), job.rule
        shutil.rmtree(disk / job.rule, ignore_errors=True)
    assert ends["told"] > len(jobs) // 2, ends
