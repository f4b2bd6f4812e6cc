"""The jobs of the tiny study, to be called in this process: a stage with a damaged input takes no second then."""

import importlib
import json
import re
from contextlib import chdir
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from purelens.storage.provenance import RECORD, Provenance, check_lineage, recorded_path, write_record
from purelens.workflow.job import bind, input_paths
from purelens.workflow.seeding import seed_everything
from support.workplace import ROOT, Workplace, contents, copy_code

DUMP = """
import json as _json


def _jobs(outputs, seen):
    for path in outputs:
        step = inputs.steps.find(path)
        if step is not None and tuple(step.outputs) not in seen:
            seen.add(tuple(step.outputs))
            yield from _jobs(step.inputs.values(), seen)
            job = next(one for one in workflow.rules if one.name == step.rule)
            names = Wildcards(fromdict=dict(step.wildcards))
            named = {name: item.paths(names) for name, item in job.input.items() if name != "changed"}
            yield {"rule": step.rule, "input": named, "output": dict(zip(dict(job.output.items()), step.outputs)),
                   "params": dict(step.params)}


from snakemake.iocontainers import Wildcards

if workflow.is_main_process:
    Path("jobs.json").write_text(_json.dumps([*_jobs(targets(), set())], default=str))
"""
"""What the Snakefile is lengthened by: it writes every job of a study, those that it is made from first."""


class Named(dict[str, Any]):
    """Inputs or params of a job, as Snakemake gives them."""


@dataclass(frozen=True)
class Job:
    """A job of a study, which is called in the folder of its results."""

    rule: str
    input: dict[str, Any]
    output: dict[str, str]
    params: dict[str, Any]
    folder: Path

    @property
    def files(self) -> dict[str, str]:
        """Paths of its inputs by their names, lists numbered."""
        return input_paths(self.input)

    def elsewhere(self, folder: Path) -> "Job":
        """The job, with its outputs in another folder."""
        return replace(self, output={name: f"{folder}/{path}" for name, path in self.output.items()})

    def made(self) -> dict[str, dict[str, str]]:
        """Digests of what it has made."""
        return {name: contents(self.folder / path.removesuffix(RECORD)) for name, path in self.output.items()}

    @property
    def artifacts(self) -> dict[str, str]:
        """Those of its inputs that are artifacts."""
        return {name: path for name, path in self.files.items() if path.endswith(".h5")}

    def run(self, provenance: Provenance | None = None) -> None:
        """Do what a job does: compare the inputs with their records, call the function, write the records."""
        script = (ROOT / f"workflow_scripts/{self.rule}.py").read_text()
        module = re.search(rf"^from (purelens\.[\w.]+) import {self.rule}$", script, re.M)
        assert module
        function = getattr(importlib.import_module(module[1]), self.rule)
        job = SimpleNamespace(input=Named(self.input), output=Named(self.output), params=self.params, threads=1)
        with chdir(self.folder):
            check_lineage(self.files)
            arguments = bind(function, job, provenance or Provenance())
            seed_everything(self.params.get("seed", 0), 1)
            function(**arguments)
            for path in self.output.values():
                if not path.endswith(".h5"):
                    write_record(recorded_path(path), provenance or Provenance())


def jobs_of(workplace: Workplace, study: dict[str, Any], code: Path) -> list[Job]:
    """List the jobs of a study that is in a folder."""
    copy_code(code)
    with (code / "Snakefile").open("a") as file:
        file.write(DUMP)
    run = Workplace(workplace.folder, code).snakemake(study, "-n")
    assert run.code == 0, run.text
    found = json.loads((workplace.folder / "jobs.json").read_text())
    (workplace.folder / "jobs.json").unlink()
    return [Job(**values, folder=workplace.folder) for values in found]
