"""Detect stale files by comparing their provenance records with the study.

Every file that a rule makes has a provenance record (see `purelens.storage.provenance`). The record that it should have
follows from the study, the code and the source files alone: from the params of its rule and, recursively, from its inputs. A
file is stale where the two differ. Dates do not count, so a copy, a checkout or a ``touch`` makes nothing stale. See
invariants 2 (staleness) and 3 (marks) in ``docs/reruns.md``.
"""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from purelens.errors import UserError
from purelens.reruns.digests import Digests
from purelens.storage.checksums import FINISHED
from purelens.storage.files import find_unfinished
from purelens.storage.locks import is_being_written
from purelens.storage.provenance import CONTENTS, WATCH, content_digest, provenance_of, read_record, recorded_path
from purelens.storage.schemas import SCHEMAS

GATHER = "gather"
"""The rule whose inputs are the shards of its output."""

FORCED = "forced"
"""The reason of a job that the user asked to run again."""

SECONDS_OF_SKEW = 60
"""How far the clocks of two machines may differ."""

SECONDS_OF_CLOSING = 10.0
"""An artifact may be dated so long after its last byte was written: Snakemake touches outputs when their job has ended."""

LONGEST_NAME = 100
"""Letters of the name of a mark: file systems take 255 bytes."""


@dataclass(frozen=True)
class Step:
    """A job that makes files.

    Attributes
    ----------
    rule
        Name of the rule.
    outputs
        All files it makes.
    inputs
        Paths of its inputs, by the names that the job gives them (see `purelens.workflow.job.input_paths`).
    params
        Its params.
    wildcards
        What distinguishes it from other jobs of the rule.
    benchmark
        File with its time and memory.
    """

    rule: str
    outputs: list[str]
    inputs: Mapping[str, str]
    params: Mapping[str, Any]
    wildcards: Mapping[str, str] = field(default_factory=dict)
    benchmark: str = ""

    @property
    def is_begun(self) -> bool:
        """Whether some of its files are there."""
        return any(Path(output).exists() for output in self.outputs)

    @property
    def is_done(self) -> bool:
        """Whether all its files are there."""
        return all(Path(output).exists() for output in self.outputs)


def _never(_: Step) -> bool:
    return False


