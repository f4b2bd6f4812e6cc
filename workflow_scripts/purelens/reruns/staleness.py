"""Which files are what the study would make now.

Every file that a rule makes records what it was made from (see `purelens.storage.provenance`). What it would be made from now
follows from the study, the code and the sources alone: from the params of its rule, and from the same question about each of its
inputs. Where the two differ the file is stale; dates say nothing, so a copy, a checkout or a ``touch`` makes nothing stale.
"""

import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from purelens.data.images import open_source
from purelens.errors import UserError
from purelens.reruns.digests import Digests
from purelens.storage.provenance import content_digest, provenance_of, read_record, recorded_path
from purelens.storage.schemas import SCHEMAS

GATHER = "gather"
"""The rule whose output is the artifact of which its inputs are parts."""


@dataclass(frozen=True)
class Step:
    """What makes a file.

    Attributes
    ----------
    rule
        Name of the rule.
    outputs
        All files it makes.
    inputs
        Paths of its inputs, by the names the job gives them (see `purelens.workflow.job.input_paths`).
    params
        Its params.
    wildcards
        What distinguishes it from other steps of the rule.
    benchmark
        Where its time is written.
    """

    rule: str
    outputs: list[str]
    inputs: Mapping[str, str]
    params: Mapping[str, Any]
    wildcards: Mapping[str, str] = field(default_factory=dict)
    benchmark: str = ""


class Freshness:
    """Compare files with what the study would make.

    Parameters
    ----------
    find_step
        Gives the step that makes a file; None for a source.
    digests
        Gives the digest of the bytes of a file.
    """

    def __init__(self, find_step: Callable[[str], Step | None], digests: Digests) -> None:
        self._find_step, self._digests = find_step, digests
        self._identities: dict[str, str] = {}
        self._changes: dict[str, list[str]] = {}
        self._dates: dict[str, int] = {}

    def identity(self, path: str) -> str:
        """Identity that a file should have."""
        if path not in self._identities:
            step = self._find_step(path)
            if step is None:
                record = read_record(path)
                known = record is not None and not self._edited(path, record)
                self._identities[path] = record["identity"] if record and known else self._digests.of(path)
            elif step.rule == GATHER:
                self._identities[path] = self.identity(next(iter(step.inputs.values())))
            else:
                expected = provenance_of(step.params, {name: self.identity(p) for name, p in step.inputs.items()})
                self._identities[path] = expected.identity
        return self._identities[path]

    def changes(self, path: str) -> list[str]:
        """Why a file, or another that the same step makes, is stale; empty if it is fresh or not there.

        Names of params or inputs that differ, ``code``, ``schema`` or ``unreadable``.
        """
        step = self._find_step(path)
        if step is None:
            return []
        if path not in self._changes:
            found = [self._changed(output, step) for output in step.outputs if Path(output).exists()]
            self._changes[path] = sorted(set().union(*found))
        return self._changes[path]

    def _changed(self, path: str, step: Step) -> set[str]:
        record = read_record(path)
        if record is None or self._edited(path, record):
            return {"unreadable"}
        if "schema" in record and record["schema"][1] != _schema_version(record["schema"][0]):
            return {"schema"}
        if record["identity"] == self.identity(path):
            by = record.get("how", {}).get("gather")
            return {"code"} if step.rule == GATHER and by not in (None, step.params.get("code")) else set()
        if step.rule == GATHER:
            first = self._find_step(next(iter(step.inputs.values())))
            assert first is not None
            step = first
        now = provenance_of(step.params, {name: self.identity(p) for name, p in step.inputs.items()}).record()
        found = {"code"} if now["code"] != record["code"] else set()
        for part in ("params", "inputs"):
            names = now[part].keys() | record[part].keys()
            found |= {name for name in names if now[part].get(name) != record[part].get(name)}
        return found or {"identity"}

    def _edited(self, path: str, record: Mapping[str, Any]) -> bool:
        """Whether a file has other bytes than those its record is of."""
        if "content" not in record:
            return False
        made = recorded_path(path)
        if not made.exists():
            return True
        return (content_digest(made) if made.is_dir() else self._digests.of(str(made))) != record["content"]

    def settle(self, path: str) -> int:
        """Give a fresh file, and all that its step makes, a date not before those of the inputs; returns it.

        Snakemake goes by dates. Those of files that are fresh by what they record are made to agree. A file that is not there
        has the date of the newest of its inputs, 0 if there are none.
        """
        if path not in self._dates:
            step = self._find_step(path)
            newest = max([0, *(self.settle(source) for source in step.inputs.values())]) if step else 0
            fresh = step is not None and not self.changes(path)
            for output in step.outputs if step else [path]:
                self._dates[output] = self._settled(output, newest, fresh)
            if step is not None:  # Snakemake counts it among the outputs
                self._settled(step.benchmark, newest, fresh)
        return self._dates[path]

    def _settled(self, path: str, newest: int, fresh: bool) -> int:
        try:
            date = os.stat(path).st_mtime_ns
        except OSError:
            return newest
        if fresh and date < newest:
            with suppress(OSError):  # a results folder that cannot be written to
                os.utime(path, ns=(newest, newest))
                return newest
        return date


