"""Fixtures of tests that run the workflow."""

import copy
import fcntl
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from support.workplace import TINY, Workplace


@pytest.fixture(scope="session")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """A folder for the whole session: what was computed once is there for the next test."""
    return Workplace(tmp_path_factory.mktemp("a workplace"))


@pytest.fixture
def tiny() -> dict[str, Any]:
    """A study of the tiny world, to be changed."""
    return copy.deepcopy(TINY)


@pytest.fixture(scope="session")
def finished(workplace: Workplace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of the tiny study: made once, also where tests run in several processes."""
    if "PURELENS_FINISHED" in os.environ:  # results that are there already
        shutil.copytree(os.environ["PURELENS_FINISHED"], workplace.folder / "results", dirs_exist_ok=True)
        return workplace.folder / "results"
    base = tmp_path_factory.getbasetemp()
    shared = Workplace((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared")
    shared.folder.mkdir(exist_ok=True)
    with (shared.folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # until the file is closed
        run = shared.snakemake(TINY)
        assert run.code == 0, run.text
    shutil.copytree(shared.folder / "results", workplace.folder / "results", dirs_exist_ok=True)
    return workplace.folder / "results"