class Freshness:
    """Compare files with what the study would make.

    Parameters
    ----------
    find_step
        Returns the step that makes a file; None for a source file.
    digests
        Digests of source files.
    is_forced
        Tells whether the user asked to run a step again.
    """

    def __init__(
        self,
        find_step: Callable[[str], Step | None],
        digests: Digests,
        is_forced: Callable[[Step], bool] = _never,
    ) -> None:
        self._find_step, self._digests, self._is_forced = find_step, digests, is_forced
        self._fingerprints: dict[str, str] = {}
        self._changes: dict[str, list[str]] = {}
        self._records: dict[str, dict[str, Any] | None] = {}

    def fingerprint(self, path: str) -> str:
        """Compute the fingerprint that a file should have."""
        if path not in self._fingerprints:
            step = self._find_step(path)
            self._fingerprints[path] = self._of_source(path) if step is None else self._of_step(step)
        return self._fingerprints[path]

    def _of_source(self, path: str) -> str:
        record = self._record(path)
        return self._digests.of(path) if record is None or self._edited(path, record) else record["fingerprint"]

    def _of_step(self, step: Step) -> str:
        step = self._maker(step)
        fingerprints = {name: self.fingerprint(path) for name, path in step.inputs.items()}
        return provenance_of(step.params, fingerprints, files=step.inputs.values()).fingerprint

    def _maker(self, step: Step) -> Step:
        """Return the step that decides what is in a file: shards, put together, are what one job would have made."""
        if step.rule != GATHER:
            return step
        shard = self._find_step(next(iter(step.inputs.values())))
        assert shard is not None, "every shard is made by a rule"
        return shard

    def sources(self, step: Step) -> list[str]:
        """List the files that a step is made from: not the shards of an artifact, but what these are made from."""
        return list(self._maker(step).inputs.values())

    def is_fresh(self, path: str) -> bool:
        """Tell whether all files of the step that makes a file are there and as the study would make them."""
        step = self._find_step(path)
        return step is None or (step.is_done and not self.changes(path))

    def changes(self, path: str) -> list[str]:
        """List why a file is stale; empty if it is fresh, or a source file.

        Returns
        -------
        list
            Names of the params or inputs that differ or will be made again, ``code``, ``schema``, ``unreadable``, or ``forced``
            if the user asked for it.
        """
        if path not in self._changes:
            step = self._find_step(path)
            forced = [FORCED] if step is not None and self._is_forced(step) else []
            self._changes[path] = [] if step is None else sorted({*forced, *self._upstream(step), *self._own(step)})
        return self._changes[path]

    def _upstream(self, step: Step) -> Iterator[str]:
        """Name the inputs that will be made again."""
        for name, path in self._maker(step).inputs.items():
            source = self._find_step(path)
            if source is not None and self.changes(path):
                yield _input_reason(name, path)

    def _own(self, step: Step) -> Iterator[str]:
        """Compare the records of a step's files with those that they should have."""
        for output in step.outputs:
            if Path(output).exists():
                yield from self._differences(output, step)

    def _differences(self, path: str, step: Step) -> Iterator[str]:
        record = self._record(path)
        if record is None or self._edited(path, record):
            yield "unreadable"
        elif "schema" in record and record["schema"][1] != _schema_version(record["schema"][0]):
            yield "schema"
        elif record["fingerprint"] == self.fingerprint(path):
            gathered_by = record["execution"].get(GATHER)
            if step.rule == GATHER and gathered_by not in (None, step.params.get("code")):
                yield "code"
            yield from self._mended(record, self._maker(step))
        else:
            yield from self._reasons(record, self._maker(step)) or ["fingerprint"]

    def _reasons(self, record: Mapping[str, Any], step: Step) -> list[str]:
        """Name what differs between a record and the one that the step would write."""
        fingerprints = {name: self.fingerprint(path) for name, path in step.inputs.items()}
        expected = provenance_of(step.params, fingerprints, files=step.inputs.values()).record()
        reasons = ["code"] if expected["code"] != record["code"] else []
        for name in _unequal(expected["inputs"], record["inputs"]):
            reasons.append(_input_reason(name, step.inputs.get(name, "")))
        for name in _unequal(expected["params"], record["params"]):
            reasons += _leaves(name, expected["params"].get(name), record["params"].get(name))
        return reasons

    def _mended(self, record: Mapping[str, Any], step: Step) -> Iterator[str]:
        """Name the inputs that held something else when a file was made, though they are made from the same."""
        contents = record.get("execution", {}).get(CONTENTS, {})
        for name, path in step.inputs.items():
            current = self._record(path)
            if current is not None and name in contents and contents[name] != current["content"]:
                yield _input_reason(name, path)

    def _record(self, path: str) -> dict[str, Any] | None:
        if path not in self._records:
            self._records[path] = read_record(path)
        return self._records[path]

    def _edited(self, path: str, record: Mapping[str, Any]) -> bool:
        """Tell whether a file has other bytes than those that its record is of."""
        made = recorded_path(path)
        if FINISHED in record:
            # an artifact is read from end to end only if something has written to it since it was finished
            touched = os.stat(path).st_mtime > record[FINISHED] + SECONDS_OF_CLOSING
            return touched and self._digests.of_artifact(path) != record["content"]
        if not made.exists():
            return True
        return (content_digest(made) if made.is_dir() else self._digests.of(str(made))) != record["content"]


def _schema_version(name: str) -> int | None:
    return SCHEMAS[name].version if name in SCHEMAS else None


def _unequal(now: Mapping[str, Any], before: Mapping[str, Any]) -> list[str]:
    return [name for name in sorted(now.keys() | before.keys()) if now.get(name) != before.get(name)]


def _input_reason(name: str, path: str) -> str:
    """Name an input; one that is only watched by the name of its file."""
    return Path(path).name if path and name.partition("[")[0] == WATCH else name


def _leaves(name: str, now: Any, before: Any) -> list[str]:
    """Name the keys that differ inside a param that is a section of the study."""
    if not isinstance(now, Mapping) or not isinstance(before, Mapping):
        return [name]
    prefix = "" if name == WATCH else f"{name}."
    return [leaf for key in _unequal(now, before) for leaf in _leaves(prefix + key, now.get(key), before.get(key))]