def _schema_version(name: str) -> int | None:
    return SCHEMAS[name].version if name in SCHEMAS else None


class Marks:
    """Files that are newer than what is stale: inputs by which Snakemake sees it, and that name the reason.

    Parameters
    ----------
    freshness
        Tells what is stale.
    folder
        Where the marks lie.
    """

    def __init__(self, freshness: Freshness, folder: Path) -> None:
        self._freshness, self._folder = freshness, folder

    def of(self, path: str, whole: str | None = None) -> list[str]:
        """Marks of a file, dated after it; none if it is fresh or not there, or a part of what is there and fresh."""
        self._freshness.settle(path)
        if whole is not None and Path(whole).exists() and not self._freshness.changes(whole):
            return []
        marks = []
        for reason in self._freshness.changes(path):
            mark = self._folder / os.path.normpath(path).replace("../", "").lstrip("/") / reason
            mark.parent.mkdir(parents=True, exist_ok=True)
            newest = os.stat(path).st_mtime_ns if Path(path).exists() else 0
            if not mark.exists() or mark.stat().st_mtime_ns <= newest:
                now = time.time_ns()
                mark.write_text(str(now))  # Snakemake takes a small file with the same bytes for the same
                date = max(now, newest + 1)
                os.utime(mark, ns=(date, date))
            marks.append(str(mark))
        return marks


def sweep(freshness: Freshness, results: str) -> None:
    """Remove what interrupted jobs left beside artifacts that are there and fresh: nothing will go on with it."""
    for pattern in (".*.part", ".*.progress"):
        for left in Path(results).rglob(pattern):
            path = str(left.with_name(left.name[1:].removesuffix(".part").removesuffix(".progress")))
            if left.is_dir():
                shutil.rmtree(left)  # a folder is always begun anew
            elif Path(path).exists() and not freshness.changes(path):
                left.unlink()


def planned(freshness: Freshness, find_step: Callable[[str], Step | None], targets: list[str]) -> list[Step]:
    """Steps that a run would take, each once, those that others wait for first.

    Parameters
    ----------
    freshness, find_step
        As above.
    targets
        What is wanted.
    """
    found: dict[str, Step] = {}
    stale: dict[str, bool] = {}

    def visit(path: str, wanted: bool) -> bool:
        """Whether the file will be made anew; what is missing is made if it is wanted."""
        step = find_step(path)
        if step is None:
            return False
        if path in stale and (stale[path] or not wanted):
            return stale[path]
        missing = not all(Path(output).exists() for output in step.outputs)
        here = bool(freshness.changes(path)) or (missing and wanted)
        if here or step.rule != GATHER:  # parts of another study, left beside what is whole and fresh, do not count
            for source in step.inputs.values():
                here |= visit(source, wanted and here)
        if here:
            for source in step.inputs.values():
                visit(source, True)
            found.setdefault(json.dumps(step.outputs), step)
        stale[path] = here
        return here

    for target in targets:
        visit(target, True)
    return list(found.values())


def folder_digest(folder: str | Path, digests: Digests) -> str:
    """Digest of the names and bytes of all files in a folder."""
    files = sorted(path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file())
    return digests.of_all(folder, files)


def source_digest(images: str | Path, digests: Digests) -> str | None:
    """Digest of names and bytes of the image files of a folder or CSV source; None for anything else."""
    path = Path(images)
    if not path.is_dir() and path.suffix.lower() != ".csv":
        return None
    try:
        source = open_source(path)
    except UserError:
        return None  # told when the source is opened
    assert source.folder is not None
    return digests.of_all(source.folder, source.paths)
