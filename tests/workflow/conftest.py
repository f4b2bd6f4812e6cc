"""Fixtures of the workflow tests."""

import copy
from pathlib import Path
from typing import Any

import pytest

from workplace import TINY, Workplace


@pytest.fixture(scope="session")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """A folder for the whole session: what was computed once is there for the next test."""
    return Workplace(tmp_path_factory.mktemp("a workplace"))


@pytest.fixture
def tiny() -> dict[str, Any]:
    """A study of the tiny world, to be changed."""
    return copy.deepcopy(TINY)


@pytest.fixture(scope="session")
def finished(workplace: Workplace) -> Path:
    """The results of the tiny study."""
    run = workplace.snakemake(TINY)
    assert run.code == 0, run.text
    return workplace.folder / "results"