class Marks:
    """Files that are newer than stale files: Snakemake reruns what has an input with a later date, and prints its name.

    Parameters
    ----------
    freshness
        Tells what is stale, and why.
    folder
        Where the marks are.
    """

    def __init__(self, freshness: Freshness, folder: Path) -> None:
        self._freshness, self._folder = freshness, folder

    def of(self, path: str) -> list[str]:
        """Return the marks of a file, one for each reason, dated after it; none if it is fresh."""
        marks = []
        for reason in self._freshness.changes(path):
            name = reason.replace("/", "_")[:LONGEST_NAME]
            mark = self._folder / os.path.normpath(path).replace("../", "").lstrip("/") / name
            _date_after(mark, os.stat(path).st_mtime_ns if Path(path).exists() else 0)
            marks.append(str(mark))
        return marks


def _date_after(mark: Path, date: int) -> None:
    """Write a mark that is newer than a date."""
    if mark.exists() and mark.stat().st_mtime_ns > date:
        return
    mark.parent.mkdir(parents=True, exist_ok=True)
    now = time.time_ns()
    mark.write_text(str(now))  # Snakemake takes a small file with the same bytes for unchanged, whatever its date
    os.utime(mark, ns=(max(now, date + 1),) * 2)


def check_not_in_the_future(paths: Iterable[str]) -> None:
    """Check the dates of the inputs of a job: Snakemake fails it when one is later than its output.

    Raises
    ------
    UserError
        Naming the file.
    """
    for path in paths:
        if Path(path).exists() and os.stat(path).st_mtime > time.time() + SECONDS_OF_SKEW:
            raise UserError(f"{path} is dated in the future; check the clock, and touch the file")


def sweep(freshness: Freshness, results: str) -> None:
    """Remove what interrupted jobs left beside files that are fresh: no job will resume it."""
    for leftover, path in list(find_unfinished(results)):
        if is_being_written(path):
            continue
        if leftover.is_dir():
            shutil.rmtree(leftover)  # folders are not resumed
        elif path.exists() and freshness.is_fresh(str(path)):
            leftover.unlink(missing_ok=True)


def planned(freshness: Freshness, find_step: Callable[[str], Step | None], targets: list[str]) -> list[Step]:
    """List the steps that a run would take, each once and after those it depends on.

    Parameters
    ----------
    freshness, find_step
        As above.
    targets
        Files that the run is to make.

    Returns
    -------
    list
        The steps in the order in which they can run.
    """
    run = _Run(freshness, find_step, set(targets))
    n_needed = 0
    while len(run.needed) > n_needed:  # until no step is visited before it is known to be needed
        n_needed = len(run.needed)
        run.steps.clear()
        for target in targets:
            run.visit(target)
    return [step for step in run.steps.values() if step is not None]


@dataclass(frozen=True)
class _Run:
    """The steps of a run, as Snakemake chooses them."""

    freshness: Freshness
    find_step: Callable[[str], Step | None]
    needed: set[str]
    """Files that the user or a step that runs asks for."""
    steps: dict[str, Step | None] = field(default_factory=dict)
    """Each visited step by its outputs; None if it does not run."""

    def visit(self, path: str) -> bool:
        """Tell whether the step that makes a file runs, after visiting those that it depends on."""
        step = self.find_step(path)
        if step is None:
            return False
        key = json.dumps(step.outputs)
        if key not in self.steps:
            # what is made from the outputs of a step that runs is made again, whether those were stale or missing
            above = [self.visit(source) for source in self.freshness.sources(step)]
            runs = any(above) or self._is_due(step, path)
            if runs:
                self.needed.update(step.inputs.values())
                for source in step.inputs.values():
                    self.visit(source)
            self.steps[key] = step if runs else None
        return self.steps[key] is not None

    def _is_due(self, step: Step, path: str) -> bool:
        if step.is_begun and self.freshness.changes(path):
            return True
        return not self.needed.isdisjoint(step.outputs) and not step.is_done
