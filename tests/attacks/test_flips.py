"""One bit is flipped in what a stage reads: the stage says so, or makes what it makes from the whole file."""

import json
import os
import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import pytest

from purelens.errors import UserError
from purelens.storage.checksums import variables
from purelens.storage.reading import Table
from support.jobs import Job, jobs_of
from support.workplace import TINY, Workplace

EVERY = os.environ.get("PURELENS_ATTACKS") == "all"
OF_AN_INPUT = 1000 if EVERY else 2
"""How many variables of each input are damaged, one after another."""


@pytest.fixture(scope="module")
def jobs(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Job]:
    """Every job of the tiny study, in a copy of its results."""
    folder = tmp_path_factory.mktemp("flips")
    shutil.copytree(finished, folder / "results")
    return jobs_of(Workplace(folder), TINY, tmp_path_factory.mktemp("code") / "checkout")


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> set[tuple[str, str]]:
    """The variables that are read: pairs of a path and a name."""
    seen: set[tuple[str, str]] = set()
    read: Callable[..., Any] = Table.__getitem__

    def noted(table: Table, key: Any) -> Any:
        seen.add((table._artifact.path, table._name))
        return read(table, key)

    monkeypatch.setattr(Table, "__getitem__", noted)
    return seen


@contextmanager
def flipped(path: Path, place: int) -> Iterator[None]:
    """Flip one bit of a file, and flip it back."""
    for _ in range(2):
        with path.open("r+b") as file:
            file.seek(place)
            byte = file.read(1)[0]
            file.seek(place)
            file.write(bytes([byte ^ 4]))
        if _ == 0:
            try:
                yield
            except BaseException:
                with path.open("r+b") as file:
                    file.seek(place)
                    file.write(bytes([byte]))
                raise


def has_bytes(path: Path, name: str) -> bool:
    with h5py.File(path) as file:
        return bool(file[name].size)


def place_of(path: Path, name: str, rng: random.Random) -> int:
    """The place of a byte of a variable: one of its first row, which whoever reads it reads."""
    with h5py.File(path) as file:
        data = file[name]
        if data.chunks is None:
            return int(data.id.get_offset()) + rng.randrange(data.nbytes // len(data))
        chunk = data.id.get_chunk_info(0)
        return int(chunk.byte_offset) + rng.randrange(min(chunk.size, data.nbytes))


def outcome(job: Job, path: str, clean: dict[str, Any]) -> str:
    """Run a job with a damaged input: ``told``, ``harmless``, or what is wrong."""
    try:
        job.run()
    except UserError as error:
        return "told" if path in str(error) else f"{error} does not name {path}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "harmless" if job.made() == clean else "WRONG IN SILENCE"


def test_a_stage_tells_of_every_flip(jobs: list[Job], reads: set[tuple[str, str]], tmp_path: Path) -> None:
    rng, counts, wrong, kinds = random.Random(0), Counter[str](), [], set()
    for job in jobs:
        run = job.elsewhere(tmp_path / job.rule)
        reads.clear()
        run.run()
        clean, read = run.made(), set(reads)
        if job.rule != "explorer":  # it tells how long the jobs took, and where they are
            # called here, a stage makes what it makes in the workflow; the card of a model names the file of its architecture
            assert {**clean, "card_json": None} == {**job.made(), "card_json": None}, job.rule
        for path in dict.fromkeys(job.files.values()):
            names = sorted(name for one, name in read if one == path and has_bytes(job.folder / path, name))
            for name in rng.sample(names, min(len(names), OF_AN_INPUT)):
                with flipped(job.folder / path, place_of(job.folder / path, name, rng)):
                    result = outcome(run, path, clean)
                counts[result] += 1
                kinds.add((job.rule, Path(path).name))
                wrong += [f"{job.rule}: {path}:{name}: {result}"] if result not in ("told", "harmless") else []
            if not path.endswith(".h5") and path.startswith("results"):
                counts[outcome_of_a_table(job, run, path, clean)] += 1
        shutil.rmtree(tmp_path / job.rule)
    print(json.dumps(counts), len(kinds))
    assert wrong == []
    assert counts["told"] >= 60, counts
    assert set(counts) <= {"told", "harmless"}  # harmless: the stage reads other rows
    assert counts["harmless"] <= 5
    assert len(kinds) >= 40


def outcome_of_a_table(job: Job, run: Job, path: str, clean: dict[str, Any]) -> str:
    """Flip a bit in a table, in weights, or in a file of a folder."""
    made_path = job.folder / path.removesuffix(".provenance.json")
    file = next(one for one in sorted(made_path.rglob("*")) if one.is_file()) if made_path.is_dir() else made_path
    with flipped(file, file.stat().st_size // 2):
        return outcome(run, path, clean)


def test_a_flip_anywhere_is_no_traceback(jobs: list[Job], tmp_path: Path) -> None:
    """Headers, indexes and checksums too: a stage ends with one line or makes the right thing."""
    rng, counts = random.Random(1), Counter[str]()
    readers = [job for job in jobs if job.rule in ("relevances", "projections", "words")]
    for job in readers:
        run = job.elsewhere(tmp_path / job.rule)
        run.run()
        clean = run.made()
        for path in dict.fromkeys(job.artifacts.values()):
            for _ in range(40 if EVERY else 6):
                with flipped(job.folder / path, rng.randrange((job.folder / path).stat().st_size)):
                    counts[outcome(run, path, clean)] += 1
    assert set(counts) <= {"told", "harmless"}, counts
    assert counts["told"] > 0


def test_every_variable_has_checksums(finished: Path) -> None:
    paths = sorted(finished.rglob("*.h5"))
    assert len({path.name for path in paths}) > 15
    for path in paths:
        with h5py.File(path) as file:
            for name in variables(file):
                if not name.startswith("checksum/") and file[name].size and file[name].shape:
                    assert f"checksum/{name}" in file, (path, name)
