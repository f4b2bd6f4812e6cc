"""Make the inputs of rules, so that Snakemake runs what is stale by its provenance record, and nothing else.

See invariants 2 (staleness) and 3 (marks) in ``docs/reruns.md``.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

from snakemake.io import ancient, apply_wildcards
from snakemake.iocontainers import Wildcards
from snakemake.settings.enums import RerunTrigger

from purelens.errors import UserError
from purelens.reruns.staleness import Freshness, Marks, Step, check_not_in_the_future, planned
from purelens.storage.paths import MEMORY
from purelens.workflow.estimates import artifact_bytes, measured_seconds, memory_mb
from purelens.workflow.job import CHANGED, input_paths
from purelens.workflow.preflight import check_files
from purelens.workflow.study import Names, Study

Files = str | Iterable[str] | Callable[[Names], str | Iterable[str]]
"""Paths, in which wildcards are filled in, or a function of the wildcards that returns them."""


class Steps:
    """The jobs that the rules of a workflow describe.

    Parameters
    ----------
    workflow, rules
        Objects of these names that Snakemake gives to a Snakefile.
    """

    def __init__(self, workflow: Any, rules: Any) -> None:
        self._workflow, self._rules = workflow, rules
        self._known: dict[str, Step | None] = {}

    def find(self, path: str) -> Step | None:
        """Find the step that makes a file; None for a source file."""
        if path not in self._known:
            self._known[path] = self._find(path)
        return self._known[path]

    def _find(self, path: str) -> Step | None:
        for rule in self._workflow.rules:
            for output in rule.output:
                match = output.match(path)
                if match and not rule.norun:
                    return self._step(rule, Wildcards(fromdict=match.groupdict()))
        return None

    def _step(self, rule: Any, wildcards: Any) -> Step:
        """Evaluate the inputs and params of a rule for some wildcards."""
        inputs = {name: item.paths(wildcards) for name, item in rule.input.items() if name != CHANGED}
        params = {
            name: item(wildcards) if callable(item) else _filled_in(item, wildcards)
            for name, item in rule.params.items()
        }
        proxy = getattr(self._rules, rule.name)  # its paths are without the constraints of wildcards
        outputs = [str(_filled_in(str(output), wildcards)) for output in proxy.output]
        benchmark = str(_filled_in(str(proxy.benchmark), wildcards))
        return Step(rule.name, outputs, input_paths(inputs), params, dict(wildcards), benchmark)

    def is_forced(self, step: Step) -> bool:
        """Tell whether the user asked to run a step again, with ``--forcerun``, ``--force`` or ``--forceall``."""
        settings = self._workflow.dag_settings
        names = {*settings.forcerun, *(settings.targets if settings.forcetargets else ())}
        forced = {os.path.normpath(str(name)) for name in names}
        return settings.forceall or step.rule in forced or not forced.isdisjoint(map(os.path.normpath, step.outputs))


def _filled_in(value: Any, wildcards: Any) -> Any:
    return str(apply_wildcards(value, wildcards)) if isinstance(value, str) else value


class Inputs:
    """Input functions of all rules.

    Parameters
    ----------
    workflow, rules
        Objects of these names that Snakemake gives to a Snakefile.
    study
        The study.

    Attributes
    ----------
    steps, freshness
        The jobs of the workflow, and what is stale.
    """

    def __init__(self, workflow: Any, rules: Any, study: Study) -> None:
        self.workflow, self.study = workflow, study
        self.steps = Steps(workflow, rules)
        self.freshness = Freshness(self.steps.find, study.digests, self.steps.is_forced)
        self._marks = Marks(self.freshness, MEMORY / "changed")
        self._checked = False

    def __call__(self, artifact: str, **files: Files) -> dict[str, Callable[[Names], Any]]:
        """Return the inputs of a rule.

        Parameters
        ----------
        artifact
            What the rule makes, or a shard of it.
        files
            Inputs of its function, and those that it watches.
        """
        named: dict[str, Callable[[Names], Any]] = {n: Input(self, artifact, paths) for n, paths in files.items()}
        return {**named, CHANGED: lambda wildcards: self.marks(artifact, wildcards)}

    def marks(self, artifact: str, wildcards: Names) -> list[str]:
        """Return the marks of a job: the only inputs whose dates decide whether it runs."""
        if not self.workflow.is_main_process:
            return []
        self._check_settings()
        if self.is_fresh(artifact, wildcards):
            return []
        path = _filled_in(self.study.job_path(artifact), wildcards)
        self.check_dates([path])
        return self._marks.of(path)

    def is_fresh(self, artifact: str, wildcards: Names) -> bool:
        """Tell whether a job has nothing to make; a shard is not needed where its artifact is whole and fresh."""
        paths = {self.study.job_path(artifact), self.study.path(artifact)}
        with _told():
            return any(self.freshness.is_fresh(_filled_in(path, wildcards)) for path in paths)

    def planned_jobs(self, targets: list[str]) -> list[dict[str, Any]]:
        """List what a run would do to make some files (see `purelens.reruns.plan.plan`)."""
        self._check_settings()
        with _told():
            return [self._planned(step) for step in planned(self.freshness, self.steps.find, targets)]

    def _planned(self, step: Step) -> dict[str, Any]:
        sizes = self.study.sizes(step.rule, step.wildcards)
        return {
            "rule": step.rule,
            "reasons": self.freshness.changes(step.outputs[0]) or ["missing"],
            "bytes": artifact_bytes(step.rule, sizes),
            "memory_mb": memory_mb(step.rule, sizes),
            "seconds": measured_seconds(step.benchmark),
        }

    def check_dates(self, paths: Iterable[str]) -> None:
        """Stop with one line where a file is dated in the future."""
        with _told():
            check_not_in_the_future(paths)

    def _check_settings(self) -> None:
        """Stop where files are missing, or a profile lets Snakemake rerun fresh files or remove old ones.

        Also while jobs are only planned: what can be known from headers and counts is told before hours are spent.
        """
        if self._checked:
            return
        self._checked = True
        execution = self.workflow.execution_settings
        missing = []
        if set(self.workflow.dag_settings.rerun_triggers) != {RerunTrigger.MTIME}:
            missing.append("rerun-triggers: [mtime]")
        if execution is not None and not execution.keep_incomplete:
            missing.append("keep-incomplete: true")
        if execution is not None and not execution.ignore_incomplete:
            missing.append("ignore-incomplete: true")
        with _told():
            check_files(self.study.config)
        if missing:
            _stop(f"add to your profile, as in profiles/default/config.yaml: {', '.join(missing)}")


@dataclass(frozen=True)
class Input:
    """Input function of a rule. The dates of its files count only for a job that runs anyway.

    Attributes
    ----------
    inputs
        The inputs of all rules.
    artifact
        What the rule makes.
    files
        The files.
    """

    inputs: Inputs
    artifact: str
    files: Files

    def paths(self, wildcards: Names) -> str | list[str]:
        """Return the paths without dates."""
        files = self.files(wildcards) if callable(self.files) else self.files
        return _filled_in(files, wildcards) if isinstance(files, str) else [_filled_in(f, wildcards) for f in files]

    def __call__(self, wildcards: Names) -> Any:
        """Return the paths: ``ancient`` ones for a job whose output is fresh."""
        paths = self.paths(wildcards)
        if not self.inputs.workflow.is_main_process:
            return paths
        if not self.inputs.is_fresh(self.artifact, wildcards):
            self.inputs.check_dates([paths] if isinstance(paths, str) else paths)
            return paths
        return ancient(paths) if isinstance(paths, str) else [ancient(path) for path in paths]


@contextmanager
def _told() -> Iterator[None]:
    """End with one line where a file cannot be read now: another program writes to it, or the system fails."""
    try:
        yield
    except (UserError, OSError) as error:
        _stop(str(error))


def _stop(message: str) -> NoReturn:
    raise SystemExit(f"purelens: {message}")
